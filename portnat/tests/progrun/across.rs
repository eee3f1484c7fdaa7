//! IPv6 clients of IPv4 targets: the kernel swaps the headers, and every byte is as it should be.

use portnat::flows::JoinedFlow;
use portnat::spec::Protocol;
use portnat_common::checksum::checksum;
use portnat_common::{DropReason, Ip4, Ip6};

use crate::fixtures::is_dropped;
use crate::support::packet::Carries::{self, FragmentationNeeded, Sctp, Tcp, Udp, UdpUnchecked};
use crate::support::packet::packet;
use crate::support::world::World;
use crate::{Host, INTERFACE, REDIRECT};

const CLIENT: &str = "[2001:db8:1::10]:5000";
const HOST: &str = "[2001:db8:1::1]:8080";
const GATEWAY: &str = "172.17.0.1:5000";
const TARGET: &str = "172.17.0.2:80";

fn host() -> Host {
    let mut host = Host::new();
    let egress = &mut host.desired.v4.egress;
    egress.insert(World::BRIDGE, World::GATEWAY.into());
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        host = host.publish(protocol, "::", 8080, TARGET);
    }
    host
}

/// An IPv4 frame with this identification, one hop on.
fn hopped_v4(mut frame: Vec<u8>, identification: &[u8]) -> Vec<u8> {
    frame[22] -= 1;
    frame[18..20].copy_from_slice(identification);
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_ne_bytes());
    frame
}

/// There, and back as what goes to the host itself: the interface of a test is the loopback one,
/// and its packets have no Ethernet addresses.
#[track_caller]
fn there_and_back(host: &mut Host, there: Carries, back: Carries, payload: &[u8]) {
    let asked = packet(there, CLIENT, HOST).saying(payload);
    let (verdict, frame) = host.ingress(&asked.frame());
    assert_eq!(verdict, REDIRECT);
    let expected = packet(there, GATEWAY, TARGET).saying(payload).frame();
    let (may_be_cut, id) = (expected.len() <= 14 + 1260, frame[18..20].to_vec());
    let mut expected = expected;
    expected[20] = if may_be_cut { 0 } else { 0x40 };
    assert!(may_be_cut || id == [0, 0]);
    assert_eq!(frame, hopped_v4(expected, &id));

    let answered = packet(back, TARGET, GATEWAY).saying(payload);
    let (verdict, frame) = host.ingress(&answered.frame());
    assert_eq!(verdict, REDIRECT);
    let mut expected = packet(back, HOST, CLIENT).saying(payload).frame();
    expected[..12].fill(0);
    expected[21] -= 1;
    assert_eq!(frame, expected);
}

#[test]
fn there_and_back_by_every_protocol() {
    let mut host = host();
    for (there, back) in [(Tcp(2), Tcp(0x12)), (Udp, Udp), (Sctp(1), Sctp(2))] {
        for length in [1, 7, 1000, 1232, 1400] {
            there_and_back(&mut host, there, back, &vec![0x5a; length]);
        }
    }
    let v6 = host.datapath.flows::<Ip6>().expect("reading flows");
    assert_eq!(JoinedFlow::all(&v6).count(), 3);
    let v4 = host.datapath.flows::<Ip4>().expect("reading flows");
    assert_eq!(v4.len(), 0);
    assert_eq!(host.datapath.drops().expect("reading drops"), []);
}

#[test]
fn what_cannot_be_converted_is_dropped_and_says_why() {
    let reply = packet(Udp, TARGET, GATEWAY);
    let request = packet(Udp, CLIENT, HOST);
    for (refused, reason) in [
        (request.clone().with_options(1), DropReason::Untranslatable),
        (request.fragment(0, true), DropReason::Fragment),
        (reply.clone().with_options(1), DropReason::Untranslatable),
        (reply.fragment(0, true), DropReason::Fragment),
        (
            packet(UdpUnchecked, TARGET, GATEWAY),
            DropReason::NoChecksum,
        ),
    ] {
        let mut host = host();
        there_and_back(&mut host, Udp, Udp, b"hello");
        let outcome = host.ingress(&refused.frame());
        is_dropped(&mut host, outcome, reason);
    }
}

/// The errors themselves are compared with etherparse's in `portnat-common`.
#[test]
fn errors_become_those_of_the_other_family() {
    let mut host = host();
    there_and_back(&mut host, Udp, Udp, b"hello");
    let sent = packet(Udp, HOST, CLIENT).saying(&[0; 1300]).network();
    let error = packet(
        FragmentationNeeded,
        "[2001:db8:9::1]:0",
        "[2001:db8:1::1]:0",
    );
    let (verdict, frame) = host.ingress(&error.saying(&sent[..1100]).frame());
    assert_eq!((verdict, frame.len()), (REDIRECT, 14 + 56));
    assert_eq!(frame[12..15], [8, 0, 0x45]);
    assert_eq!(checksum(&frame[14..34]), 0);
    assert_eq!(checksum(&frame[34..]), 0);
    let as_sent = packet(Udp, TARGET, GATEWAY).saying(&[0; 1300]).network();
    assert_eq!(frame[44..46], as_sent[2..4], "the length");
    assert_eq!(frame[54..66], as_sent[12..24], "addresses and ports");

    let sent = packet(Udp, GATEWAY, TARGET).network();
    let error = packet(FragmentationNeeded, "172.17.0.2:0", "172.17.0.1:0");
    let (verdict, frame) = host.ingress(&error.saying(&sent[..28]).frame());
    assert_eq!((verdict, frame.len()), (REDIRECT, 14 + 96));
    assert_eq!(frame[12..15], [0x86, 0xdd, 0x60]);
    let as_sent = packet(Udp, CLIENT, HOST).network();
    assert_eq!(frame[66..68], as_sent[4..6], "the length");
    assert_eq!(frame[70..106], as_sent[8..44], "addresses and ports");
    assert_eq!(INTERFACE, 1, "it goes by where the client is");
}
