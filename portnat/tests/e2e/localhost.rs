//! Ports that are published on a loopback address. What else the host itself asks for is in
//! [`crate::matrix`].

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portnat::lab::{Lab, probe};

use crate::daemon::Daemon;
use crate::support::{at, tcp_server};

/// A port that is published on a loopback address is there for the host alone.
#[test]
fn a_port_on_a_loopback_address_answers_the_host_only() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let target = container.address;
    let _web = tcp_server(&container.namespace, target, 80);
    let _web6 = tcp_server(&container.namespace, container.address_v6, 80);
    let publish = [
        format!("127.0.0.1:8080:80@{target}"),
        format!("[::1]:8080:80@{}", container.address_v6),
    ];
    let daemon = Daemon::run(&lab, &["-p", &publish[0], "-p", &publish[1]]);
    for loopback in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        let answer = probe::tcp_echo(&lab.host, at(loopback, 8080), b"hello").expect("an answer");
        assert_eq!(answer, b"hello");
    }
    let gateway = lab.bridges[0].gateway;
    for (from, address) in [
        (&lab.host, IpAddr::from(Lab::HOST)),
        (&lab.host, Lab::HOST_V6.into()),
        (&lab.client, Lab::HOST.into()),
        (&lab.client, Lab::HOST_V6.into()),
        (&container.namespace, gateway.into()),
    ] {
        let refusal = probe::tcp_echo(from, at(address, 8080), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
    daemon.stop();
}
