//! Past the stack: the loaded programs learn a way, and what takes it comes out byte for byte as it
//! should. All interfaces are the loopback one here, and its packets are for the host if their link
//! header is zero. By which port of its bridge a container's packets come in, a test run cannot tell
//! the programs: that is written into the flow.

use portnat::datapath::FlowTable;
use portnat::spec::Protocol;
use portnat_common::checksum::checksum;
use portnat_common::way::port_number;
use portnat_common::{DropReason, Ip4, Ip6, Settings, Side};

use crate::support::packet::Carries::{self, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::World;
use crate::{Host, INTERFACE, NEXT, REDIRECT};

/// The link header of what leaves the stack.
pub(crate) const LINK: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

pub(crate) const ENDS: [[&str; 3]; 2] = [
    ["198.51.100.7:40000", "192.0.2.1:8080", "172.17.0.2:80"],
    [
        "[2001:db8:7::7]:40000",
        "[2001:db8:1::1]:8080",
        "[fd00:17::2]:80",
    ],
];

/// A second is so long there that no way grows old while another program is loaded.
pub(crate) fn host(ends: [&str; 3]) -> Host {
    let long = u64::from(portnat::net::ticks_per_second()) * 600;
    let mut host = Host::with(64, Settings::new(long, (32768, 60999)));
    let any = if ends[1].starts_with('[') {
        "::"
    } else {
        "0.0.0.0"
    };
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        host = host.publish(protocol, any, 8080, ends[2]);
    }
    host.datapath.set_fast(true).expect("a setting");
    host
}

pub(crate) fn frame(packet: &Packet, link: [u8; 12]) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[..12].copy_from_slice(&link);
    frame
}

/// The frame after a hop, with the link header of its way.
pub(crate) fn hopped(packet: &Packet) -> Vec<u8> {
    let mut frame = frame(packet, LINK);
    if packet.src.is_ipv4() {
        frame[22] -= 1;
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_ne_bytes());
    } else {
        frame[21] -= 1;
    }
    frame
}

/// A packet of the client's and one of the target's go through the stack.
pub(crate) fn through(
    host: &mut Host,
    [client, published, target]: [&str; 3],
    (there, back): (Carries, Carries),
) {
    let request = frame(&packet(there, client, published), [0; 12]);
    assert_eq!(host.ingress(&request).0, NEXT);
    let arrived = frame(&packet(there, client, target), LINK);
    assert_eq!(
        host.run("port_out", &arrived, INTERFACE),
        (NEXT, arrived.clone())
    );
    let reply = packet(back, target, client);
    assert_eq!(
        host.run("port_in", &frame(&reply, [0; 12]), INTERFACE).0,
        NEXT
    );
    let left = frame(&reply, LINK);
    assert_eq!(host.run("uplink_out", &left, World::BRIDGE).0, NEXT);
}

/// The containers' packets of every flow come in by the only interface there is.
fn tell_ports<A: FlowTable>(host: &mut Host) {
    let flows = host.datapath.flows::<A>().expect("reading flows");
    for (key, mut flow) in flows {
        if key.side == Side::Egress {
            let way = flow.way.shared();
            way.set_port(port_number(INTERFACE));
            flow.way = way.record();
            host.datapath.put_flow(&key, &flow).expect("there is room");
        }
    }
}

/// Connections are opened, and the ways of what comes for them are learnt.
pub(crate) fn establish(host: &mut Host, ends: [&str; 3]) {
    for (first, answer, data) in [(Tcp(2), Tcp(0x12), Tcp(0x10)), (Udp, Udp, Udp)] {
        through(host, ends, (first, answer));
        through(host, ends, (data, data));
    }
    tell_ports::<Ip4>(host);
    tell_ports::<Ip6>(host);
    for data in [Tcp(0x10), Udp] {
        through(host, ends, (data, data));
    }
}

#[test]
fn what_comes_goes_past_the_stack_in_both_families() {
    for ends in ENDS {
        let [client, published, target] = ends;
        let mut host = host(ends);
        establish(&mut host, ends);
        for data in [Tcp(0x10), Udp] {
            let request = frame(&packet(data, client, published), [0; 12]);
            let expected = hopped(&packet(data, client, target));
            assert_eq!(host.ingress(&request), (REDIRECT, expected));
        }
        assert_eq!(
            host.datapath.drops().expect("reading drops"),
            [] as [(DropReason, u64); 0]
        );
        let flows = host.datapath.flows::<Ip4>().expect("reading flows").len()
            + host.datapath.flows::<Ip6>().expect("reading flows").len();
        assert_eq!(flows, 4);
    }
}
