//! What portnat leaves behind, however it ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;

use aya::programs::tc::qdisc_add_clsact;
use nix::sys::signal::Signal;
use portnat::lab::{Lab, Server, probe};

use crate::daemon::{Daemon, Ended, row};
use crate::firewall::OTHER_BRIDGE;
use crate::picture::{Holdings, Picture};
use crate::support::{at, eventually, tcp_server};
use crate::survival::place::Place;

const PUBLISH: [&str; 2] = ["-p", "8080:80@172.17.0.2"];

/// A lab with a server in the container.
fn lab() -> (Lab, Server) {
    let lab = Lab::builder().build().expect("a lab");
    let server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    (lab, server)
}

fn run(lab: &Lab, attach: &str) -> Daemon {
    Daemon::run(lab, &[&PUBLISH[..], &["--attach", attach]].concat())
}

fn ask(lab: &Lab) -> std::io::Result<Vec<u8>> {
    probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello")
}

/// The host with portnat at work differs from `before` where it must.
#[track_caller]
fn assert_at_work(lab: &Lab, attach: &str, before: &Picture) {
    let during = Picture::of(&lab.host);
    if attach == "tcx" {
        assert_eq!(during.tcx[Lab::UPLINK], [1, 1], "{:?}", during.tcx);
    } else {
        // The kernel lists two entries for each: the priority, and the filter itself.
        let added = during.filters.len() - before.filters.len();
        assert!(added >= 4, "{:?}", during.filters);
    }
    let changed = during.changed_sysctls(before);
    for link in [Lab::UPLINK, Lab::BRIDGE] {
        let name = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
        assert!(changed.contains(&name), "{changed:?}");
    }
}

fn nothing_is_left_after(signal: Signal, attach: &str) {
    let (lab, _server) = lab();
    let before = Picture::of(&lab.host);
    let daemon = run(&lab, attach);
    ask(&lab).expect("an answer");
    assert_at_work(&lab, attach, &before);
    let holdings = Holdings::of(daemon.pid());
    assert!(!holdings.programs.is_empty() && !holdings.maps.is_empty());

    daemon.stop_by(signal);
    assert_eq!(Picture::of(&lab.host), before);
    holdings.wait_until_gone();
}

#[test]
fn nothing_is_left_after_sigterm_with_tcx() {
    nothing_is_left_after(Signal::SIGTERM, "tcx");
}

#[test]
fn nothing_is_left_after_sigterm_with_clsact() {
    nothing_is_left_after(Signal::SIGTERM, "clsact");
}

#[test]
fn nothing_is_left_after_sigint_with_tcx() {
    nothing_is_left_after(Signal::SIGINT, "tcx");
}

#[test]
fn nothing_is_left_after_sigint_with_clsact() {
    nothing_is_left_after(Signal::SIGINT, "clsact");
}

/// The terminal is gone.
#[test]
fn nothing_is_left_after_sighup_with_clsact() {
    nothing_is_left_after(Signal::SIGHUP, "clsact");
}

/// It has set the first sysctl and attached nothing yet, or not everywhere.
#[test]
fn nothing_is_left_after_a_signal_amid_the_start() {
    for attach in ["tcx", "clsact"] {
        let (lab, _server) = lab();
        let before = Picture::of(&lab.host);
        let arguments = [&PUBLISH[..], &["--attach", attach]].concat();
        let mut daemon = Daemon::start(&lab.host, &arguments);
        daemon.wait_for_line("set net.ipv4.conf.");
        daemon.stop();
        assert_eq!(Picture::of(&lab.host), before);
    }
}

#[test]
fn what_was_switched_on_at_a_renamed_uplink_is_put_back() {
    let (lab, _server) = lab();
    let forwarding = |link: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
        lab.host.run(|| fs::read_to_string(&path)).expect(&path)
    };
    assert_eq!(forwarding(Lab::UPLINK), "0\n");
    let daemon = run(&lab, "tcx");
    assert_eq!(forwarding(Lab::UPLINK), "1\n");
    lab.host.links().set_down(Lab::UPLINK).expect("it is there");
    let renamed = ["link", "set", Lab::UPLINK, "name", "wan0", "up"];
    let renamed = lab.host.command("ip").args(renamed).status();
    assert!(renamed.expect("ip(8) is there").success());
    let socket = daemon.socket();
    let written = || {
        let files = fs::read_dir(socket.parent().expect("a directory")).expect("is there");
        let mut paths = files.map(|file| file.expect("a name").path());
        let path = paths.find(|path| path.to_string_lossy().ends_with("-sysctls"));
        fs::read_to_string(path.expect("it is written down")).expect("readable")
    };
    eventually("it goes along", || match written() {
        now if now.contains("wan0") && !now.contains(Lab::UPLINK) => Ok(()),
        now => Err(now),
    });
    daemon.stop();
    assert_eq!(forwarding("wan0"), "0\n");
}

