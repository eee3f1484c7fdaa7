//! The protocol of `docs/flow-protocol.md`: whatever two CPUs do to one flow, and wherever in the
//! middle of the one the other has its turn, no live flow loses a half, none that came back to life
//! is removed, and nobody writes to an entry that is another's by now.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::protocol;
use portnat_common::{Bytes, Side, Table, Tables, V4, Verdict};

use crate::fixtures::{ACK, CLIENT, HOST, SYN, SYN_ACK, TARGET, egress, ingress, web};
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::racing::Racing;
use crate::support::world::World;

const INSIDE: &str = "172.17.0.2:5353";
const REMOTE: &str = "203.0.113.5:53";
/// Towards this one the socket has its port by a mapping.
const MAPPED: &str = "203.0.113.5:443";
const LENT: &str = "192.0.2.1:5353";

/// What a CPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The next packet of who opened the flow.
    Original,
    /// The next packet of the other side.
    Reply,
    /// Another flow begins that would have the same port.
    Rival,
    /// A flow is examined.
    Sweep,
    /// The flow is ended.
    End,
}

pub(crate) const TURNS: [Turn; 5] = [
    Turn::Original,
    Turn::Reply,
    Turn::Rival,
    Turn::Sweep,
    Turn::End,
];

/// A flow to be fought about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    PublishedTcp,
    PublishedUdp,
    Masqueraded,
    Mapped,
}

pub(crate) const KINDS: [Kind; 4] = [
    Kind::PublishedTcp,
    Kind::PublishedUdp,
    Kind::Masqueraded,
    Kind::Mapped,
];

impl Kind {
    fn original(self) -> (Hook, Packet) {
        match self {
            Kind::PublishedTcp => (Hook::In, packet(Tcp(ACK), CLIENT, HOST)),
            Kind::PublishedUdp => (Hook::In, packet(Udp, CLIENT, HOST)),
            Kind::Masqueraded => (Hook::Outside, packet(Udp, INSIDE, REMOTE)),
            Kind::Mapped => (Hook::Outside, packet(Udp, INSIDE, MAPPED)),
        }
    }

    fn reply(self) -> (Hook, Packet) {
        match self {
            Kind::PublishedTcp => (Hook::Outside, packet(Tcp(ACK), TARGET, CLIENT)),
            Kind::PublishedUdp => (Hook::Outside, packet(Udp, TARGET, CLIENT)),
            Kind::Masqueraded => (Hook::In, packet(Udp, REMOTE, LENT)),
            Kind::Mapped => (Hook::In, packet(Udp, MAPPED, LENT)),
        }
    }

    fn rival(self) -> (Hook, Packet) {
        match self {
            Kind::PublishedTcp | Kind::PublishedUdp => {
                (Hook::In, packet(Udp, CLIENT, "192.0.2.1:8081"))
            }
            Kind::Masqueraded => (Hook::Outside, packet(Udp, "172.17.0.3:5353", REMOTE)),
            Kind::Mapped => (Hook::Outside, packet(Udp, "172.17.0.3:5353", MAPPED)),
        }
    }

    /// The packet of a turn, if it is one.
    fn says(self, turn: Turn) -> Option<(Hook, Packet)> {
        match turn {
            Turn::Original => Some(self.original()),
            Turn::Reply => Some(self.reply()),
            Turn::Rival => Some(self.rival()),
            Turn::Sweep | Turn::End => None,
        }
    }

    /// How long it lives without a packet, in seconds.
    pub(crate) fn lifetime(self) -> u64 {
        match self {
            Kind::PublishedTcp => 8000,
            _ => 300,
        }
    }

    /// A world in which the flow is confirmed.
    pub(crate) fn world(self) -> World {
        let world = web().publish(protocol::UDP, "0.0.0.0", 8081, TARGET);
        if let Kind::PublishedTcp = self {
            ingress(&world, &packet(Tcp(SYN), CLIENT, HOST));
            egress(&world, &packet(Tcp(SYN_ACK), TARGET, CLIENT));
        }
        for (hook, packet) in [self.original(), self.reply(), self.original()] {
            assert_eq!(send(&world, hook, &packet), Verdict::Translated);
        }
        assert_eq!(world.records_in(Table::Confirmed).len(), 2);
        world
    }
}

fn send(tables: &impl Tables<V4>, hook: Hook, packet: &Packet) -> Verdict {
    let sight = Sight {
        hook,
        l3: 14,
        forwarded: true,
    };
    nat::process::<V4, _, _>(&mut Bytes(&mut packet.frame()), sight, tables)
}

pub(crate) fn take(kind: Kind, turn: Turn, tables: &impl Tables<V4>) {
    if let Some((hook, packet)) = kind.says(turn) {
        send(tables, hook, &packet);
        return;
    }
    match turn {
        Turn::Sweep => drop(nat::sweep::<V4, _>(tables)),
        Turn::End => {
            let (hook, packet) = kind.original();
            let (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) =
                (packet.src.ip(), packet.dst.ip())
            else {
                unreachable!("IPv4 only");
            };
            let key = portnat_common::Tuple {
                src: src.into(),
                dst: dst.into(),
                src_port: packet.src.port(),
                dst_port: packet.dst.port(),
                protocol: match kind {
                    Kind::PublishedTcp => protocol::TCP,
                    _ => protocol::UDP,
                },
                side: hook.side(),
                zone: 0,
            };
            nat::end::<V4, _>(tables, &key);
        }
        Turn::Original | Turn::Reply | Turn::Rival => unreachable!("somebody says something"),
    }
}

