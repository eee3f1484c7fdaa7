//! VLAN tags that the host's stack takes off behind our programs.

use etherparse::PacketBuilder;
use portnat::lab::{Lab, frames};

use crate::daemon::Daemon;
use crate::support::{assert_dropped, eventually, udp_server};

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

/// The frame with these tags, each a kind and what it says, the outer one first.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let words = tags.iter().flat_map(|(kind, says)| [*kind, *says]);
    let tags: Vec<_> = words.flat_map(u16::to_be_bytes).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// A neighbour asks for a container directly, in both families, with as many tags as it likes.
#[test]
fn tags_of_no_vlan_hide_nothing() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let servers = [
        udp_server(&container.namespace, container.address, 53),
        udp_server(&container.namespace, container.address_v6, 53),
    ];
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);
    let socket = frames(&lab.client, Lab::UPLINK).expect("a packet socket");
    let macs = [&lab.client, &lab.host].map(|it| it.links().mac(Lab::UPLINK).expect("a link"));
    let link = || PacketBuilder::ethernet2(macs[0], macs[1]);
    let (v4, v6) = (container.address, container.address_v6);
    let packets = [
        link().ipv4(Lab::CLIENT.octets(), v4.octets(), 64),
        link().ipv6(Lab::CLIENT_V6.octets(), v6.octets(), 64),
    ];
    let (mut disguised, mut direct) = (0, 0);
    for packet in packets {
        let mut frame = Vec::new();
        let written = packet.udp(4000, 53).write(&mut frame, b"hello");
        written.expect("a packet");
        for (tags, hides) in [
            (&[][..], false),
            (&[(CUSTOMER, 0)], false),
            (&[(CUSTOMER, 0), (CUSTOMER, 0)], true),
            (&[(CUSTOMER, 0xe000), (CUSTOMER, 0xe000)], true),
            (&[(SERVICE, 0), (CUSTOMER, 0)], true),
            (&[(CUSTOMER, 0), (SERVICE, 0), (CUSTOMER, 0)], true),
        ] {
            let frame = tagged(&frame, tags);
            assert_eq!(socket.send(&frame).expect("sent"), frame.len());
            if hides {
                disguised += 1;
            } else {
                direct += 1;
            }
        }
    }
    eventually("all have come", || {
        let stats = daemon.told(&["stats", "--json"]);
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        match stats["dropped"]["disguised"].as_u64() {
            Some(all) if all == disguised => Ok(()),
            some => Err(some),
        }
    });
    for server in servers {
        assert_eq!(server.peers(), []);
    }
    let table = daemon.stop();
    assert_dropped(&table, direct, "direct-access", &[]);
    assert_dropped(&table, disguised, "disguised", &[]);
}
