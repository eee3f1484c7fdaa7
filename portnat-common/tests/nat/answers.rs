//! Packets that are answered with an ICMP error.

use std::net::IpAddr;

use etherparse::{Icmpv4Type, Icmpv6Type, icmpv4::DestUnreachableHeader};
use portnat_common::icmp_answer::{IcmpError, Quotation, quote, write};
use portnat_common::wire::{icmp, tcp};
use portnat_common::{Bytes, V4, V6};
use proptest::prelude::*;

use crate::support::packet::Carries::{
    EchoReply, EchoRequest, FragmentationNeeded, Protocol, Tcp, Udp,
};
use crate::support::packet::{Packet, error_about, packet, prohibited};
use crate::support::world::TestFamily;

/// A container, and a remote end: of IPv4 and of IPv6.
const ENDS: [(&str, &str); 2] = [
    ("172.17.0.2:5000", "203.0.113.5:443"),
    ("[fd00:17::2]:5000", "[2001:db8:5::5]:443"),
];

/// What `frame` becomes when it is answered.
fn answered<F: TestFamily>(
    frame: &[u8],
    source: IpAddr,
    error: impl Fn(F::Address) -> IcmpError<F::Address>,
) -> Option<Vec<u8>> {
    let mut quotation = Quotation::default();
    quote::<F, _>(&Bytes(&mut frame.to_vec()), 14, &mut quotation)?;
    let mut place = frame.to_vec();
    place.resize(14 + quotation.packet_len::<F>(), 0xa5);
    let error = error(F::address(source));
    write::<F, _>(&mut Bytes(&mut place), 14, &error, &quotation).expect("it has the length");
    Some(place)
}

fn refusal(packet: &Packet) -> Option<Vec<u8>> {
    let frame = packet.frame();
    if packet.src.is_ipv4() {
        let source = V4::OWN[1];
        answered::<V4>(&frame, source, IcmpError::prohibited::<V4>)
    } else {
        let source = V6::OWN[1];
        answered::<V6>(&frame, source, IcmpError::prohibited::<V6>)
    }
}

fn gateway(packet: &Packet) -> IpAddr {
    if packet.src.is_ipv4() {
        V4::OWN[1]
    } else {
        V6::OWN[1]
    }
}

#[test]
fn a_refused_flow_is_answered() {
    for (inside, remote) in ENDS {
        for carries in [Tcp(tcp::SYN), Tcp(tcp::ACK), Udp, EchoRequest, Protocol(47)] {
            for options in [0, 1, 4] {
                let asked = packet(carries, inside, remote).with_options(options);
                let asked = asked.saying(b"more than eight bytes");
                let expected = prohibited(gateway(&asked), &asked);
                assert_eq!(refusal(&asked), Some(expected), "{asked:?}");
            }
        }
        // The first fragment has what is quoted.
        let first = packet(Udp, inside, remote).fragment(0, true);
        assert_eq!(refusal(&first), Some(prohibited(gateway(&first), &first)));
    }
    let options = packet(Udp, ENDS[0].0, ENDS[0].1).with_options(10);
    assert_eq!(
        refusal(&options),
        Some(prohibited(gateway(&options), &options))
    );
}

#[test]
fn too_big_tells_the_mtu() {
    let (inside, remote) = ENDS[0];
    let asked = packet(Tcp(tcp::ACK), inside, remote).saying(&[7; 1000]);
    let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 576 };
    let v4 = Icmpv4Type::DestinationUnreachable(header);
    let v6 = Icmpv6Type::PacketTooBig { mtu: 1280 };
    let expected = error_about(V4::OWN[1], &asked, v4.clone(), v6);
    let too_big = |source| IcmpError::too_big::<V4>(576, source);
    assert_eq!(
        answered::<V4>(&asked.frame(), V4::OWN[1], too_big),
        Some(expected)
    );

    let (inside, remote) = ENDS[1];
    let asked = packet(Tcp(tcp::ACK), inside, remote).saying(&[7; 1300]);
    let expected = error_about(V6::OWN[1], &asked, v4, v6);
    let too_big = |source| IcmpError::too_big::<V6>(1280, source);
    assert_eq!(
        answered::<V6>(&asked.frame(), V6::OWN[1], too_big),
        Some(expected)
    );
}

#[test]
fn what_must_not_be_answered_is_not() {
    let (v4, v6) = (ENDS[0], ENDS[1]);
    let mut silent = Vec::new();
    for (inside, remote) in ENDS {
        let any = |carries| packet(carries, inside, remote);
        silent.extend([
            any(FragmentationNeeded),
            any(EchoReply),
            any(Tcp(tcp::RST)),
            any(Tcp(tcp::RST | tcp::ACK)),
            any(Udp).fragment(9, true),
            // Nothing to quote.
            any(Protocol(47)).saying(b"7 bytes"),
        ]);
    }
    for to_many in [
        "224.0.0.251:53",
        "239.1.1.1:53",
        "255.255.255.255:53",
        "0.0.0.0:53",
    ] {
        silent.push(packet(Udp, v4.0, to_many));
        silent.push(packet(Udp, to_many, v4.1));
    }
    for to_many in ["[ff02::fb]:53", "[ff0e::1]:53", "[::]:53"] {
        silent.push(packet(Udp, v6.0, to_many));
        silent.push(packet(Udp, to_many, v6.1));
    }
    for packet in silent {
        assert_eq!(refusal(&packet), None, "{packet:?}");
    }
    // A redirect is no error that quotes a packet to translate, and yet none to answer.
    let mut redirect = packet(EchoRequest, v4.0, v4.1).frame();
    redirect[34] = 5;
    assert_ne!(redirect[34], icmp::ECHO_REQUEST_V4);
    let error = |source| IcmpError::prohibited::<V4>(source);
    assert_eq!(answered::<V4>(&redirect, V4::OWN[1], error), None);
}

proptest! {
    /// No bytes make it panic.
    #[test]
    fn any_bytes(frame in prop::collection::vec(any::<u8>(), 0..200), version in prop_oneof![Just(0x45u8), Just(0x60)]) {
        let mut frame = frame;
        if let Some(first) = frame.get_mut(14) {
            *first = version;
        }
        answered::<V4>(&frame, V4::OWN[1], IcmpError::prohibited::<V4>);
        answered::<V6>(&frame, V6::OWN[1], IcmpError::prohibited::<V6>);
    }
}
