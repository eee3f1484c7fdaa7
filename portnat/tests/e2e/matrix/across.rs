//! IPv6 clients of targets that know IPv4 only.

use std::io::ErrorKind;
use std::net::IpAddr;

use nix::libc;
use portnat::lab::{Namespace, probe};

use crate::support::{at, echo_at_once, payload};

use super::scene::{ACROSS, Scene, UNSERVED_ACROSS, answer};

/// Who asks, and by which of the host's addresses. The last is behind the narrow bridge.
fn ways<'a>(scene: &'a Scene) -> [(&'a Namespace, IpAddr); 7] {
    let [_, v6] = &scene.sides;
    let (client, host) = (&scene.lab.client, &scene.lab.host);
    [
        (client, v6.host),
        (host, v6.loopback),
        (host, v6.host),
        (host, v6.gateway),
        (&scene.neighbour.namespace, v6.host),
        (&scene.target.namespace, v6.gateway),
        (&scene.stranger.namespace, v6.host),
    ]
}

pub(super) fn published_ports_answer(scene: &Scene) {
    let [ways @ .., narrow] = ways(scene);
    let [v4, v6] = &scene.sides;
    let ask = || {
        for (from, address) in ways {
            answer(from, address, ACROSS);
        }
    };
    let rows = scene.during(v6.any(), ACROSS, ask);
    assert_eq!(rows.map(|row| row.flows), [2 * ways.len() as u64; 2]);
    // Here the target is told how long its answers may be.
    answer(narrow.0, narrow.1, ACROSS);
    // The target sees the bridge's address, as with Docker's proxy.
    let seen = v4.news();
    assert_eq!(seen[0].len(), 2 * (ways.len() + 1));
    let mut seen = seen.iter().flatten();
    assert!(seen.all(|peer| *peer == v4.gateway));
}

/// Of what the bridge takes at once, 20 bytes are IPv4's header, where IPv6's has 40.
pub(super) fn what_is_too_long_is_told(scene: &Scene) {
    let [_, v6] = &scene.sides;
    // Nothing was too long by this address so far, or what fits would be cut all the same.
    let published = at(v6.other_gateway, ACROSS[1]);
    let connect = || probe::udp_connect(&scene.lab.host, None, published);
    let fits = 1500 + 20 - 40 - 8;
    echo_at_once(fits, connect);
    let socket = connect().expect("a socket");
    socket.send(&payload(fits + 1)).expect("sent");
    let error = socket.recv(&mut [0; 2000]).expect_err("it is too long");
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{error}");
    let [v4, _] = &scene.sides;
    assert_eq!(v4.dns.news(), [v4.gateway]);
}

pub(super) fn what_the_target_refuses_is_refused(scene: &Scene) {
    let [_, v6] = &scene.sides;
    let [tcp, udp] = UNSERVED_ACROSS;
    let ask = || {
        for (from, address) in ways(scene) {
            let refusal = probe::tcp_echo(from, at(address, tcp), b"?").expect_err("nobody");
            let refused = ErrorKind::ConnectionRefused;
            assert_eq!(refusal.kind(), refused, "TCP {address}");
            let refusal = probe::udp_echo(from, at(address, udp), b"?").expect_err("nobody");
            assert_eq!(refusal.kind(), refused, "UDP {address}");
        }
    };
    scene.during(v6.any(), UNSERVED_ACROSS, ask);
}
