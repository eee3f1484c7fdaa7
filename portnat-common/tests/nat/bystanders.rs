//! What a glance shows to be nobody's of ours, all that is done for ours passes untouched too.

use portnat_common::nat::{self, Hook, Next, Opening, Sight};
use portnat_common::wire::sctp::chunk;
use portnat_common::wire::tcp;
use portnat_common::{Bytes, First, Tables, V4, V6, Verdict};
use proptest::prelude::*;

use crate::fixtures::{CLIENT, HOST, TARGET, web};
use crate::support::packet::Carries::{EchoRequest, Sctp, Tcp, Udp};
use crate::support::packet::{Carries, Packet, packet};
use crate::support::world::{Hosts, TestFamily, World, World6};

const HOOKS: [Hook; 4] = [Hook::In, Hook::Outside, Hook::Inside, Hook::Local];

fn sight(hook: Hook, forwarded: bool) -> Sight {
    Sight {
        hook,
        l3: 14,
        forwarded,
    }
}

fn is_bystander<F: TestFamily>(world: &Hosts<F>, packet: &Packet, sight: Sight) -> bool
where
    Hosts<F>: Tables<F>,
{
    nat::is_bystander::<F, _, _>(&Bytes(&mut packet.frame()), sight, world)
}

/// What becomes of a packet that is looked at closely.
fn closely<F: TestFamily>(world: &Hosts<F>, frame: &mut [u8], sight: Sight) -> Verdict
where
    Hosts<F>: Tables<F>,
{
    let packet = &mut Bytes(frame);
    let mut room = Opening::default();
    match nat::established::<F, _, _>(packet, sight, world) {
        Next::Done(verdict) => verdict,
        Next::Unknown => {
            let first = First::none();
            nat::half_open::<F, _, _>(packet, sight, world, &first, &mut room)
                .unwrap_or_else(|| nat::open::<F, _, _>(packet, sight, world, &mut room))
        }
        other => panic!("{other:?}"),
    }
}

fn carries() -> impl Strategy<Value = Carries> {
    prop_oneof![
        Just(Tcp(tcp::SYN)),
        Just(Tcp(tcp::ACK)),
        Just(Udp),
        Just(Sctp(chunk::INIT)),
        Just(EchoRequest),
    ]
}

/// Among addresses of everybody and ports of all kinds.
fn ends(addresses: &'static [&'static str]) -> impl Strategy<Value = [String; 2]> {
    let ports = prop_oneof![
        Just(80_u16),
        Just(8080),
        Just(1000),
        Just(20_000),
        Just(40_000)
    ];
    let end = (prop::sample::select(addresses), ports);
    let end = end.prop_map(|(address, port)| match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    });
    (end.clone(), end).prop_map(|(src, dst)| [src, dst])
}

fn agree<F: TestFamily>(
    world: &Hosts<F>,
    (carries, [src, dst], hook, forwarded): (Carries, [String; 2], Hook, bool),
) where
    Hosts<F>: Tables<F>,
{
    let packet = packet(carries, &src, &dst);
    let sight = sight(hook, forwarded || matches!(hook, Hook::In | Hook::Local));
    if !is_bystander(world, &packet, sight) {
        return;
    }
    let mut frame = packet.frame();
    let verdict = closely(world, &mut frame, sight);
    assert_eq!(verdict, Verdict::Pass, "{packet:?} at {hook:?}");
    assert_eq!(frame, packet.frame());
    world.assert_tidy("a bystander");
}

const V4_ADDRESSES: [&str; 7] = [
    "198.51.100.7",
    "203.0.113.5",
    "192.0.2.1",
    "172.17.0.1",
    "172.17.0.2",
    "172.18.0.9",
    "127.0.0.1",
];
const V6_ADDRESSES: [&str; 6] = [
    "2001:db8:7::7",
    "2001:db8:1::1",
    "fd00:17::1",
    "fd00:17::2",
    "fe80::7",
    "::1",
];

proptest! {
    #[test]
    fn at_a_glance_as_closely(
        carries in carries(), ends in ends(&V4_ADDRESSES), hook in prop::sample::select(&HOOKS[..]),
        forwarded in any::<bool>(),
    ) {
        agree::<V4>(&web(), (carries, ends, hook, forwarded));
    }

    #[test]
    fn at_a_glance_as_closely_v6(
        carries in carries(), ends in ends(&V6_ADDRESSES), hook in prop::sample::select(&HOOKS[..]),
        forwarded in any::<bool>(),
    ) {
        let world = World6::new().publish(6, "::", 8080, "[fd00:17::2]:80");
        agree::<V6>(&world, (carries, ends, hook, forwarded));
    }
}

#[test]
fn the_hosts_own_and_what_it_forwards_for_others() {
    let world = web();
    let of = |hook, forwarded, src, dst| {
        is_bystander(
            &world,
            &packet(Tcp(tcp::ACK), src, dst),
            sight(hook, forwarded),
        )
    };
    let remote = "203.0.113.5:443";
    for (hook, forwarded, src, dst) in [
        (Hook::In, true, CLIENT, "192.0.2.1:22"),
        (Hook::In, true, CLIENT, "192.0.2.1:45000"),
        (Hook::In, true, CLIENT, "203.0.113.5:22"),
        (Hook::Outside, false, "192.0.2.1:45000", remote),
        (Hook::Outside, true, CLIENT, remote),
        (Hook::Inside, true, CLIENT, TARGET),
        (Hook::Inside, false, "172.17.0.1:45000", TARGET),
        (Hook::Local, true, "127.0.0.1:45000", "127.0.0.1:631"),
    ] {
        assert!(of(hook, forwarded, src, dst), "{src} -> {dst} at {hook:?}");
    }
    for (hook, forwarded, src, dst) in [
        (Hook::In, true, CLIENT, HOST),
        (Hook::In, true, remote, "192.0.2.1:20000"),
        (Hook::In, true, CLIENT, "172.17.0.2:22"),
        (Hook::Outside, true, TARGET, CLIENT),
        (Hook::Outside, false, TARGET, CLIENT),
        (Hook::Inside, true, TARGET, "172.17.0.3:40000"),
        (Hook::Local, true, "127.0.0.1:45000", "127.0.0.1:8080"),
    ] {
        assert!(!of(hook, forwarded, src, dst), "{src} -> {dst} at {hook:?}");
    }
    let fragment = World::new();
    let mut frame = packet(Udp, CLIENT, "192.0.2.1:22").frame();
    frame[20] |= 0x20;
    assert!(!nat::is_bystander::<V4, _, _>(
        &Bytes(&mut frame),
        sight(Hook::In, true),
        &fragment
    ));
}
