//! Each way through the NAT, with the fragments in every order.

use portnat_common::Verdict;
use portnat_common::nat::Hook;
use portnat_common::wire::tcp;
use proptest::prelude::*;

use super::{CLIENT, HOST, REMOTE, TARGET, frames, run, run_all, web, web6};
use crate::support::packet::Carries::{EchoReply, EchoRequest, Tcp, Udp, UdpUnchecked};
use crate::support::packet::{Packet, packet};
use crate::support::world::{Hosts, TestFamily};

/// A way through the NAT: what comes before, the hook, a packet and what it becomes.
struct Way {
    name: &'static str,
    before: Vec<(Hook, Packet)>,
    hook: Hook,
    packet: Packet,
    becomes: Packet,
    verdict: Verdict,
}

fn way(name: &'static str, hook: Hook, packet: Packet, becomes: Packet) -> Way {
    Way {
        name,
        before: Vec::new(),
        hook,
        verdict: if packet.frame() == becomes.frame() {
            Verdict::Pass
        } else {
            Verdict::Translated
        },
        packet,
        becomes,
    }
}

/// Every way that a datagram can take, between these places.
fn ways(client: &str, host: &str, inside: [&str; 3], remote: &str, gateway: &str) -> Vec<Way> {
    let [target, container, outward] = inside;
    let own = |port: u16| format!("{}:{port}", host.rsplit_once(':').expect("a port").0);
    let gateway = |port: u16| format!("{gateway}:{port}");
    let mut ways = Vec::new();
    for carries in [Udp, UdpUnchecked, Tcp(tcp::ACK)] {
        let asked = packet(carries, client, host);
        let through = packet(carries, client, target);
        let answers = way(
            "an answer of a published port",
            Hook::Outside,
            packet(carries, target, client),
            packet(carries, host, client),
        );
        ways.push(Way {
            before: vec![(Hook::In, asked.clone())],
            ..answers
        });
        ways.push(way("to a published port", Hook::In, asked, through));
        let out = packet(carries, outward, remote);
        let answers = way(
            "an answer to a container",
            Hook::In,
            packet(carries, remote, &own(5353)),
            packet(carries, remote, outward),
        );
        ways.push(Way {
            before: vec![(Hook::Outside, out.clone())],
            ..answers
        });
        let masqueraded = packet(carries, &own(5353), remote);
        ways.push(way("masqueraded", Hook::Outside, out, masqueraded));
        let asked = packet(carries, container, host);
        let through = packet(carries, container, target);
        let hairpin = way(
            "from a neighbour",
            Hook::Inside,
            through.clone(),
            packet(carries, &gateway(5000), target),
        );
        ways.push(Way {
            before: vec![(Hook::In, asked.clone())],
            ..hairpin
        });
        let back = way(
            "back to a neighbour",
            Hook::Inside,
            packet(carries, target, container),
            packet(carries, host, container),
        );
        ways.push(Way {
            before: vec![(Hook::In, asked), (Hook::Inside, through)],
            ..back
        });
        let for_the_host = packet(carries, client, &own(9));
        ways.push(way(
            "the host's own",
            Hook::In,
            for_the_host.clone(),
            for_the_host,
        ));
    }
    let ping = packet(EchoRequest, outward, remote);
    let out = packet(EchoRequest, &own(5353), remote);
    let pong = way(
        "pong",
        Hook::In,
        packet(EchoReply, remote, &own(5353)),
        packet(EchoReply, remote, outward),
    );
    ways.push(Way {
        before: vec![(Hook::Outside, ping.clone())],
        ..pong
    });
    ways.push(way("ping", Hook::Outside, ping, out));
    ways
}

fn ways_v4() -> Vec<Way> {
    let inside = [TARGET, "172.17.0.3:5000", "172.17.0.9:5353"];
    ways(CLIENT, HOST, inside, REMOTE, "172.17.0.1")
}

fn ways_v6() -> Vec<Way> {
    ways(
        "[2001:db8:9::7]:40000",
        "[2001:db8:1::1]:8080",
        ["[fd00:17::2]:80", "[fd00:17::3]:5000", "[fd00:17::9]:5353"],
        "[2001:db8:5::5]:53",
        "[fd00:17::1]",
    )
}

/// Whatever the order, each fragment comes out once, as a fragment of the translated datagram.
fn check<F: TestFamily>(
    world: &Hosts<F>,
    way: &Way,
    payload: &[u8],
    cuts: &[u16],
    order: &[usize],
) -> Result<(), TestCaseError> {
    for (hook, packet) in &way.before {
        run(world, *hook, &packet.frame());
    }
    let counted = |world: &Hosts<F>| -> u64 { world.records().values().map(|f| f.packets).sum() };
    let before = counted(world);
    // Two datagrams at once: they do not mix.
    let pieces = |packet: &Packet| -> Vec<Packet> {
        let other: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        let one = packet.clone().saying(payload).cut(cuts);
        let two = packet.clone().saying(&other).with_id(7).cut(cuts);
        [one, two].concat()
    };
    let sent = pieces(&way.packet);
    let number = sent.len();
    let mut order: Vec<usize> = order.iter().copied().filter(|at| *at < number).collect();
    order.extend(
        (0..number)
            .filter(|at| !order.contains(at))
            .collect::<Vec<_>>(),
    );
    let arrivals: Vec<_> = order.iter().map(|at| sent[*at].clone()).collect();

    let outcomes = run_all(world, way.hook, &arrivals);
    for (verdict, _) in &outcomes {
        prop_assert_eq!(*verdict, way.verdict, "{}", way.name);
    }
    let mut out: Vec<_> = outcomes.into_iter().map(|(_, frame)| frame).collect();
    let mut expected = frames(&pieces(&way.becomes));
    out.sort();
    expected.sort();
    prop_assert!(out == expected, "{} in the order {:?}", way.name, order);
    prop_assert_eq!(world.fragments.waiting(), 0);
    if way.verdict == Verdict::Translated {
        prop_assert_eq!(counted(world) - before, number as u64, "{}", way.name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_order(
        payload in prop::collection::vec(any::<u8>(), 240..600),
        cuts in prop::collection::btree_set(3u16..30, 1..6),
        order in Just((0..14usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let cuts: Vec<_> = cuts.into_iter().collect();
        for way in ways_v4() {
            check(&web(), &way, &payload, &cuts, &order)?;
        }
        for way in ways_v6() {
            check(&web6(), &way, &payload, &cuts, &order)?;
        }
    }
}
