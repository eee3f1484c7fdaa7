//! Frames take the way that packets of their flow have taken, and nothing but that.

use portnat_common::checksum::Sum;
use portnat_common::nat::{self, Hook};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Ip4, Side, Table, Tables, Ticks, Tuple, V4, V6, Verdict};

use crate::carrier::{BRIDGE_MTU, Carrier};
use crate::fast::{INSIDE, Scene, V4_ENDS, V6_ENDS, hopped};
use crate::fixtures::{ACK, SYN};
use crate::support::packet::Carries::{Sctp, Tcp, Udp, UdpUnchecked};
use crate::support::packet::{Packet, packet};
use crate::support::world::{DUE, HZ, Hosts, TestFamily, World, World6};

/// What becomes of a frame that comes in by an interface.
fn frame_comes<F: TestFamily>(
    scene: &Scene<F>,
    at: u32,
    frame: Vec<u8>,
) -> (Option<Verdict>, Carrier)
where
    Hosts<F>: Tables<F>,
{
    let sight = scene.see(Hook::In, at, at);
    let mut carrier = Carrier::of(frame);
    let verdict = nat::accelerate::<F, _, _>(&mut carrier, sight, &scene.world);
    (verdict, carrier)
}

/// A host whose container takes frames for ever.
fn scene() -> Scene<V4> {
    let scene = Scene::new(World::new(), V4_ENDS);
    scene.world.frames_until.set(Ticks(u64::MAX));
    scene
}

/// It is left to the other hooks as it was, and they count it once.
#[track_caller]
fn is_left(scene: &Scene<V4>, at: u32, frame: Vec<u8>) {
    let before = counted(scene);
    let (verdict, carrier) = frame_comes(scene, at, frame.clone());
    assert_eq!((verdict, carrier.by), (None, 0));
    assert_eq!(carrier.frame, frame);
    assert_eq!(counted(scene), before);
}

/// How many packets and bytes of the client's were counted in all flows, and what is known of ways.
fn counted(scene: &Scene<V4>) -> Vec<(u64, u64, String)> {
    [protocol::TCP, protocol::UDP, protocol::SCTP]
        .iter()
        .filter_map(|number| {
            let flow = scene.world.flow(Table::Confirmed, &key(*number))?;
            let way = format!("{:?}", flow.way.record());
            Some((flow.packets.get(), flow.bytes.get(), way))
        })
        .collect()
}

fn key(number: u8) -> Tuple<Ip4> {
    Tuple {
        src: "198.51.100.7"
            .parse::<std::net::Ipv4Addr>()
            .expect("an address")
            .into(),
        dst: World::HOST.into(),
        src_port: 40000,
        dst_port: 8080,
        protocol: number,
        side: Side::Ingress,
        zone: 0,
    }
}

fn become_as_packets_do<F: TestFamily>(scene: &Scene<F>)
where
    Hosts<F>: Tables<F>,
{
    scene.world.frames_until.set(Ticks(u64::MAX));
    for (number, data) in [(protocol::TCP, Tcp(ACK)), (protocol::UDP, Udp)] {
        scene.establish(number);
        for said in [&b""[..], b"odd", &[0xa5; 1200]] {
            let request = scene.request(data).saying(said);
            let (verdict, carrier) = frame_comes(scene, World::UPLINK, request.frame());
            assert_eq!((verdict, carrier.by), (Some(Verdict::Deliver), World::PORT));
            let translated = packet(data, scene.ends.client, scene.ends.target).saying(said);
            assert_eq!(carrier.frame, hopped(&translated, INSIDE));
            // As a packet, too.
            let (verdict, packet) = scene.come_in(World::UPLINK, &request);
            assert_eq!((verdict, packet.frame), (Verdict::Deliver, carrier.frame));
        }
    }
}

#[test]
fn frames_become_what_packets_become() {
    become_as_packets_do(&Scene::<V4>::new(World::new(), V4_ENDS));
    become_as_packets_do(&Scene::<V6>::new(World6::new(), V6_ENDS));
}

#[test]
fn each_frame_is_counted_once() {
    let scene = scene();
    scene.establish(protocol::UDP);
    let before = counted(&scene);
    let request = scene.request(Udp).saying(b"seven b");
    let (verdict, _) = frame_comes(&scene, World::UPLINK, request.frame());
    assert_eq!(verdict, Some(Verdict::Deliver));
    let (packets, bytes, _) = counted(&scene).remove(0);
    assert_eq!((packets, bytes), (before[0].0 + 1, before[0].1 + 35));
}

