//! From the host itself to published ports, by whatever address it has.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use portnat::lab::{Lab, Namespace, probe};

use crate::base::published;
use crate::daemon::{Daemon, row};
use crate::firewall::{self, FIREWALL};
use crate::icmp::heard_mtu;
use crate::support::{at, eventually, payload, seen_by, tcp_server, udp_server};

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
    alone: false, None, "tcx";
    with_firewall: false, Some(FIREWALL), "tcx";
    with_bridge_nf: true, None, "tcx";
    with_bridge_nf_and_firewall: true, Some(FIREWALL), "clsact";
}

/// A firewall that lets in nothing but answers, as ufw has it, and what the host says to itself.
const STATEFUL_INPUT: &str = "table inet host {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state invalid drop
        iifname lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }
}";

fn scenario(bridge_nf: bool, firewall: Option<&str>, attach: &str) {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    firewall::set_up(&lab.host, bridge_nf, firewall);
    if firewall.is_some() {
        firewall::nft(&lab.host, &["-f", "-"], STATEFUL_INPUT);
    }
    let container = &lab.containers[0];
    let bridge = &lab.bridges[0];
    for (target, gateway, own) in [
        (
            IpAddr::from(container.address),
            IpAddr::from(bridge.gateway),
            [
                IpAddr::from(Ipv4Addr::LOCALHOST),
                Ipv4Addr::new(127, 0, 0, 2).into(),
                Lab::HOST.into(),
                bridge.gateway.into(),
            ]
            .to_vec(),
        ),
        (
            container.address_v6.into(),
            bridge.gateway_v6.into(),
            [
                IpAddr::from(Ipv6Addr::LOCALHOST),
                Lab::HOST_V6.into(),
                bridge.gateway_v6.into(),
            ]
            .to_vec(),
        ),
    ] {
        let web = tcp_server(&container.namespace, target, 80);
        let dns = udp_server(&container.namespace, target, 53);
        let publish = [format!("8080:80@{target}"), format!("5353:53/udp@{target}")];
        let arguments = ["--attach", attach, "-p", &publish[0], "-p", &publish[1]];
        let daemon = Daemon::run(&lab, &arguments);
        for address in &own {
            published(&lab.host, *address);
        }
        // The target sees the bridge's address, as with Docker's proxy.
        for server in [&web, &dns] {
            assert!(seen_by(server).iter().all(|peer| *peer == gateway));
        }
        // Ports that nobody has published are refused, and the target's own is its own.
        let refusal = probe::tcp_echo(&lab.host, at(own[0], 80), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
        let refusal = probe::tcp_echo(&lab.host, at(target, 8080), b"?").expect_err("not there");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
        let answer = probe::tcp_echo(&lab.host, web.address(), b"directly").expect("TCP answers");
        assert_eq!(answer, b"directly");
        let table = daemon.stop();
        let any = if target.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let flows = 2 * own.len() as u64;
        assert_eq!(row(&table, &format!("{any}:8080/tcp")).flows, flows);
        assert!(!table.contains("dropped"), "{table}");
    }
}

/// A socket that is bound to another loopback address, or to one of the host's others.
#[test]
fn from_any_address_of_the_host() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let web = tcp_server(&container.namespace, container.address, 80);
    let dns = udp_server(&container.namespace, container.address, 53);
    let publish = ["-p", "8080:80@172.17.0.2", "-p", "5353:53/udp@172.17.0.2"];
    let daemon = Daemon::run(&lab, &publish);
    let sent = payload(10_000);
    for source in [Ipv4Addr::new(127, 0, 0, 2), Lab::HOST] {
        for address in [Ipv4Addr::LOCALHOST, Lab::HOST] {
            let (source, tcp, udp) = (at(source, 0), at(address, 8080), at(address, 5353));
            let answer = probe::tcp_echo_from(&lab.host, source, tcp, &sent);
            assert!(answer.expect("TCP answers") == sent);
            let answer = probe::udp_echo_from(&lab.host, source, udp, &sent);
            assert!(answer.expect("UDP answers") == sent);
        }
    }
    drop((web, dns));
    daemon.stop();
}

/// The loopback interface takes 64 KiB at once and the bridge 1500 bytes: the host's stack is told, and
/// cuts its datagrams in pieces from then on.
#[test]
fn a_datagram_that_the_bridge_cannot_take_at_once() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let loopbacks = [
        (
            IpAddr::from(container.address),
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)),
        ),
        (
            container.address_v6.into(),
            Ipv6Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
        ),
    ];
    let publish = [
        format!("5353:53/udp@{}", container.address),
        format!("5353:53/udp@{}", container.address_v6),
    ];
    let _servers = loopbacks.map(|(target, ..)| udp_server(&container.namespace, target, 53));
    let daemon = Daemon::run(&lab, &["-p", &publish[0], "-p", &publish[1]]);
    for (_, loopback, source) in loopbacks {
        assert_eq!(heard_mtu(&lab.host, loopback), None);
        for length in [3000, 20_000] {
            echo_at_once(&lab.host, at(source, 0), at(loopback, 5353), length);
        }
        assert_eq!(heard_mtu(&lab.host, loopback), Some(1500));
    }
    let table = daemon.stop();
    assert!(table.contains("too-big"), "{table}");
}

