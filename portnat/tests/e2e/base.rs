//! What must work whatever else the host does: bridged packets go through iptables or not, a
//! stateful firewall is there or not, programs are attached this way or that.

use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::process::Stdio;

use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::{Daemon, row};
use crate::support::{at, payload, seen_by, tcp_server, udp_server};

const MEGABYTE: usize = 1_000_000;
/// IPv4's and UDP's header.
const UDP_OVERHEAD: u64 = 20 + 8;

/// A firewall as a careful administrator has it: nothing is forwarded but to and from containers,
/// and what belongs to such a connection.
const FIREWALL: &str = "table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state invalid drop
        ct state established,related counter accept
        oifname docker0 accept
        iifname docker0 accept
    }
}";

macro_rules! matrix {
    ($($name:ident: $bridge_nf:literal, $firewall:expr, $attach:literal;)+) => {
        $(
            #[test]
            fn $name() {
                scenario($bridge_nf, $firewall, $attach);
            }
        )+
    };
}

matrix! {
    tcx_alone: false, None, "tcx";
    tcx_with_firewall: false, Some(FIREWALL), "tcx";
    tcx_with_bridge_nf: true, None, "tcx";
    tcx_with_bridge_nf_and_firewall: true, Some(FIREWALL), "tcx";
    clsact_alone: false, None, "clsact";
    clsact_with_firewall: false, Some(FIREWALL), "clsact";
    clsact_with_bridge_nf: true, None, "clsact";
    clsact_with_bridge_nf_and_firewall: true, Some(FIREWALL), "clsact";
}

fn scenario(bridge_nf: bool, firewall: Option<&str>, attach: &str) {
    let lab = Lab::builder().build().expect("a lab");
    set_bridge_nf(&lab.host, bridge_nf);
    if let Some(rules) = firewall {
        nft(&lab.host, &["-f", "-"], rules);
    }
    let container = &lab.containers[0];
    let inside = container.address;
    let web = tcp_server(&container.namespace, inside, 80);
    let dns = udp_server(&container.namespace, inside, 53);
    let (publish_web, publish_dns) = (format!("8080:80@{inside}"), format!("5353:53/udp@{inside}"));
    let arguments = ["--attach", attach, "-p", &publish_web, "-p", &publish_dns];
    let daemon = Daemon::run(&lab, &arguments);

    published(&lab.client);
    let client = IpAddr::from(Lab::CLIENT);
    assert!(seen_by(&web).iter().all(|peer| *peer == client));
    assert!(seen_by(&dns).iter().all(|peer| *peer == client));
    unpublished(&lab.client);
    masqueraded(&lab);
    if firewall.is_some() {
        let rules = nft(&lab.host, &["list", "ruleset"], "");
        assert!(
            !rules.contains("counter packets 0 "),
            "no packet met the firewall:\n{rules}"
        );
    }

    let table = daemon.stop();
    let tcp = row(&table, "0.0.0.0:8080/tcp");
    assert_eq!(tcp.flows, 2, "{table}");
    assert!(tcp.packets_in >= 10 && tcp.packets_out >= 10, "{table}");
    // The payload, and less than as much again for headers and acknowledgements.
    let bytes = MEGABYTE as u64..2 * MEGABYTE as u64;
    assert!(
        bytes.contains(&tcp.bytes_in) && bytes.contains(&tcp.bytes_out),
        "{table}"
    );
    let udp = row(&table, "0.0.0.0:5353/udp");
    // The probe sends 1200 bytes at a time.
    let packets = 1 + MEGABYTE.div_ceil(1200) as u64;
    let bytes = 1 + MEGABYTE as u64 + packets * UDP_OVERHEAD;
    assert_eq!(udp.flows, 2, "{table}");
    assert_eq!([udp.packets_in, udp.packets_out], [packets; 2], "{table}");
    assert_eq!([udp.bytes_in, udp.bytes_out], [bytes; 2], "{table}");
    assert!(!table.contains("dropped"), "{table}");
}

/// Published ports answer, with little and with much.
fn published(client: &Namespace) {
    for length in [1, MEGABYTE] {
        let sent = payload(length);
        let answer = probe::tcp_echo(client, at(Lab::HOST, 8080), &sent).expect("TCP answers");
        assert!(answer == sent, "TCP returns something else");
        let answer = probe::udp_echo(client, at(Lab::HOST, 5353), &sent).expect("UDP answers");
        assert!(answer == sent, "UDP returns something else");
    }
}

/// Ports that only the container has are not the host's.
fn unpublished(client: &Namespace) {
    for port in [80, 5353] {
        let refusal = probe::tcp_echo(client, at(Lab::HOST, port), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "TCP {port}");
    }
    for port in [53, 8080] {
        let refusal = probe::udp_echo(client, at(Lab::HOST, port), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "UDP {port}");
    }
}

/// What the container sends outside comes from the host's address.
fn masqueraded(lab: &Lab) {
    let container = &lab.containers[0].namespace;
    let web = tcp_server(&lab.client, Lab::CLIENT, 80);
    let dns = udp_server(&lab.client, Lab::CLIENT, 53);
    let sent = payload(10_000);
    let answer = probe::tcp_echo(container, web.address(), &sent).expect("TCP answers");
    assert!(answer == sent, "TCP returns something else");
    let answer = probe::udp_echo(container, dns.address(), &sent).expect("UDP answers");
    assert!(answer == sent, "UDP returns something else");
    probe::ping(container, Lab::CLIENT, 1, 1).expect("ping answers");

    let host = IpAddr::from(Lab::HOST);
    assert_eq!(seen_by(&web), [host]);
    assert!(seen_by(&dns).iter().all(|peer| *peer == host));
}

fn set_bridge_nf(host: &Namespace, on: bool) {
    const NAME: &str = "net/bridge/bridge-nf-call-iptables";
    // Without the module it is off.
    if on || host.sysctl_get(NAME).is_ok() {
        host.sysctl(NAME, if on { "1" } else { "0" })
            .expect("the module br_netfilter is loaded");
    }
}

/// Runs `nft` in a namespace and returns what it prints.
fn nft(namespace: &Namespace, arguments: &[&str], rules: &str) -> String {
    let mut nft = namespace
        .command("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    let mut stdin = nft.stdin.take().expect("is piped");
    stdin.write_all(rules.as_bytes()).expect("nft reads");
    drop(stdin);
    let output = nft.wait_with_output().expect("nft ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}
