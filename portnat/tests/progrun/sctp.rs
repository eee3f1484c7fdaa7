//! SCTP: ports and the CRC over the whole packet, in both families.

use portnat::spec::Protocol;
use portnat_common::DropReason;
use portnat_common::wire::sctp::chunk::{DATA, INIT, INIT_ACK};

use crate::Host;
use crate::fixtures::{becomes, is_dropped};
use crate::support::packet::Carries::{Sctp, SctpUnchecked};
use crate::support::packet::packet;

/// Who speaks with whom, in one family.
struct Ends {
    client: &'static str,
    host: &'static str,
    target: &'static str,
    /// The target from a port that is not published, and what it becomes.
    inside: &'static str,
    outside: &'static str,
}

const ENDS: [Ends; 2] = [
    Ends {
        client: "198.51.100.7:40000",
        host: "192.0.2.1:8080",
        target: "172.17.0.2:80",
        inside: "172.17.0.2:5353",
        outside: "192.0.2.1:5353",
    },
    Ends {
        client: "[2001:db8:9::7]:40000",
        host: "[2001:db8:1::1]:8080",
        target: "[fd00:17::2]:80",
        inside: "[fd00:17::2]:5353",
        outside: "[2001:db8:1::1]:5353",
    },
];

fn association() -> Host {
    Host::new()
        .publish(Protocol::Sctp, "0.0.0.0", 8080, ENDS[0].target)
        .publish(Protocol::Sctp, "::", 8080, ENDS[1].target)
}

#[test]
fn published_and_answered() {
    let mut host = association();
    for ends in ENDS {
        for length in [0, 1, 7, 64, 255, 256, 1399, 1460] {
            let saying = |carries, src, dst| packet(carries, src, dst).saying(&vec![0xa5; length]);
            let inbound = saying(Sctp(INIT), ends.client, ends.host);
            becomes(
                host.ingress(&inbound.frame()),
                &saying(Sctp(INIT), ends.client, ends.target),
            );
            let answer = saying(Sctp(INIT_ACK), ends.target, ends.client);
            becomes(
                host.egress(&answer.frame()),
                &saying(Sctp(INIT_ACK), ends.host, ends.client),
            );
        }
    }
}

#[test]
fn masqueraded_and_answered() {
    let mut host = association();
    for ends in ENDS {
        let out = packet(Sctp(INIT), ends.inside, ends.client);
        becomes(
            host.egress(&out.frame()),
            &packet(Sctp(INIT), ends.outside, ends.client),
        );
        let answer = packet(Sctp(INIT_ACK), ends.client, ends.outside);
        becomes(
            host.ingress(&answer.frame()),
            &packet(Sctp(INIT_ACK), ends.client, ends.inside),
        );
    }
}

#[test]
fn a_port_from_outside_the_pool_is_exchanged_for_one_inside() {
    let mut host = association();
    let out = |src: &str| packet(Sctp(INIT), src, "203.0.113.5:53");
    let (verdict, frame) = host.egress(&out("172.17.0.2:40000").frame());
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    assert!(![40000, 8080].contains(&port));
    becomes((verdict, frame), &out(&format!("192.0.2.1:{port}")));
}

#[test]
fn a_checksum_that_a_device_fills_in_is_left_alone_and_a_wrong_one_stays_wrong() {
    let mut host = association();
    for ends in ENDS {
        let there = |carries, dst| packet(carries, ends.client, dst);
        becomes(
            host.ingress(&there(SctpUnchecked(DATA), ends.host).frame()),
            &there(SctpUnchecked(DATA), ends.target),
        );
        let damaged = |dst| {
            let mut frame = there(Sctp(DATA), dst).frame();
            *frame.last_mut().expect("a payload") ^= 1;
            frame
        };
        let (_, frame) = host.ingress(&damaged(ends.host));
        assert_eq!(frame, damaged(ends.target));
    }
}

#[test]
fn fragments_are_dropped() {
    let mut host = association();
    let first = packet(Sctp(DATA), ENDS[0].client, ENDS[0].host).fragment(0, true);
    let result = host.ingress(&first.frame());
    is_dropped(&mut host, result, DropReason::Fragment);
}
