//! What must work whatever else the host does: bridged packets go through iptables or not, a
//! stateful firewall is there or not, programs are attached this way or that.

use std::io::ErrorKind;
use std::net::IpAddr;

use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::{Daemon, row};
use crate::firewall::{self, FIREWALL};
use crate::support::{MEGABYTE, at, payload, seen_by, tcp_server, udp_server};

/// IPv4's and UDP's header.
const UDP_OVERHEAD: u64 = 20 + 8;

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
    firewall::set_up(&lab.host, bridge_nf, firewall);
    let container = &lab.containers[0];
    let inside = container.address;
    let web = tcp_server(&container.namespace, inside, 80);
    let dns = udp_server(&container.namespace, inside, 53);
    let (publish_web, publish_dns) = (format!("8080:80@{inside}"), format!("5353:53/udp@{inside}"));
    let arguments = ["--attach", attach, "-p", &publish_web, "-p", &publish_dns];
    let daemon = Daemon::run(&lab, &arguments);

    published(&lab.client, Lab::HOST.into());
    let client = IpAddr::from(Lab::CLIENT);
    assert!(seen_by(&web).iter().all(|peer| *peer == client));
    assert!(seen_by(&dns).iter().all(|peer| *peer == client));
    unpublished(&lab.client, Lab::HOST.into());
    let container = &container.namespace;
    masqueraded(&lab, container, client, Lab::HOST.into());
    probe::ping(container, Lab::CLIENT, 1, 1).expect("ping answers");
    if firewall.is_some() {
        firewall::assert_met(&lab.host);
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

/// Published ports of the host at this address answer, with little and with much.
#[track_caller]
pub(crate) fn published(client: &Namespace, host: IpAddr) {
    for length in [1, MEGABYTE] {
        let sent = payload(length);
        let answer = probe::tcp_echo(client, at(host, 8080), &sent).expect("TCP answers");
        assert!(answer == sent, "TCP returns something else");
        let answer = probe::udp_echo(client, at(host, 5353), &sent).expect("UDP answers");
        assert!(answer == sent, "UDP returns something else");
    }
}

/// Ports that only the container has are not the host's.
#[track_caller]
pub(crate) fn unpublished(client: &Namespace, host: IpAddr) {
    for port in [80, 5353] {
        let refusal = probe::tcp_echo(client, at(host, port), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "TCP {port}");
    }
    for port in [53, 8080] {
        let refusal = probe::udp_echo(client, at(host, port), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "UDP {port}");
    }
}

/// What the container sends to the client comes from the host's address.
#[track_caller]
pub(crate) fn masqueraded(lab: &Lab, container: &Namespace, client: IpAddr, host: IpAddr) {
    let web = tcp_server(&lab.client, client, 80);
    let dns = udp_server(&lab.client, client, 53);
    let sent = payload(10_000);
    let answer = probe::tcp_echo(container, web.address(), &sent).expect("TCP answers");
    assert!(answer == sent, "TCP returns something else");
    let answer = probe::udp_echo(container, dns.address(), &sent).expect("UDP answers");
    assert!(answer == sent, "UDP returns something else");

    assert_eq!(seen_by(&web), [host]);
    assert!(seen_by(&dns).iter().all(|peer| *peer == host));
}
