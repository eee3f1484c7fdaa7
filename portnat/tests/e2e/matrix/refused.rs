//! Published ports that nobody serves in the target: who refuses is the target, and whoever asks hears it.

use std::io::ErrorKind;

use portnat::lab::probe;

use crate::support::at;

use super::scene::{Scene, Side, UNSERVED};

pub(super) fn by_the_target(scene: &Scene, side: &Side) {
    let ways = [
        (&scene.lab.client, side.host),
        (&scene.lab.host, side.loopback),
        (&scene.lab.host, side.host),
        (&scene.neighbour.namespace, side.host),
        (&scene.target.namespace, side.host),
        (&scene.stranger.namespace, side.host),
    ];
    let [tcp, udp] = UNSERVED;
    let refused = ErrorKind::ConnectionRefused;
    let ask = || {
        for (from, address) in ways {
            let refusal = probe::tcp_echo(from, at(address, tcp), b"?").expect_err("nobody");
            assert_eq!(refusal.kind(), refused, "TCP {address}");
            let refusal = probe::udp_echo(from, at(address, udp), b"?").expect_err("nobody");
            assert_eq!(refusal.kind(), refused, "UDP {address}");
        }
    };
    let [tcp, _] = scene.during(side.any(), UNSERVED, ask);
    // It was the container that refused, each time at once.
    let packets = ways.len() as u64;
    assert_eq!([tcp.packets_in, tcp.packets_out], [packets; 2], "{tcp:?}");
}