/// Sends a datagram as one until it comes back.
#[track_caller]
pub(crate) fn echo_at_once(
    namespace: &Namespace,
    source: SocketAddr,
    destination: SocketAddr,
    length: usize,
) {
    let socket = probe::udp_connect(namespace, Some(source), destination).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    let sent = payload(length);
    let received = eventually("a large datagram", || {
        socket.send(&sent)?;
        let mut received = vec![0; length + 1];
        let length = socket.recv(&mut received)?;
        received.truncate(length);
        Ok::<_, io::Error>(received)
    });
    assert!(received == sent, "UDP returns something else");
}

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

/// The target's refusal reaches the host's socket, by either family and protocol.
#[test]
fn what_the_target_refuses_is_refused() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    for (target, loopback) in [
        (
            IpAddr::from(container.address),
            IpAddr::from(Ipv4Addr::LOCALHOST),
        ),
        (
            container.address_v6.into(),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ),
    ] {
        let publish = [format!("8080:80@{target}"), format!("5353:53/udp@{target}")];
        let daemon = Daemon::run(&lab, &["-p", &publish[0], "-p", &publish[1]]);
        for address in [
            loopback,
            if target.is_ipv4() {
                Lab::HOST.into()
            } else {
                Lab::HOST_V6.into()
            },
        ] {
            let refusal = probe::tcp_echo(&lab.host, at(address, 8080), b"?").expect_err("nobody");
            assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
            let refusal = probe::udp_echo(&lab.host, at(address, 5353), b"?").expect_err("nobody");
            assert_eq!(
                refusal.kind(),
                ErrorKind::ConnectionRefused,
                "UDP {address}"
            );
        }
        daemon.stop();
    }
}

/// Neighbours that use the host's address of their link, which no router forwards.
#[test]
fn a_client_with_an_address_of_its_link() {
    for (bridge_nf, firewall) in [(false, None), (true, Some(FIREWALL))] {
        let lab = Lab::builder().ipv6(true).build().expect("a lab");
        firewall::set_up(&lab.host, bridge_nf, firewall);
        let container = &lab.containers[0];
        let target = container.address_v6;
        let web = tcp_server(&container.namespace, target, 80);
        let dns = udp_server(&container.namespace, target, 53);
        let publish = [format!("8080:80@{target}"), format!("5353:53/udp@{target}")];
        let daemon = Daemon::run(&lab, &["-p", &publish[0], "-p", &publish[1]]);
        let (host, _) = link_local(&lab.host, Lab::UPLINK);
        let (_, scope) = link_local(&lab.client, Lab::UPLINK);
        let at = |port| SocketAddrV6::new(host, port, 0, scope).into();
        let sent = payload(100_000);
        let answer = probe::tcp_echo(&lab.client, at(8080), &sent).expect("TCP answers");
        assert!(answer == sent);
        let answer = probe::udp_echo(&lab.client, at(5353), &sent).expect("UDP answers");
        assert!(answer == sent);
        let gateway = IpAddr::from(lab.bridges[0].gateway_v6);
        for server in [&web, &dns] {
            assert!(seen_by(server).iter().all(|peer| *peer == gateway));
        }
        // A container does the same by its bridge.
        let (host, _) = link_local(&lab.host, Lab::BRIDGE);
        let (_, scope) = link_local(&container.namespace, "eth0");
        let at = |port| SocketAddrV6::new(host, port, 0, scope).into();
        let answer = probe::tcp_echo(&container.namespace, at(8080), &sent);
        assert!(answer.expect("TCP answers") == sent);
        daemon.stop();
    }
}

/// The link-local address of a link, and the link's index.
fn link_local(namespace: &Namespace, link: &str) -> (Ipv6Addr, u32) {
    eventually("an address of its link", || {
        let mut command = namespace.command("cat");
        let output = command
            .arg("/proc/net/if_inet6")
            .output()
            .expect("cat runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let line = text
            .lines()
            .find(|line| line.starts_with("fe80") && line.split_whitespace().last() == Some(link))
            .ok_or_else(|| text.clone())?;
        let words: Vec<_> = line.split_whitespace().collect();
        // Tentative addresses have flag 0x40.
        let flags = u8::from_str_radix(words[4], 16).expect("flags");
        if flags & 0x40 != 0 {
            return Err(text);
        }
        let address = u128::from_str_radix(words[0], 16).expect("an address");
        let index = u32::from_str_radix(words[1], 16).expect("an index");
        Ok((address.into(), index))
    })
}