#[test]
fn somebody_elses_clsact_stays() {
    let (lab, _server) = lab();
    lab.host
        .run(|| qdisc_add_clsact(Lab::UPLINK))
        .expect("added");
    let before = Picture::of(&lab.host);
    let daemon = run(&lab, "clsact");
    ask(&lab).expect("an answer");
    daemon.stop();
    assert_eq!(Picture::of(&lab.host), before);
}

/// The kernel takes what belongs to clsact's way out for this one's way in, and says nothing.
#[test]
fn beside_somebody_elses_ingress_discipline_clsact_is_refused_and_tcx_works() {
    let (lab, _server) = lab();
    let index = lab.host.links().index(Lab::UPLINK).expect("it is there");
    lab.host.run(|| add_ingress_discipline(index));
    let before = Picture::of(&lab.host);
    let arguments = [&PUBLISH[..], &["--attach", "clsact"]].concat();
    let ended = Daemon::start(&lab.host, &arguments).wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let complaint = ended.stderr.last().expect("a word");
    assert!(
        complaint.contains("`ingress` queueing discipline"),
        "{ended:#?}"
    );
    assert_eq!(Picture::of(&lab.host), before);

    let daemon = run(&lab, "tcx");
    ask(&lab).expect("an answer");
    daemon.stop();
    assert_eq!(Picture::of(&lab.host), before);
}

pub(crate) fn add_ingress_discipline(index: u32) {
    let add = async {
        let (connection, netlink, _) = rtnetlink::new_connection().expect("a netlink socket");
        tokio::spawn(connection);
        let index = index.try_into().expect("an interface's number");
        netlink.qdisc().add(index).ingress().execute().await
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(add)
        .expect("added");
}

/// TCX links die with the process; what it set stays set.
#[test]
fn nothing_is_attached_after_sigkill_with_tcx() {
    let (lab, _server) = lab();
    let before = Picture::of(&lab.host);
    let daemon = run(&lab, "tcx");
    assert_at_work(&lab, "tcx", &before);
    let holdings = Holdings::of(daemon.pid());
    assert!(holdings.links.len() >= 2);
    assert_killed(kill(daemon));

    let after = Picture::of(&lab.host);
    assert_eq!(after.tcx_programs(), 0, "{:?}", after.tcx);
    assert_eq!(
        (after.qdiscs, after.filters, after.pins),
        (before.qdiscs, before.filters, before.pins)
    );
    holdings.wait_until_gone();
    // The next one starts as if nothing had been.
    let daemon = run(&lab, "tcx");
    ask(&lab).expect("an answer");
    daemon.stop();
}

/// A clsact filter outlives the process, and goes on translating by tables that nobody keeps; the
/// next portnat replaces it in place, or removes it where it uses TCX.
#[test]
fn a_filter_that_was_left_is_taken_over() {
    let (lab, server) = lab();
    let before = Picture::of(&lab.host);
    let first = run(&lab, "clsact");
    let holdings = Holdings::of(first.pid());
    assert_killed(kill(first));
    let left = Picture::of(&lab.host);
    assert!(left.filters.len() > before.filters.len());

    let second = run(&lab, "clsact");
    assert_eq!(Picture::of(&lab.host).filters, left.filters);
    holdings.wait_until_gone();
    ask(&lab).expect("an answer");
    assert_eq!(server.peers().len(), 1);
    assert_killed(kill(second));

    let third = run(&lab, "tcx");
    assert_eq!(Picture::of(&lab.host).filters, before.filters);
    ask(&lab).expect("an answer");
    let table = third.stop();
    assert_eq!(row(&table, "0.0.0.0:8080/tcp").flows, 1, "{table}");
    let after = Picture::of(&lab.host);
    assert_eq!(
        (after.filters, after.qdiscs),
        (before.filters, before.qdiscs)
    );
}

fn kill(daemon: Daemon) -> Ended {
    daemon.signal(Signal::SIGKILL);
    daemon.wait()
}

#[track_caller]
fn assert_killed(ended: Ended) {
    let signal = ended.status.signal();
    assert_eq!(signal, Some(Signal::SIGKILL as i32), "{ended:#?}");
}

/// The flows are forgotten; a client that goes on makes them anew, with the port it had.
#[test]
fn a_connection_survives_a_restart() {
    for attach in ["tcx", "clsact"] {
        let (lab, server) = lab();
        let first = run(&lab, attach);
        let connect = probe::tcp_connect(&lab.client, None, at(Lab::HOST, 8080));
        let mut stream = connect.expect("a connection");
        let mut say = |words: &[u8; 5]| {
            let mut answer = [0; 5];
            stream.write_all(words).expect("sent");
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, *words);
        };
        say(b"hello");
        first.stop();
        let second = run(&lab, attach);
        say(b"again");
        assert_eq!(server.peers().len(), 1);
        assert_eq!(row(&second.stop(), "0.0.0.0:8080/tcp").flows, 1);
    }
}