#[test]
fn what_is_unusual_is_left_to_the_other_hooks() {
    let scene = scene();
    for number in [protocol::TCP, protocol::UDP, protocol::SCTP] {
        scene.establish(number);
    }
    let data = |length: usize| scene.request(Tcp(ACK)).saying(&vec![1; length]);
    let longest = data(BRIDGE_MTU - 40).frame();
    let (verdict, _) = frame_comes(&scene, World::UPLINK, longest);
    assert_eq!(verdict, Some(Verdict::Deliver));
    let other = |dst| packet(Udp, scene.ends.client, dst);
    for unusual in [
        data(BRIDGE_MTU - 39),
        data(1).with_options(1),
        scene.request(Tcp(SYN)),
        scene.request(Tcp(ACK | tcp::FIN)),
        scene.request(Tcp(ACK | tcp::RST)),
        scene.request(Sctp(0)),
        scene.request(Udp).saying(&[1; 16]).fragment(0, true),
        other("192.0.2.1:8081"),
        other("192.0.2.9:8080"),
    ] {
        is_left(&scene, World::UPLINK, unusual.frame());
    }
    let request = scene.request(Udp).frame();
    is_left(&scene, World::OTHER_BRIDGE, request.clone());
    let mut last = request.clone();
    last[22] = 1;
    is_left(&scene, World::UPLINK, last);
    for cut in 0..request.len() {
        is_left(&scene, World::UPLINK, request[..cut].to_vec());
    }
}

/// Without a checksum there is none to be finished.
#[test]
fn a_datagram_without_a_checksum_has_none_afterwards() {
    let scene = scene();
    scene.establish(protocol::UDP);
    let request = scene.request(UdpUnchecked).frame();
    let (verdict, carrier) = frame_comes(&scene, World::UPLINK, request);
    assert_eq!(verdict, Some(Verdict::Deliver));
    assert_eq!(carrier.frame[40..42], [0, 0]);
}

/// Such a checksum is the sum of the pseudo header: of what the same machine sends.
#[test]
fn a_checksum_that_a_device_is_to_finish_is_left_to_who_knows_of_it() {
    let scene = scene();
    let unfinished = |request: &Packet, at: usize, number: u8| {
        let mut frame = request.frame();
        let length = (frame.len() - 34) as u16;
        let pseudo = Sum::ZERO
            .add_bytes(&frame[26..34])
            .add_bytes(&[0, number])
            .add_bytes(&length.to_be_bytes());
        frame[at..at + 2].copy_from_slice(&pseudo.fold().to_ne_bytes());
        frame
    };
    for (number, data, at) in [(protocol::TCP, Tcp(ACK), 50), (protocol::UDP, Udp, 40)] {
        scene.establish(number);
        let request = scene.request(data).saying(b"all of it");
        let frame = unfinished(&request, at, number);
        is_left(&scene, World::UPLINK, frame.clone());
        // Any other, also a wrong one, stays what it is.
        let mut wrong = frame;
        wrong[at] ^= 1;
        let (verdict, _) = frame_comes(&scene, World::UPLINK, wrong);
        assert_eq!(verdict, Some(Verdict::Deliver));
    }
}

/// When a packet is to go through the stack is decided behind, and so is what renews the flow.
#[test]
fn what_is_not_fresh_is_left_to_the_other_hooks() {
    let scene = scene();
    scene.establish(protocol::UDP);
    let request = scene.request(Udp);
    let goes = || {
        frame_comes(&scene, World::UPLINK, request.frame())
            .0
            .is_some()
    };
    scene.world.pass_ticks(HZ - 1);
    assert!(goes());
    // That a flow lives is noted by the other hooks as well.
    scene.world.pass_ticks(1);
    is_left(&scene, World::UPLINK, request.frame());
    assert_eq!(scene.come_in(World::UPLINK, &request).0, Verdict::Deliver);
    scene.world.pass_ticks(DUE - HZ - 1);
    assert!(goes());
    scene.world.pass_ticks(1);
    for _ in 0..3 {
        is_left(&scene, World::UPLINK, request.frame());
    }
    // The other hooks still have their turn to send one through the stack.
    assert_eq!(
        scene.come_in(World::UPLINK, &request).0,
        Verdict::Translated
    );
    scene.arrive(&request);
    assert!(goes());
}

/// Whether the container takes frames is learnt with its way, and for so long only.
#[test]
fn a_container_that_does_not_take_frames_gets_none() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::UDP);
    let request = scene.request(Udp);
    is_left(&scene, World::UPLINK, request.frame());
    let learn = |until| {
        scene.world.frames_until.set(until);
        scene.world.pass_ticks(DUE);
        scene.through(Udp);
        frame_comes(&scene, World::UPLINK, request.frame()).0
    };
    let now = Tables::<V4>::now(&scene.world).0;
    let soon = Ticks(now + DUE + 1);
    assert_eq!(learn(soon), Some(Verdict::Deliver));
    assert_eq!(learn(soon), None);
}

#[test]
fn nothing_is_accelerated_where_nothing_goes_past_the_stack() {
    let mut scene = scene();
    scene.establish(protocol::UDP);
    scene.world.settings.fast = 0;
    is_left(&scene, World::UPLINK, scene.request(Udp).frame());
}
