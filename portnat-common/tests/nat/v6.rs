//! The same in IPv6, and what only IPv6 has.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, DropReason, V6, Verdict};

use crate::fixtures::{becomes, is_dropped, passes};
use crate::support::packet::Carries::{
    EchoReply, EchoRequest, FragmentationNeeded, Protocol, Tcp, Udp, UdpUnchecked,
};
use crate::support::packet::{Packet, packet};
use crate::support::world::{World, World6};

pub(crate) const CLIENT: &str = "[2001:db8:9::7]:40000";
pub(crate) const HOST: &str = "[2001:db8:1::1]:8080";
pub(crate) const TARGET: &str = "[fd00:17::2]:80";
const REMOTE: &str = "[2001:db8:5::5]:53";
const SYN: u8 = tcp::SYN;
const SYN_ACK: u8 = tcp::SYN | tcp::ACK;

fn web() -> World6 {
    World6::new()
        .publish(protocol::TCP, "::", 8080, TARGET)
        .publish(protocol::UDP, "::", 8080, TARGET)
}

pub(crate) fn run(world: &World6, hook: Hook, packet: &Packet) -> (Verdict, Vec<u8>) {
    let mut frame = packet.frame();
    let sight = Sight {
        hook,
        l3: 14,
        forwarded: true,
    };
    let from_inside = packet.src.to_string().starts_with("[fd00:1");
    let interface = match hook {
        Hook::Inside => World::BRIDGE,
        Hook::In if from_inside => World::PORT,
        _ => World::UPLINK,
    };
    world.interface.set(interface);
    let verdict = nat::process::<V6, _, _>(&mut Bytes(&mut frame), sight, world);
    (verdict, frame)
}

#[test]
fn published_and_answered_with_any_extension_headers() {
    for (there, back) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp), (UdpUnchecked, Udp)] {
        for extensions in [0, 1, 4] {
            let world = web();
            let to = |dst| packet(there, CLIENT, dst).with_options(extensions);
            becomes(run(&world, Hook::In, &to(HOST)), &to(TARGET));
            let from = |src| packet(back, src, CLIENT).with_options(extensions);
            becomes(run(&world, Hook::Outside, &from(TARGET)), &from(HOST));
        }
    }
}

#[test]
fn more_extension_headers_than_anybody_needs_are_not_followed() {
    let world = web();
    let to = packet(Udp, CLIENT, HOST).with_options(5);
    passes(run(&world, Hook::In, &to), &to);
    let out = packet(Udp, TARGET, REMOTE).with_options(5);
    is_dropped(
        run(&world, Hook::Outside, &out),
        DropReason::UnsupportedProtocol,
    );
}

#[test]
fn masqueraded_and_answered() {
    for (there, back) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp)] {
        let world = web();
        let out = run(
            &world,
            Hook::Outside,
            &packet(there, "[fd00:17::2]:5353", REMOTE),
        );
        becomes(out, &packet(there, "[2001:db8:1::1]:5353", REMOTE));
        let answer = run(
            &world,
            Hook::In,
            &packet(back, REMOTE, "[2001:db8:1::1]:5353"),
        );
        becomes(answer, &packet(back, REMOTE, "[fd00:17::2]:5353"));
    }
    let world = web();
    let ping = |src| packet(EchoRequest, src, "[2001:db8:5::5]:0");
    let out = run(&world, Hook::Outside, &ping("[fd00:17::2]:7000"));
    becomes(out, &ping("[2001:db8:1::1]:7000"));
    let pong = |dst| packet(EchoReply, "[2001:db8:5::5]:0", dst);
    let answer = run(&world, Hook::In, &pong("[2001:db8:1::1]:7000"));
    becomes(answer, &pong("[fd00:17::2]:7000"));
}

