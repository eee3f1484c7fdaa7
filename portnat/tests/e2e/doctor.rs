//! The doctor, on hosts that are well and on hosts that are not.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use portnat::lab::{Lab, Namespace, probe};
use portnat::net::Feature;
use rtnetlink::packet_route::tc::TcHandle;
use serde_json::Value;

use crate::daemon::{Daemon, Ended, PORTNAT};
use crate::firewall::nft;
use crate::support::{at, eventually, tcp_server};
use crate::uplinks::connect_elsewhere;
use crate::xdp::{process_in, set};

const PUBLISH: [&str; 2] = ["-p", "8080:80@172.17.0.2"];

/// A policy that drops what is forwarded, and a translation of our port.
const FAULTS: &str = "table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname docker0 accept
    }
}
table ip nat {
    chain output {
        type nat hook output priority -100;
        ip daddr 192.0.2.1 tcp dport 8080 dnat to 172.17.0.9:80
    }
}";

/// `portnat doctor` in a host.
pub(crate) fn doctor(host: &Namespace, socket: &Path, arguments: &[&str]) -> Ended {
    let mut command = host.command(PORTNAT);
    command.arg("doctor").args(arguments);
    command.arg("--socket").arg(socket);
    Daemon::spawn(command).wait()
}

/// What it says, as JSON, with the exit code.
#[track_caller]
fn judged(host: &Namespace, socket: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let ended = doctor(host, socket, &[arguments, &["--json"]].concat());
    let json = serde_json::from_str(&ended.stdout);
    let json = json.unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    (ended.status.code(), json)
}

/// The findings that are warnings and faults, each as its check and how bad it is.
fn bad(judgement: &Value) -> Vec<(&str, &str)> {
    let findings = judgement["findings"].as_array().expect("an array");
    let words = findings.iter().map(|finding| {
        let word = |name: &str| finding[name].as_str().expect("a word");
        (word("check"), word("severity"))
    });
    words
        .filter(|(_, severity)| matches!(*severity, "warning" | "fault"))
        .collect()
}

/// Runs the first remedy of a finding, as an administrator would.
#[track_caller]
fn follow(host: &Namespace, judgement: &Value, check: &str) {
    let findings = judgement["findings"].as_array().expect("an array");
    let is_meant = |finding: &&Value| finding["check"] == check && finding["severity"] != "ok";
    let finding = findings.iter().find(is_meant).expect("a finding");
    let remedy = finding["remedies"][0].as_str().expect("a command");
    let mut shell: Command = host.command("sh");
    let status = shell.arg("-c").arg(remedy).status().expect("a shell");
    assert!(status.success(), "{remedy}");
}

#[test]
fn a_healthy_host_has_no_fault() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let socket = tempfile::tempdir().expect("a directory");
    let socket = socket.path().join("portnat.sock");
    let (code, before) = judged(&lab.host, &socket, &[]);
    assert_eq!((code, bad(&before)), (Some(0), vec![]), "{before:#}");

    for options in [&["--xdp", "off"], &["--attach", "clsact"]] {
        let daemon = Daemon::run(&lab, &[&PUBLISH[..], options].concat());
        let (code, during) = judged(&lab.host, &daemon.socket(), &[]);
        assert_eq!((code, bad(&during)), (Some(0), vec![]), "{during:#}");
        let text = doctor(&lab.host, &daemon.socket(), &[]).stdout;
        for line in [
            "ok       daemon         portnat ",
            "ok       hooks ",
            "ok       port-holders   nobody else listens on published ports",
            "0 faults, 0 warnings, ",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        daemon.stop();
    }
}