/// Afterwards the flow works: possibly after a moment in which an old one ends.
pub(crate) fn assert_works(kind: Kind, world: &World, what: &str) {
    for attempt in 0.. {
        let (hook, original) = kind.original();
        let there = send(world, hook, &original);
        let (hook, reply) = kind.reply();
        // Where the port was lost to a rival the answers come elsewhere.
        let original_key_is_live = world
            .records_in(Table::Confirmed)
            .iter()
            .chain(&world.records_in(Table::HalfOpen))
            .any(|(key, flow)| {
                key.side
                    == if hook == Hook::In {
                        Side::Egress
                    } else {
                        Side::Ingress
                    }
                    && key.src == ip(&original)
                    // A rival from there has another one.
                    && key.dst_port == original.dst.port()
                    && flow.translation.src_port == kind_port(kind)
            });
        let back = send(world, hook, &reply);
        if there == Verdict::Translated && (back == Verdict::Translated || !original_key_is_live) {
            break;
        }
        assert!(
            attempt < 3,
            "{what}: {there:?}, {back:?}, {:#?}",
            world.records()
        );
        world.pass(2);
    }
    // Every original has its reply; half-open ones can lose it any time, and begin anew.
    let records = world.records_in(Table::Confirmed);
    for (key, flow) in &records {
        if flow.flags & portnat_common::flow::REPLY == 0 {
            let twin = flow.twin(key);
            assert!(records.contains_key(&twin), "{what}: {key:?} has no reply");
        }
    }
    world.assert_tidy(what);
}

fn ip(packet: &Packet) -> portnat_common::Ip4 {
    match packet.src.ip() {
        std::net::IpAddr::V4(ip) => ip.into(),
        std::net::IpAddr::V6(ip) => panic!("{ip} is not of IPv4"),
    }
}

fn kind_port(kind: Kind) -> u16 {
    match kind {
        Kind::Masqueraded | Kind::Mapped => 5353,
        _ => 40000,
    }
}

#[test]
fn two_cpus_at_one_flow() {
    let mut raced = 0;
    for kind in KINDS {
        // Fresh; just over; over for a second, in which it may be removed.
        let lifetime = kind.lifetime();
        for age in [0, 2, lifetime, lifetime + 1, lifetime + 2, lifetime + 100] {
            for first in TURNS {
                for second in TURNS {
                    for access in 0.. {
                        let world = kind.world();
                        world.pass(age);
                        let what = format!(
                            "{kind:?} of {age} s, {second:?} before access {access} of {first:?}"
                        );
                        let racing = Racing::new(&world, access, || take(kind, second, &world));
                        take(kind, first, &racing);
                        if !racing.took_place() {
                            break;
                        }
                        raced += 1;
                        assert_works(kind, &world, &what);
                    }
                }
            }
        }
    }
    assert!(raced > 1000, "only {raced} interleavings");
}

#[test]
fn flows_whose_time_is_over_are_swept_out_and_what_they_carried_is_kept() {
    let world = Kind::PublishedUdp.world();
    world.pass(200);
    world.sweep();
    assert_eq!(world.records().len(), 2, "it lives");
    world.pass(101);
    world.sweep();
    assert_eq!(
        world.records().len(),
        2,
        "it has been over for no second yet"
    );
    world.pass(1);
    world.sweep();
    assert_eq!((world.records().len(), world.queued()), (0, 0));
    let total = world.total(2);
    assert_eq!((total.packets_in, total.packets_out), (2, 1));
    world.assert_tidy("sweeping");
}

#[test]
fn the_queue_has_every_confirmed_flow_once() {
    let world = World::new();
    for round in 0..20 {
        for port in 5000..5010 {
            egress(&world, &packet(Udp, &format!("172.17.0.2:{port}"), REMOTE));
        }
        // By turns they are revived, end and begin anew, and are swept out.
        world.pass([1, 130, 60, 1000][round % 4]);
        if round % 3 == 0 {
            world.sweep();
            world.sweep();
        }
    }
    world.sweep();
    assert_eq!(world.queued(), world.records().len() / 2);
}

#[test]
fn an_ended_flow_may_begin_anew() {
    for kind in KINDS {
        let world = kind.world();
        take(kind, Turn::End, &world);
        let (hook, reply) = kind.reply();
        assert_ne!(send(&world, hook, &reply), Verdict::Translated);
        let (hook, original) = kind.original();
        assert_eq!(send(&world, hook, &original), Verdict::Translated);
        let (hook, reply) = kind.reply();
        assert_eq!(send(&world, hook, &reply), Verdict::Translated);
    }
}