#[test]
fn packet_too_big_reaches_who_sent_the_packet() {
    let world = web();
    run(&world, Hook::In, &packet(Tcp(SYN), CLIENT, HOST));
    run(
        &world,
        Hook::Outside,
        &packet(UdpUnchecked, "[fd00:17::2]:5353", REMOTE),
    );
    let error = |quoted: &Packet, bytes: usize| {
        let dst = quoted.src.to_string();
        packet(FragmentationNeeded, "[2001:db8:ffff::1]:0", &dst).saying(&quoted.network()[..bytes])
    };
    for extensions in [0, 1] {
        let bytes = 48 + 8 * extensions;
        let published = |src| packet(Tcp(tcp::ACK), src, CLIENT).with_options(extensions);
        becomes(
            run(&world, Hook::In, &error(&published(HOST), bytes)),
            &error(&published(TARGET), bytes),
        );
        let masqueraded = |src| packet(UdpUnchecked, src, REMOTE).with_options(extensions);
        becomes(
            run(
                &world,
                Hook::In,
                &error(&masqueraded("[2001:db8:1::1]:5353"), bytes),
            ),
            &error(&masqueraded("[fd00:17::2]:5353"), bytes),
        );
    }
}

#[test]
fn an_error_of_the_target_comes_from_the_host() {
    let world = web();
    run(&world, Hook::In, &packet(Tcp(SYN), CLIENT, HOST));
    let error = |from, dst| {
        let quoted = packet(Tcp(tcp::ACK), CLIENT, dst).network();
        packet(FragmentationNeeded, from, CLIENT).saying(&quoted[..48])
    };
    becomes(
        run(&world, Hook::Outside, &error(TARGET, TARGET)),
        &error(HOST, HOST),
    );
}

#[test]
fn a_container_reaches_its_own_published_port() {
    let world = web();
    let client = "[fd00:17::2]:40001";
    let to = |src, dst| packet(Udp, src, dst);
    becomes(
        run(&world, Hook::In, &to(client, HOST)),
        &to(client, TARGET),
    );
    let (verdict, frame) = run(&world, Hook::Inside, &to(client, TARGET));
    let port = u16::from_be_bytes([frame[54], frame[55]]);
    let gateway = format!("[fd00:17::1]:{port}");
    becomes((verdict, frame), &to(&gateway, TARGET));
    becomes(
        run(&world, Hook::In, &to(TARGET, &gateway)),
        &to(TARGET, client),
    );
    becomes(
        run(&world, Hook::Inside, &to(TARGET, client)),
        &to(HOST, client),
    );
}

#[test]
fn what_belongs_to_a_link_or_to_the_host_alone_is_left_to_the_stack() {
    let world = web();
    for (src, dst) in [
        // Somebody else's address.
        ("[fe80::7]:40000", "[fe80::1]:8080"),
        (CLIENT, "[fe80::1]:8080"),
        ("[::1]:40000", HOST),
        (CLIENT, "[::1]:8081"),
    ] {
        let local = packet(Tcp(SYN), src, dst);
        passes(run(&world, Hook::In, &local), &local);
    }
}

/// A fragment header without fragmentation (RFC 6946).
#[test]
fn an_atomic_fragment_is_whole() {
    let world = web();
    let mut atomic = packet(Udp, CLIENT, HOST).fragment(0, true).frame();
    atomic[57] = 0;
    let mut expected = packet(Udp, CLIENT, TARGET).fragment(0, true).frame();
    expected[57] = 0;
    let sight = Sight {
        hook: Hook::In,
        l3: 14,
        forwarded: true,
    };
    let verdict = nat::process::<V6, _, _>(&mut Bytes(&mut atomic), sight, &world);
    assert_eq!((verdict, atomic), (Verdict::Translated, expected));
}

#[test]
fn inside_addresses_stay_inside_and_outsiders_out() {
    let world = web();
    let out = packet(Protocol(47), TARGET, REMOTE);
    is_dropped(
        run(&world, Hook::Outside, &out),
        DropReason::UnsupportedProtocol,
    );
    let direct = packet(Udp, CLIENT, TARGET);
    is_dropped(run(&world, Hook::In, &direct), DropReason::DirectAccess);
}

#[test]
fn a_packet_that_is_cut_anywhere_is_never_altered_by_half() {
    let whole = packet(Tcp(SYN), CLIENT, HOST).with_options(2).frame();
    for length in 0..whole.len() {
        let mut frame = whole[..length].to_vec();
        let sight = Sight {
            hook: Hook::In,
            l3: 14,
            forwarded: true,
        };
        let verdict = nat::process::<V6, _, _>(&mut Bytes(&mut frame), sight, &web());
        assert_eq!((verdict, &frame[..]), (Verdict::Pass, &whole[..length]));
    }
}
