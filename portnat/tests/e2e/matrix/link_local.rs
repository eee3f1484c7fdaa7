//! Neighbours that use the host's address of their link, which no router forwards.

use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6};

use portnat::lab::{Lab, Namespace, probe};

use crate::support::{eventually, payload};

use super::scene::{PORTS, Scene};

/// Of the uplink, and of the bridge.
pub(super) fn published_ports_answer(scene: &Scene) {
    let [_, side] = &scene.sides;
    let sent = payload(100_000);
    let ways = [
        (&scene.lab.client, Lab::UPLINK),
        (&scene.neighbour.namespace, Lab::BRIDGE),
        (&scene.target.namespace, Lab::BRIDGE),
    ];
    let ask = || {
        for (from, link) in ways {
            let (host, _) = link_local(&scene.lab.host, link);
            // Everybody else has but one link, of this name.
            let (_, scope) = link_local(from, Lab::UPLINK);
            let [tcp, udp] = PORTS.map(|port| SocketAddrV6::new(host, port, 0, scope).into());
            let answer = probe::tcp_echo(from, tcp, &sent).expect("TCP answers");
            assert!(answer == sent, "{link}: TCP returns something else");
            let answer = probe::udp_echo(from, udp, &sent).expect("UDP answers");
            assert!(answer == sent, "{link}: UDP returns something else");
        }
    };
    let rows = scene.during(side.any(), PORTS, ask);
    assert_eq!(rows.map(|row| row.flows), [ways.len() as u64; 2]);
    let seen = side.news();
    assert_eq!(seen[0].len(), ways.len());
    let mut seen = seen.iter().flatten();
    assert!(seen.all(|peer| *peer == side.gateway));
}

/// The link-local address of a link, and the link's index.
fn link_local(namespace: &Namespace, link: &str) -> (Ipv6Addr, u32) {
    eventually("an address of its link", || {
        let read = || fs::read_to_string("/proc/thread-self/net/if_inet6");
        let text = namespace.run(read).expect("a list");
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
