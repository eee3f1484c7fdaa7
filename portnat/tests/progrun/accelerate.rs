//! Frames of established flows: the loaded XDP program makes of them what the TC program makes of
//! packets, byte for byte, and leaves everything else as it was.

use std::collections::BTreeSet;

use portnat_common::wire::tcp;
use portnat_common::{DropReason, Ip4, Ip6};

use crate::fast::{ENDS, establish, frame, hopped, host};
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::{Host, INTERFACE, REDIRECT};

/// XDP's verdicts.
const PASS: u32 = 2;
const REDIRECTED: u32 = 4;

/// The uplink's address.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A frame that comes in for the host.
fn to_us(packet: &Packet) -> Vec<u8> {
    frame(packet, [2, 0, 0, 0, 0, 9, 6, 0, 0, 0, 0, 1])
}

/// A host whose container takes frames, and on which ways are known.
fn accelerating(ends: [&str; 3]) -> Host {
    let mut host = host(ends);
    let datapath = &mut host.datapath;
    datapath
        .set_uplink_addresses(&[(INTERFACE, OWN)].into())
        .and_then(|()| datapath.lease_frames(&BTreeSet::from([INTERFACE])))
        .expect("filling the tables");
    establish(&mut host, ends);
    host
}

fn run(host: &mut Host, frame: &[u8]) -> (u32, Vec<u8>) {
    let datapath = &mut host.datapath;
    host.namespace
        .run(|| datapath.test_run_frame(frame))
        .expect("running the program")
}

#[track_caller]
fn is_left(host: &mut Host, frame: &[u8]) {
    assert_eq!(run(host, frame), (PASS, frame.to_vec()));
}

#[test]
fn frames_become_what_packets_become() {
    for ends in ENDS {
        let [client, published, target] = ends;
        let mut host = accelerating(ends);
        let mut sent = 0;
        for data in [Tcp(0x10), Udp] {
            for length in [0, 1, 3, 1400] {
                let said = vec![0xa5; length];
                let request = packet(data, client, published).saying(&said);
                let expected = hopped(&packet(data, client, target).saying(&said));
                assert_eq!(
                    run(&mut host, &to_us(&request)),
                    (REDIRECTED, expected.clone())
                );
                let as_packet = host.ingress(&frame(&request, [0; 12]));
                assert_eq!(as_packet, (REDIRECT, expected));
                sent += 1;
            }
        }
        assert_eq!(host.datapath.accelerated().expect("reading"), sent);
        assert_eq!(
            host.datapath.drops().expect("reading drops"),
            [] as [(DropReason, u64); 0]
        );
    }
}

#[test]
fn everything_else_is_left_to_the_other_programs() {
    for ends in ENDS {
        let [client, published, _] = ends;
        let mut host = accelerating(ends);
        let request = |carries| packet(carries, client, published);
        let sound = to_us(&request(Udp));
        assert_eq!(run(&mut host, &sound).0, REDIRECTED);
        let mut others = vec![
            to_us(&request(Tcp(tcp::SYN))),
            to_us(&request(Tcp(tcp::ACK | tcp::FIN))),
            // For another host, and for all.
            frame(&request(Udp), [0; 12]),
            frame(&request(Udp), [0xff; 12]),
            to_us(&packet(Udp, client, &published.replace("8080", "8081"))),
            to_us(&packet(Udp, &client.replace("40000", "40001"), published)),
        ];
        let mut tagged = sound.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        others.push(tagged);
        others.extend((14..sound.len()).map(|length| sound[..length].to_vec()));
        for other in others {
            is_left(&mut host, &other);
        }
        // Nothing of that was counted.
        let v4 = host.datapath.flows::<Ip4>().expect("reading flows");
        let v6 = host.datapath.flows::<Ip6>().expect("reading flows");
        let packets: Vec<_> = v4
            .values()
            .chain(v6.values())
            .map(|flow| flow.packets)
            .collect();
        assert_eq!(packets.iter().sum::<u64>(), 13, "{packets:?}");
    }
}

#[test]
fn a_port_that_takes_no_frames_gets_none() {
    let ends = ENDS[0];
    let mut host = host(ends);
    let addresses = [(INTERFACE, OWN)].into();
    host.datapath
        .set_uplink_addresses(&addresses)
        .expect("filling the table");
    establish(&mut host, ends);
    is_left(&mut host, &to_us(&packet(Udp, ends[0], ends[1])));
}
