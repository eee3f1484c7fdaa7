//! What comes from a network that leads nowhere, and what gets there.

use portnat_common::nat::{enter_internal, leave_internal};
use portnat_common::subnet::CLOSED;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, DropReason, V4, V6, Verdict};

use crate::support::packet::Carries::{self, EchoRequest, Protocol, Sctp, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::{Hosts, TestFamily, World};

const ISOLATED: Verdict = Verdict::Drop(DropReason::Isolated);
const LEN: usize = 14;
/// How many senders are behind the bridge.
const OWN: usize = 2;

/// Who is who, in one family.
struct Ends {
    /// Who may say that a packet is from them: a container, its gateway, the host, a container of another
    /// network, an address of nobody's.
    senders: [&'static str; 5],
    /// Whom the host would forward to.
    elsewhere: &'static [&'static str],
    /// Whom it would not: neighbours and many.
    near: &'static [&'static str],
    /// The host, at an address on which ports are published and at another.
    host: [&'static str; 2],
    any: &'static str,
    target: &'static str,
}

const ENDS4: Ends = Ends {
    senders: [
        "172.18.0.2",
        "172.18.0.1",
        "192.0.2.1",
        "172.17.0.3",
        "10.9.9.9",
    ],
    elsewhere: &["203.0.113.5", "172.17.0.2", "240.0.0.1", "169.254.169.254"],
    near: &[
        "172.18.0.3",
        "172.18.255.255",
        "224.0.0.22",
        "255.255.255.255",
    ],
    host: ["192.0.2.1", "172.17.0.1"],
    any: "0.0.0.0",
    target: "172.17.0.2:80",
};

const ENDS6: Ends = Ends {
    senders: [
        "[fd00:18::2]",
        "[fd00:18::1]",
        "[2001:db8:1::1]",
        "[fd00:17::3]",
        "[2001:db8:a::9]",
    ],
    elsewhere: &["[2001:db8:5::5]", "[fd00:17::2]", "[fec0::1]"],
    near: &["[fd00:18::3]", "[fe80::1]", "[ff02::1:ff00:1]"],
    host: ["[2001:db8:1::1]", "[fd00:17::1]"],
    any: "::",
    target: "[fd00:17::2]:80",
};

/// A host whose second bridge has such a network.
fn host<F: TestFamily>() -> Hosts<F> {
    let world = Hosts::<F>::new().with_mode(1, CLOSED);
    world.interface.set(World::OTHER_BRIDGE);
    world
}

fn says<F: TestFamily>(world: &Hosts<F>, packet: &Packet) -> Verdict {
    let mut frame = packet.frame();
    let before = frame.clone();
    let verdict = leave_internal::<F, _, _>(&Bytes(&mut frame), LEN, world);
    assert_eq!(frame, before);
    verdict
}

/// A packet of each kind, whole and in fragments.
fn packets(src: &str, dst: &str, port: u16) -> Vec<Packet> {
    let mut all = Vec::new();
    for carries in [
        Tcp(tcp::SYN),
        Tcp(tcp::ACK),
        Udp,
        Sctp(1),
        EchoRequest,
        Protocol(47),
    ] {
        let ports = match carries {
            EchoRequest | Protocol(_) => (0, 0),
            _ => (40_000, port),
        };
        let (src, dst) = (format!("{src}:{}", ports.0), format!("{dst}:{}", ports.1));
        let one = packet(carries, &src, &dst);
        all.push(one.clone().with_options(1));
        all.push(one.clone());
        if matches!(carries, Udp) {
            all.push(one.clone().fragment(0, true));
            all.push(one.fragment(9, false));
        }
    }
    all
}

fn stays_inside_whatever_it_says<F: TestFamily>(ends: &Ends) {
    let world = host::<F>().publish(protocol::TCP, ends.any, 8080, ends.target);
    for (number, src) in ends.senders.into_iter().enumerate() {
        // The host's answers come back to who is behind the bridge, and to nobody else.
        let heard = match number < OWN {
            true => Verdict::Pass,
            false => ISOLATED,
        };
        for (to, expected) in [
            (ends.elsewhere, ISOLATED),
            (ends.near, Verdict::Pass),
            (&ends.host, heard),
        ] {
            for dst in to {
                for packet in packets(src, dst, 53) {
                    assert_eq!(says(&world, &packet), expected, "{packet:?}");
                }
            }
        }
    }
}

#[test]
fn a_container_of_an_internal_network_reaches_neighbours_and_the_host_whatever_it_says() {
    stays_inside_whatever_it_says::<V4>(&ENDS4);
    stays_inside_whatever_it_says::<V6>(&ENDS6);
}

fn published_ports_are_for_others<F: TestFamily>(ends: &Ends) {
    let asks = |world: &Hosts<F>, carries: Carries, host: &str, port: u16| {
        let [first, second, ..] = ends.senders;
        let of = [first, second].map(|src| {
            let one = packet(carries, &format!("{src}:40000"), &format!("{host}:{port}"));
            let parts = [one.clone(), one.clone().with_options(2)];
            let verdicts = parts.map(|part| says(world, &part));
            assert_eq!(verdicts[0], verdicts[1]);
            if carries == Udp {
                let first = says(world, &one.clone().fragment(0, true));
                assert_eq!(first, verdicts[0]);
                // Nothing without their first.
                assert_eq!(says(world, &one.fragment(9, false)), Verdict::Pass);
            }
            verdicts[0]
        });
        assert!(of.iter().all(|verdict| *verdict == of[0]), "{of:?}");
        of[0]
    };
    let everywhere = host::<F>()
        .publish(protocol::TCP, ends.any, 8080, ends.target)
        .publish(protocol::UDP, ends.any, 5353, ends.target)
        .publish(protocol::SCTP, ends.any, 8080, ends.target);
    for host in ends.host {
        assert_eq!(asks(&everywhere, Tcp(tcp::SYN), host, 8080), ISOLATED);
        assert_eq!(asks(&everywhere, Udp, host, 5353), ISOLATED);
        assert_eq!(asks(&everywhere, Sctp(1), host, 8080), ISOLATED);
        assert_eq!(asks(&everywhere, Tcp(tcp::SYN), host, 5353), Verdict::Pass);
        assert_eq!(asks(&everywhere, Udp, host, 8080), Verdict::Pass);
    }
    let bare = ends.host[0].trim_matches(['[', ']']);
    let here = host::<F>().publish(protocol::TCP, bare, 8080, ends.target);
    assert_eq!(asks(&here, Tcp(tcp::SYN), ends.host[0], 8080), ISOLATED);
    assert_eq!(
        asks(&here, Tcp(tcp::SYN), ends.host[1], 8080),
        Verdict::Pass
    );
}

#[test]
fn a_container_of_an_internal_network_reaches_no_published_port() {
    published_ports_are_for_others::<V4>(&ENDS4);
    published_ports_are_for_others::<V6>(&ENDS6);
}

fn lies<F: TestFamily>(ends: &Ends) {
    let world = host::<F>();
    let at = |address: &str| format!("{address}:53");
    let packet = packet(Udp, &at(ends.senders[0]), &at(ends.host[0]));
    let frame = packet.frame();
    for length in LEN..frame.len() {
        let mut part = frame[..length].to_vec();
        let verdict = leave_internal::<F, _, _>(&Bytes(&mut part), LEN, &world);
        assert_eq!(verdict, Verdict::Drop(DropReason::Malformed), "{length}");
    }
}

#[test]
fn what_is_shorter_than_it_says_goes_nowhere() {
    lies::<V4>(&ENDS4);
    lies::<V6>(&ENDS6);
}

/// Whoever it says it is from.
#[test]
fn nothing_is_forwarded_into_an_internal_network() {
    let world = host::<V4>();
    for (came_in, expected) in [
        (0, Verdict::Pass),
        (World::OTHER_BRIDGE, Verdict::Pass),
        (World::BRIDGE, ISOLATED),
        (World::UPLINK, ISOLATED),
        (World::PORT, ISOLATED),
    ] {
        world.came_in.set(came_in);
        assert_eq!(enter_internal::<V4, _>(&world), expected, "{came_in}");
    }
}