#[test]
fn three_faults_are_found_and_mended_as_it_says() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let _elsewhere = connect_elsewhere(&lab);
    let daemon = Daemon::run(&lab, &PUBLISH);
    let (host, socket) = (&lab.host, daemon.socket());
    nft(host, &["-f", "-"], FAULTS);
    host.sysctl("net/ipv4/conf/eth0/rp_filter", "1")
        .expect("set");

    let (code, found) = judged(host, &socket, &[]);
    let rules = [("forward-rules", "fault"), ("nat-rules", "fault")];
    let all = [&[("rp-filter", "warning")], &rules[..]].concat();
    assert_eq!((code, bad(&found)), (Some(1), all.clone()), "{found:#}");
    let text = doctor(host, &socket, &[]).stdout;
    println!("{text}");
    for line in [
        "warning  rp-filter      strict on the uplink eth0",
        "> sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        "fault    forward-rules  chain forward of table inet filter drops what comes for \
         0.0.0.0:8080/tcp",
        "> nft insert rule inet filter forward iifname \"eth0\" oifname \"docker0\" ip daddr \
         172.17.0.2 tcp dport 80 accept",
        "fault    nat-rules      chain output of table ip nat leads 0.0.0.0:8080/tcp to 172.17.0.9:80",
        "> nft delete rule ip nat output handle ",
        "\n2 faults, 1 warning, ",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }

    // None of them is a thing to be mended without being asked.
    let (code, fixed) = judged(host, &socket, &["--fix"]);
    assert_eq!((code, bad(&fixed)), (Some(1), all), "{fixed:#}");
    assert_eq!(fixed["mended"], Value::Array(Vec::new()), "{fixed:#}");

    follow(host, &fixed, "rp-filter");
    let value = host.sysctl_get("net/ipv4/conf/eth0/rp_filter");
    assert_eq!(value.expect("a value"), "2");
    // By each uplink the rules have something to let pass.
    follow(host, &fixed, "nat-rules");
    while let (Some(1), judgement) = judged(host, &socket, &[]) {
        assert_eq!(bad(&judgement), [rules[0]], "{judgement:#}");
        follow(host, &judgement, "forward-rules");
    }
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    let answer = probe::tcp_echo(&lab.host, at(Lab::HOST, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    daemon.stop();
}

/// What is told of iptables is what iptables makes of it.
#[test]
fn rules_that_iptables_made_are_told_in_its_words() {
    let lab = Lab::builder().build().expect("a lab");
    let daemon = Daemon::run(&lab, &PUBLISH);
    let rules = "*filter
:FORWARD DROP [0:0]
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
-A OUTPUT -p tcp --dport 8080 -m addrtype --dst-type LOCAL -j DNAT --to-destination 172.17.0.9:80
COMMIT
";
    for flavour in ["nft", "legacy"] {
        let restore = format!("iptables-{flavour}-restore");
        let flush = format!("iptables-{flavour}");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), rules).expect("written");
        let run = |program: &str, arguments: &[&str]| {
            let status = lab.host.command(program).args(arguments).status();
            assert!(status.expect("is installed").success(), "{program}");
        };
        run(&restore, &[file.path().to_str().expect("text")]);
        let (_, found) = judged(&lab.host, &daemon.socket(), &[]);
        let expected = [("forward-rules", "fault"), ("nat-rules", "fault")];
        assert_eq!(bad(&found), expected, "{found:#}");
        let text = found.to_string();
        assert!(
            text.contains(&format!("iptables-{flavour} -t nat -D OUTPUT ")),
            "{text}"
        );
        follow(&lab.host, &found, "forward-rules");
        follow(&lab.host, &found, "nat-rules");
        let (code, mended) = judged(&lab.host, &daemon.socket(), &[]);
        assert_eq!((code, bad(&mended)), (Some(0), vec![]), "{mended:#}");
        run(&flush, &["-F"]);
        run(&flush, &["-P", "FORWARD", "ACCEPT"]);
    }
    daemon.stop();
}

#[test]
fn without_a_daemon_the_host_is_judged_by_itself() {
    let lab = Lab::builder().build().expect("a lab");
    nft(&lab.host, &["-f", "-"], FAULTS);
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("portnat.sock");
    let (code, found) = judged(&lab.host, &socket, &[]);
    // Which ports will be published nobody knows, so the translation is none's.
    let expected = vec![("forward-rules", "warning")];
    assert_eq!((code, bad(&found)), (Some(1), expected), "{found:#}");

    // One that is asked for elsewhere.
    let daemon = Daemon::run(&lab, &PUBLISH);
    let (_, found) = judged(&lab.host, &socket, &[]);
    assert!(bad(&found).contains(&("daemon", "warning")), "{found:#}");
    // And one of another network namespace.
    let (_, found) = judged(&lab.client, &daemon.socket(), &[]);
    assert_eq!(bad(&found), [("daemon", "warning")], "{found:#}");
    daemon.stop();
}

#[test]
fn a_process_on_our_port_and_a_program_that_is_gone_are_faults() {
    let lab = Lab::builder().build().expect("a lab");
    let _taken = lab.host.run(|| TcpListener::bind((Lab::HOST, 8080)));
    let options = ["--force", "--attach", "clsact"];
    let daemon = Daemon::run(&lab, &[&PUBLISH[..], &options].concat());
    let (_, found) = judged(&lab.host, &daemon.socket(), &[]);
    assert_eq!(bad(&found), [("port-holders", "fault")], "{found:#}");
    let me = format!("(pid {}) listens on 192.0.2.1:8080/tcp", std::process::id());
    assert!(found.to_string().contains(&me), "{found:#}");

    remove_clsact(&lab.host, Lab::UPLINK);
    let (_, found) = judged(&lab.host, &daemon.socket(), &[]);
    assert!(bad(&found).contains(&("hooks", "fault")), "{found:#}");
    let text = found.to_string();
    assert!(
        text.contains("nat_in is not attached to eth0 (in) any more"),
        "{text}"
    );
    daemon.stop();
}

/// Somebody removes the queueing discipline that filters are at.
fn remove_clsact(host: &Namespace, interface: &str) {
    let index = host.links().index(interface).expect("is there");
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().expect("a socket");
            tokio::spawn(connection);
            let index = i32::try_from(index).expect("a small number");
            let mut request = handle.qdisc().del(index);
            request.message_mut().header.parent = TcHandle::CLSACT;
            request.execute().await.expect("removed");
        });
    });
}

#[test]
fn gro_that_somebody_has_switched_off_is_switched_on_again() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _process = process_in(&container.namespace);
    let daemon = Daemon::run(&lab, &[&PUBLISH[..], &["--xdp", "native"]].concat());
    let socket = daemon.socket();
    let finds = || {
        let (_, found) = judged(&lab.host, &socket, &[]);
        bad(&found).contains(&("xdp", "warning"))
    };
    eventually("GRO", || if finds() { Err("off") } else { Ok(()) });
    set(&container.namespace, "eth0", Feature::Gro, false);
    assert!(finds());
    let (code, fixed) = judged(&lab.host, &socket, &["--fix"]);
    assert_eq!((code, bad(&fixed)), (Some(0), vec![]), "{fixed:#}");
    let what = format!(
        "switched GRO on at the container's end of {}",
        container.port
    );
    assert_eq!(fixed["mended"][0]["what"], *what, "{fixed:#}");
    daemon.stop();
}