/// The same where the container is the first to speak: what it says comes from the published port,
/// or the client would not know it.
#[test]
fn a_connection_survives_a_restart_though_the_client_is_silent() {
    for attach in ["tcx", "clsact"] {
        let lab = Lab::builder().build().expect("a lab");
        let container = &lab.containers[0];
        let listener = container
            .namespace
            .run(|| TcpListener::bind((container.address, 80)))
            .expect("a socket");
        let first = run(&lab, attach);
        let connect = probe::tcp_connect(&lab.client, None, at(Lab::HOST, 8080));
        let mut client = connect.expect("a connection");
        let (mut server, peer) = listener.accept().expect("a client");
        assert_eq!(peer, client.local_addr().expect("is bound"));
        tell(&mut server, &mut client, b"hello");
        first.stop();

        let second = run(&lab, attach);
        tell(&mut server, &mut client, b"again");
        tell(&mut client, &mut server, b"there");
        assert_eq!(row(&second.stop(), "0.0.0.0:8080/tcp").flows, 1);
    }
}

/// One side speaks, the other listens.
#[track_caller]
fn tell(from: &mut TcpStream, to: &mut TcpStream, words: &[u8; 5]) {
    let mut heard = [0; 5];
    from.write_all(words).expect("sent");
    to.read_exact(&mut heard).expect("heard");
    assert_eq!(heard, *words);
}

#[test]
fn a_second_portnat_is_refused_and_the_first_goes_on() {
    let (lab, _server) = lab();
    let first = run(&lab, "tcx");
    let during = Picture::of(&lab.host);
    let second = Daemon::start(&lab.host, &["-p", "9090:80@172.17.0.2"]).wait();
    assert_eq!(second.status.code(), Some(1), "{second:#?}");
    assert_eq!(
        second.stderr,
        ["portnat: another portnat already runs in this network namespace: stop it first"]
    );
    assert_eq!(Picture::of(&lab.host), during);
    ask(&lab).expect("an answer");
    assert_eq!(row(&first.stop(), "0.0.0.0:8080/tcp").flows, 1);
}

#[test]
fn sigusr1_prints_the_table_and_all_goes_on() {
    let (lab, _server) = lab();
    let mut daemon = run(&lab, "tcx");
    let mut stdout = daemon.stdout();
    for flows in 1..3 {
        ask(&lab).expect("an answer");
        daemon.signal(Signal::SIGUSR1);
        let mut table = String::new();
        // A heading, and a line for each family.
        while table.lines().count() < 3 {
            assert_ne!(stdout.read_line(&mut table).expect("text"), 0, "{table}");
        }
        assert_eq!(row(&table, "0.0.0.0:8080/tcp").flows, flows, "{table}");
    }
    daemon.stop();
}

/// As where the output goes to a program that has ended.
#[test]
fn a_table_that_nobody_reads_stops_nothing() {
    let (lab, _server) = lab();
    let mut daemon = run(&lab, "tcx");
    drop(daemon.stdout());
    daemon.signal(Signal::SIGUSR1);
    daemon.wait_for_line("printing the table: ");
    ask(&lab).expect("an answer");
    daemon.stop();
}

/// Or whatever is behind it would be reached by everybody, and answer as itself.
#[test]
fn a_bridge_that_a_file_names_no_more_does_not_forward() {
    for persists in [false, true] {
        let other = "172.18.0.0/16".parse().expect("a subnet");
        let lab = Lab::builder().bridge(OTHER_BRIDGE, other, 1).ipv6(true);
        let (lab, place) = (lab.build().expect("a lab"), Place::new());
        let forwarding = |bridge: &str| {
            let names = [
                format!("net/ipv4/conf/{bridge}/forwarding"),
                format!("net/ipv6/conf/{bridge}/force_forwarding"),
            ];
            // The latter since Linux 6.17.
            let values = names
                .iter()
                .filter_map(|name| lab.host.sysctl_get(name).ok());
            values.collect::<BTreeSet<_>>()
        };
        let [on, off] = ["1", "0"].map(|value| BTreeSet::from([value.to_owned()]));
        assert_eq!(forwarding(OTHER_BRIDGE), off);
        let path = place.file();
        let both = format!("bridges = ['{}', '{OTHER_BRIDGE}']\n", Lab::BRIDGE);
        fs::write(&path, both).expect("written");
        let mut arguments = vec!["--config", path.to_str().expect("text")];
        arguments.extend(persists.then_some("--persist"));
        let daemon = place.run(&lab, &arguments);
        assert_eq!(forwarding(OTHER_BRIDGE), on);
        let one = format!("bridges = ['{}']\n", Lab::BRIDGE);
        fs::write(&path, one).expect("written");
        place.told(&["reload"]);
        assert_eq!(forwarding(OTHER_BRIDGE), off);
        assert_eq!(forwarding(Lab::BRIDGE), on);
        daemon.stop();
        if persists {
            assert!(place.clean_up(&lab).status.success());
        }
        assert_eq!(forwarding(Lab::BRIDGE), off);
    }
}
