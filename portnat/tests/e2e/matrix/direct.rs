//! From container to container by their own addresses, on one bridge: none of our business.

use std::io::ErrorKind;
use std::net::IpAddr;

use portnat::flows::FlowList;
use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::Daemon;
use crate::support::{at, counter, eventually, net, payload};

use super::scene::{PORTS, Scene, Side};

/// From where the neighbour asks. The second is for when somebody listens; no TCP connection can be
/// repeated at once.
const SOURCES: [u16; 2] = [20_000, 20_001];

pub(super) fn is_untouched(scene: &Scene, side: &Side) {
    ask(scene, side, SOURCES[0]);
}

/// From whatever address, and also where they ask whether the other is still there, by link-local addresses.
pub(super) fn neighbours_are_no_outsiders(scene: &Scene, side: &Side) {
    let neighbour = &scene.neighbour.namespace;
    let dropped = scene.dropped();
    let other = match side.target {
        IpAddr::V4(_) => net("203.0.113.5/24"),
        IpAddr::V6(_) => net("2001:db8:77::5/64"),
    };
    let links = neighbour.links();
    links.add_address("eth0", other).expect("an address");
    let network = other.trunc().to_string();
    ip(
        &scene.target.namespace,
        &["route", "add", &network, "dev", "eth0"],
    );
    let source = at(other.addr(), 0);
    let answer = probe::udp_echo_from(neighbour, source, side.dns.address(), b"neighbour");
    assert_eq!(answer.expect("an answer"), b"neighbour");
    assert_eq!(side.dns.news(), [other.addr()]);
    links.delete_address("eth0", other).expect("it was there");

    // As the kernel does after half a minute.
    let target = side.target.to_string();
    let state = ["dev", "eth0", "nud", "probe"];
    ip(
        neighbour,
        &[&["neigh", "change", &target], &state[..]].concat(),
    );
    let show = ["neigh", "show", &target, "dev", "eth0"];
    eventually("it is still there", || match ip(neighbour, &show) {
        now if now.contains("REACHABLE") => Ok(()),
        now => Err(now),
    });
    assert_eq!(scene.dropped(), dropped);
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> String {
    let done = namespace.command("ip").args(arguments).output();
    let done = done.expect("ip is installed");
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stdout).expect("text")
}

/// A bridge on which somebody listens is promiscuous, and sees what is not for it too.
pub(super) fn is_untouched_while_somebody_listens(scene: &Scene, side: &Side) {
    /// From where the datagram comes that ends it.
    const LAST: u16 = 20_002;
    let filter = format!(
        "src host {} and src port {LAST} and dst host {} and udp dst port 53",
        side.neighbour, side.target
    );
    let mut tcpdump = scene.lab.host.command("tcpdump");
    // As another user it would outlive us. It ends with the first packet that it was told of.
    tcpdump.args(["-Z", "root", "-n", "-c", "1", "--immediate-mode"]);
    tcpdump.args(["-i", Lab::BRIDGE, &filter]);
    let mut tcpdump = Daemon::spawn(tcpdump);
    tcpdump.wait_for_line("listening on docker0");

    ask(scene, side, SOURCES[1]);
    // What is our business goes on.
    let answer = probe::tcp_echo(
        &scene.neighbour.namespace,
        at(side.host, PORTS[0]),
        b"hello",
    );
    assert_eq!(answer.expect("an answer"), b"hello");
    assert_eq!(side.web.news(), [side.gateway]);

    let source = at(side.neighbour, LAST);
    let asked = side.dns.address();
    let answer = probe::udp_echo_from(&scene.neighbour.namespace, source, asked, b"last");
    assert_eq!(answer.expect("an answer"), b"last");
    assert_eq!(side.dns.news(), [side.neighbour]);
    // It has listened until now, to what is not for the bridge.
    let ended = tcpdump.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:#?}");
}

/// The neighbour asks the target for its own ports, where it is seen as itself, and both ask for a
/// port that is published elsewhere.
#[track_caller]
fn ask(scene: &Scene, side: &Side, source: u16) {
    let [target, neighbour] = [scene.target, scene.neighbour].map(|it| &it.namespace);
    let table = scene.table();
    let sent = payload(10_000);
    let from = at(side.neighbour, source);
    let answer = probe::tcp_echo_from(neighbour, from, side.web.address(), &sent);
    assert!(answer.expect("TCP answers") == sent, "something else");
    let answer = probe::udp_echo_from(neighbour, from, side.dns.address(), &sent);
    assert!(answer.expect("UDP answers") == sent, "something else");
    let [web, dns] = side.news();
    assert_eq!(web, [side.neighbour]);
    assert!(dns.iter().all(|peer| *peer == side.neighbour), "{dns:?}");

    for client in [target, neighbour] {
        let resets = || counter(target, "Tcp", "OutRsts");
        let repeated = || counter(client, "Tcp", "RetransSegs");
        let before = [resets(), repeated()];
        let refusal = probe::tcp_echo(client, at(side.target, PORTS[0]), b"?");
        let refusal = refusal.expect_err("not published here").kind();
        assert_eq!(refusal, ErrorKind::ConnectionRefused);
        let after = [resets(), repeated()];
        assert_eq!(after, [before[0] + 1, before[1]], "refused, and at once");
    }

    // Neither counted nor dropped, nor made a flow of.
    assert_eq!(scene.table(), table);
    let json = scene.daemon.told(&["flows", "--json"]);
    let FlowList(flows) = serde_json::from_str(&json).expect("JSON");
    let ours = flows
        .iter()
        .find(|flow| flow.original.source_port == source);
    assert_eq!(ours, None);
}
