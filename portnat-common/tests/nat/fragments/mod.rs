//! Datagrams in fragments, in any order (RFC 4787 REQ-14).

mod any_order;

use portnat_common::fragment::{LIFETIME, LONGEST_FRAME, MAX_WAITING};
use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, DropReason, Tables, V4, Verdict};

use crate::support::fragments::When;
use crate::support::packet::Carries::{FragmentationNeeded, Protocol, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::{Hosts, TestFamily, World, World6};

const CLIENT: &str = "198.51.100.7:40000";
const HOST: &str = "192.0.2.1:8080";
const TARGET: &str = "172.17.0.2:80";
const REMOTE: &str = "203.0.113.5:53";

type Outcome = (Verdict, Vec<u8>);

fn web() -> World {
    World::new()
        .publish(protocol::TCP, "0.0.0.0", 8080, TARGET)
        .publish(protocol::UDP, "0.0.0.0", 8080, TARGET)
}

fn web6() -> World6 {
    World6::new()
        .publish(protocol::TCP, "::", 8080, "[fd00:17::2]:80")
        .publish(protocol::UDP, "::", 8080, "[fd00:17::2]:80")
}

fn sight(hook: Hook) -> Sight {
    Sight {
        hook,
        l3: 14,
        forwarded: true,
    }
}

/// Runs a frame through a hook, and behind it those that it releases.
fn run<F: TestFamily>(world: &Hosts<F>, hook: Hook, frame: &[u8]) -> Vec<Outcome> {
    let from_inside = frame[26..28] == [172, 17] || frame[22..24] == [0xfd, 0];
    let at = match hook {
        Hook::Inside => World::BRIDGE,
        Hook::In if from_inside => World::PORT,
        _ => World::UPLINK,
    };
    world.interface.set(at);
    let mut frame = frame.to_vec();
    let verdict = nat::process::<F, _, _>(&mut Bytes(&mut frame), sight(hook), world);
    let released = world.fragments.released.take();
    let behind = released
        .iter()
        .flat_map(|released| run(world, hook, released));
    [(verdict, frame)].into_iter().chain(behind).collect()
}

/// Runs packets through a hook, one after the other. What is held shows when it is released.
fn run_all<F: TestFamily>(world: &Hosts<F>, hook: Hook, packets: &[Packet]) -> Vec<Outcome> {
    let outcomes = packets
        .iter()
        .flat_map(|packet| run(world, hook, &packet.frame()));
    outcomes
        .filter(|(verdict, _)| *verdict != Verdict::Held)
        .collect()
}

fn frames(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(Packet::frame).collect()
}

/// A datagram to the published port in three fragments, and what they become.
fn three() -> (Vec<Packet>, Vec<Vec<u8>>) {
    let payload: Vec<u8> = (0..100).collect();
    let cut = |dst| packet(Udp, CLIENT, dst).saying(&payload).cut(&[2, 5]);
    (cut(HOST), frames(&cut(TARGET)))
}

#[test]
fn those_that_come_again_are_translated_again() {
    let (sent, becomes) = three();
    let world = web();
    let order = [1, 1, 0, 0, 2, 1, 0];
    let arrivals = order.map(|at: usize| sent[at].clone());
    let out: Vec<_> = run_all(&world, Hook::In, &arrivals)
        .into_iter()
        .map(|(_, frame)| frame)
        .collect();
    // Both that waited follow the first.
    let expected = [0, 1, 1, 0, 2, 1, 0].map(|at: usize| becomes[at].clone());
    assert_eq!(out, expected);
    assert_eq!(world.fragments.waiting(), 0);
}

#[test]
fn a_datagram_whose_time_is_over_does_not_mix_with_the_next() {
    let (sent, becomes) = three();
    let world = web();
    assert_eq!(run_all(&world, Hook::In, &sent[2..]), []);
    world.pass(LIFETIME + 1);
    let outcomes = run_all(&world, Hook::In, &sent[..2]);
    let expected = [0, 1].map(|at: usize| (Verdict::Translated, becomes[at].clone()));
    assert_eq!(outcomes, expected, "the third stays where it is");
    world.pass(LIFETIME + 1);
    // Nor does it follow the one before.
    assert_eq!(run_all(&world, Hook::In, &sent[1..2]), []);
    assert_eq!(run_all(&world, Hook::In, &sent[..1]).len(), 2);
}

#[test]
fn of_a_datagram_no_more_wait_than_there_is_room_for() {
    let world = web();
    let payload = vec![0; 8 * (MAX_WAITING as usize + 2)];
    let cuts: Vec<_> = (1..MAX_WAITING as u16 + 3).collect();
    let sent = packet(Udp, CLIENT, HOST).saying(&payload).cut(&cuts);
    let last = sent.len() - 1;
    let outcomes = run_all(&world, Hook::In, &sent[1..]);
    let refused = outcomes
        .iter()
        .filter(|(verdict, _)| *verdict == Verdict::Drop(DropReason::Fragment));
    assert_eq!(refused.count(), last - MAX_WAITING as usize);
    assert_eq!(outcomes.len(), last - MAX_WAITING as usize);
    let released = run_all(&world, Hook::In, &sent[..1]);
    assert_eq!(released.len(), 1 + MAX_WAITING as usize);
    assert!(
        released
            .iter()
            .all(|(verdict, _)| *verdict == Verdict::Translated)
    );
}

#[test]
fn a_frame_that_is_too_long_cannot_wait() {
    let world = web();
    let (mut sent, _) = three();
    sent[1].payload = vec![0; LONGEST_FRAME - 14 - 20 + 1];
    let refused = run_all(&world, Hook::In, &sent[1..2]);
    assert_eq!(refused[0].0, Verdict::Drop(DropReason::Fragment));
    sent[1].payload.pop();
    assert_eq!(run_all(&world, Hook::In, &sent[1..2]), [], "now it waits");
    // Behind its first any length will do.
    assert_eq!(run_all(&world, Hook::In, &sent[..1]).len(), 2);
    sent[2].payload = vec![0; LONGEST_FRAME];
    let follows = run_all(&world, Hook::In, &sent[2..]);
    assert_eq!(follows[0].0, Verdict::Translated);
}

#[test]
fn where_the_first_is_dropped_the_others_are() {
    let world = web();
    Tables::<V4>::set_full(&world, Tables::<V4>::now(&world));
    let (sent, _) = three();
    let order = [1, 0, 2].map(|at: usize| sent[at].clone());
    let verdicts: Vec<_> = run_all(&world, Hook::In, &order)
        .into_iter()
        .map(|(verdict, _)| verdict)
        .collect();
    let dropped = Verdict::Drop(DropReason::Fragment);
    let full = Verdict::Drop(DropReason::FlowTableFull);
    assert_eq!(verdicts, [full, dropped, dropped]);
}

/// The first comes on another CPU in the very moment in which a later one is put away: just before,
/// when the first sees nothing of it, or just behind, when it is not counted yet.
#[test]
fn none_is_left_behind_where_two_cpus_meet() {
    let (sent, becomes) = three();
    for (others, when) in [
        (0, When::Before),
        (0, When::Behind),
        (1, When::Before),
        (1, When::Behind),
    ] {
        let world = web();
        run_all(&world, Hook::In, &sent[2..2 + others]);
        let first = (when, sight(Hook::In), sent[0].frame());
        *world.fragments.meanwhile.borrow_mut() = Some(first);
        let mut out = run(&world, Hook::In, &sent[1].frame());
        out.extend(world.fragments.became.take());
        out.retain(|(verdict, _)| *verdict != Verdict::Held);
        let mut out: Vec<_> = out.into_iter().map(|(_, frame)| frame).collect();
        let mut expected = becomes[..2 + others].to_vec();
        out.sort();
        expected.sort();
        assert_eq!(out, expected);
        assert_eq!(world.fragments.waiting(), 0);
    }
}

#[test]
fn what_has_no_ports_does_not_wait_inwards_and_stays_inside_outwards() {
    let pieces = |carries, src, dst| packet(carries, src, dst).saying(&[0; 64]).cut(&[4]);
    let world = web();
    let gre = pieces(Protocol(47), CLIENT, HOST);
    let passes = [1, 0].map(|at: usize| (Verdict::Pass, gre[at].frame()));
    assert_eq!(
        run_all(&world, Hook::In, &[gre[1].clone(), gre[0].clone()]),
        passes
    );
    let out = pieces(Protocol(47), TARGET, REMOTE);
    let verdicts: Vec<_> = run_all(&world, Hook::Outside, &[out[1].clone(), out[0].clone()])
        .into_iter()
        .map(|(verdict, _)| verdict)
        .collect();
    let expected = [DropReason::Fragment, DropReason::UnsupportedProtocol].map(Verdict::Drop);
    assert_eq!(verdicts, expected);
    // An ICMP error about nothing of ours, and a first fragment without a whole header (RFC 1858).
    let error = pieces(FragmentationNeeded, CLIENT, HOST);
    let tiny = packet(Tcp(tcp::ACK), CLIENT, HOST).cut(&[1]);
    for pieces in [error, tiny] {
        for order in [[0, 1], [1, 0]] {
            let world = web();
            let arrivals = order.map(|at: usize| pieces[at].clone());
            let expected = [0, 1].map(|at: usize| (Verdict::Pass, pieces[at].frame()));
            assert_eq!(run_all(&world, Hook::In, &arrivals), expected);
        }
    }
}

#[test]
fn what_others_say_to_each_other_does_not_wait() {
    let world = web();
    let pieces = |src, dst| packet(Udp, src, dst).saying(&[0; 64]).cut(&[4]);
    for (hook, src, dst) in [
        (Hook::In, CLIENT, REMOTE),
        (Hook::In, TARGET, REMOTE),
        (Hook::In, CLIENT, "127.0.0.1:8080"),
        (Hook::Outside, CLIENT, REMOTE),
        (Hook::Inside, CLIENT, TARGET),
    ] {
        let later = &pieces(src, dst)[1];
        let outcomes = run_all(&world, hook, std::slice::from_ref(later));
        assert_eq!(outcomes, [(Verdict::Pass, later.frame())], "{src} to {dst}");
    }
}

/// On a published address that is not the host's own, and of a target outside every known subnet.
#[test]
fn wherever_ports_are_published_fragments_wait() {
    const ELSEWHERE: &str = "10.9.9.9:80";
    let world = World::new().publish(protocol::UDP, "203.0.113.77", 8080, ELSEWHERE);
    let cut = |src, dst| packet(Udp, src, dst).saying(&[1; 64]).cut(&[4]);
    for (hook, sent, becomes) in [
        (
            Hook::In,
            cut(CLIENT, "203.0.113.77:8080"),
            cut(CLIENT, ELSEWHERE),
        ),
        (
            Hook::Outside,
            cut(ELSEWHERE, CLIENT),
            cut("203.0.113.77:8080", CLIENT),
        ),
    ] {
        let outcomes = run_all(&world, hook, &[sent[1].clone(), sent[0].clone()]);
        let expected = [0, 1].map(|at: usize| (Verdict::Translated, becomes[at].frame()));
        assert_eq!(outcomes, expected);
    }
}

/// An extension header behind the fragment header is fragmented too: a later fragment names it, and
/// not UDP (RFC 8200 section 4.5).
#[test]
fn options_in_the_fragmented_part_hide_the_protocol_from_later_fragments() {
    let carried = |dst: &str| {
        let udp = packet(Udp, "[2001:db8:9::7]:40000", dst).saying(&[3; 64]);
        let udp = [&[protocol::UDP, 0, 1, 4, 0, 0, 0, 0], &udp.network()[40..]].concat();
        packet(Protocol(60), "[2001:db8:9::7]:40000", dst)
            .saying(&udp)
            .cut(&[4])
    };
    let (sent, becomes) = (carried("[2001:db8:1::1]:8080"), carried("[fd00:17::2]:80"));
    let outcomes = run_all(&web6(), Hook::In, &[sent[1].clone(), sent[0].clone()]);
    let expected = [0, 1].map(|at: usize| (Verdict::Translated, becomes[at].frame()));
    assert_eq!(outcomes, expected);
}
