//! Fragments that wait: what the programs keep of them, and what they send out again.

use std::io::Read as _;
use std::time::Duration;

use portnat::lab::Namespace;
use portnat::spec::Protocol;
use socket2::{Domain, Socket, Type};

use crate::support::packet::Carries::Udp;
use crate::support::packet::{Packet, packet};
use crate::{Host, NEXT, SHOT};

const CLIENT: &str = "198.51.100.7:40000";
const HOST: &str = "192.0.2.1:8080";
const TARGET: &str = "172.17.0.2:80";
const REMOTE: &str = "203.0.113.5:53";
const CLIENT_V6: &str = "[2001:db8:9::7]:40000";
const HOST_V6: &str = "[2001:db8:1::1]:8080";
const TARGET_V6: &str = "[fd00:17::2]:80";

fn web() -> Host {
    Host::new()
        .publish(Protocol::Udp, "0.0.0.0", 8080, TARGET)
        .publish(Protocol::Udp, "::", 8080, TARGET_V6)
}

/// Four fragments of a datagram, of different lengths.
fn four(src: &str, dst: &str) -> Vec<Packet> {
    let payload: Vec<u8> = (0..=255).cycle().take(4000).collect();
    packet(Udp, src, dst).saying(&payload).cut(&[150, 160, 340])
}

/// Hears every frame that comes in by a namespace's loopback interface.
fn listen(namespace: &Namespace) -> Socket {
    const EVERYTHING: i32 = 0x0003_i32.to_be() >> 16;
    let socket = namespace
        .run(|| Socket::new(Domain::PACKET, Type::RAW, Some(EVERYTHING.into())))
        .expect("a packet socket, as root");
    let patience = Some(Duration::from_secs(60));
    socket.set_read_timeout(patience).expect("a socket");
    socket
}

fn hear(mut socket: &Socket) -> Vec<u8> {
    let mut frame = vec![0; 1 << 14];
    let length = socket.read(&mut frame).expect("a frame");
    frame.truncate(length);
    frame
}

#[test]
fn what_waits_comes_again_as_it_was_and_the_first_goes_its_way() {
    for (client, host_port, target) in [(CLIENT, HOST, TARGET), (CLIENT_V6, HOST_V6, TARGET_V6)] {
        let mut host = web();
        let (sent, becomes) = (four(client, host_port), four(client, target));
        let heard = listen(&host.namespace);
        for later in [3, 1, 2] {
            assert_eq!(host.ingress(&sent[later].frame()).0, SHOT);
        }
        let first = host.ingress(&sent[0].frame());
        assert_eq!(first, (NEXT, becomes[0].frame()));
        // Now they are translated.
        for later in [3, 1, 2] {
            let frame = hear(&heard);
            assert_eq!(frame, sent[later].frame());
            assert_eq!(host.ingress(&frame), (NEXT, becomes[later].frame()));
        }
        assert_eq!(host.datapath.drops().expect("reading drops"), []);
    }
}

#[test]
fn a_masqueraded_datagrams_fragments_wait_too() {
    let mut host = web();
    let (sent, becomes) = (
        four("172.17.0.2:5353", REMOTE),
        four("192.0.2.1:5353", REMOTE),
    );
    assert_eq!(host.egress(&sent[1].frame()).0, SHOT);
    assert_eq!(host.egress(&sent[0].frame()), (NEXT, becomes[0].frame()));
    assert_eq!(host.egress(&sent[2].frame()), (NEXT, becomes[2].frame()));
    assert_eq!(host.datapath.drops().expect("reading drops"), []);
}
