//! From the host itself.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use portnat::lab::probe;

use crate::icmp::heard_mtu;
use crate::support::{at, echo_at_once, payload};

use super::scene::{PORTS, Scene, Side, answer};

/// By whatever address it has, from whatever address it has.
pub(super) fn published_ports_answer(scene: &Scene, side: &Side) {
    let host = &scene.lab.host;
    let second = second_loopback(side);
    let mut own = vec![side.loopback, side.host, side.gateway, side.other_gateway];
    if second != side.loopback {
        own.push(second);
    }
    let ask = || own.iter().for_each(|address| answer(host, *address, PORTS));
    let rows = scene.during(side.any(), PORTS, ask);
    assert_eq!(rows.map(|row| row.flows), [2 * own.len() as u64; 2]);

    // Bound to another loopback address, or to one of the host's others.
    let sent = payload(10_000);
    let ask = || {
        for source in [second, side.host] {
            for address in [
                side.loopback,
                if side.host.is_ipv4() {
                    side.loopback
                } else {
                    side.host
                },
            ] {
                let way = format!("{source} to {address}");
                let (source, tcp, udp) = (at(source, 0), at(address, 8080), at(address, 5353));
                let answer = probe::tcp_echo_from(host, source, tcp, &sent);
                assert!(answer.expect("TCP answers") == sent, "TCP, {way}");
                let answer = probe::udp_echo_from(host, source, udp, &sent);
                assert!(answer.expect("UDP answers") == sent, "UDP, {way}");
            }
        }
    };
    let rows = scene.during(side.any(), PORTS, ask);
    assert_eq!(rows.map(|row| row.flows), [4; 2]);
    // The target sees the bridge's address, as with Docker's proxy.
    let seen = side.news();
    assert_eq!(seen[0].len(), 2 * own.len() + 4);
    let mut seen = seen.iter().flatten();
    assert!(seen.all(|peer| *peer == side.gateway));

    // Ports that nobody has published are refused, and the target's own is its own.
    let ask = || {
        for asked in [at(side.loopback, 80), at(side.target, 8080)] {
            let refusal = probe::tcp_echo(host, asked, b"?").expect_err("not there");
            assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "{asked}");
        }
        let answer = probe::tcp_echo(host, side.web.address(), b"directly").expect("TCP answers");
        assert_eq!(answer, b"directly");
    };
    let rows = scene.during(side.any(), PORTS, ask);
    assert_eq!(rows.map(|row| row.flows), [0; 2]);
    assert_eq!(side.web.news(), [side.gateway]);
}

/// The loopback interface takes 64 KiB at once and the bridge 1500 bytes: the host's stack is told,
/// and cuts its datagrams in pieces from then on.
pub(super) fn what_is_too_long_is_cut(scene: &Scene, side: &Side) {
    let host = &scene.lab.host;
    let second = second_loopback(side);
    let connect =
        |source, address| probe::udp_connect(host, Some(at(source, 0)), at(address, PORTS[1]));
    let lengths = [3000, 20_000];
    let one = connect(second, side.loopback).expect("a socket");
    assert_eq!(heard_mtu(host, side.loopback), None);
    for length in lengths {
        echo_at_once(length, || one.try_clone());
    }
    assert_eq!(heard_mtu(host, side.loopback), Some(1500));

    // By an address of another interface Linux cuts for later sockets, and those that are connected
    // already go on as before. What it keeps in IPv6 must be less than that interface takes.
    let told = if side.host.is_ipv4() { 1500 } else { 1280 };
    for (source, address) in [(second, side.host), (side.gateway, side.gateway)] {
        assert_eq!(heard_mtu(host, address), None);
        for length in lengths {
            echo_at_once(length, || connect(source, address));
        }
        assert_eq!(heard_mtu(host, address), Some(told), "{address}");
    }

    let table = scene.table();
    assert!(table.contains("(too-big)"), "{table}");
    assert_eq!(side.dns.news(), [side.gateway; 6]);
}

/// Another address of the loopback interface, where the family has one.
fn second_loopback(side: &Side) -> IpAddr {
    match side.loopback {
        IpAddr::V4(_) => Ipv4Addr::new(127, 0, 0, 2).into(),
        only @ IpAddr::V6(_) => only,
    }
}
