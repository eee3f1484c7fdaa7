//! The loaded programs against the native function: the same packets in the same order must come
//! out the same, byte for byte, and leave the same flows. UDP is masqueraded without
//! endpoint-independent mappings: `nat/mappings.rs` of portnat-common has their properties.

use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::Add;

use portnat::datapath::FlowTable;
use portnat::model::PublishedPort;
use portnat::spec::{Ports, Protocol};
use portnat_common::flow::Direction;
use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::sctp::chunk;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, FlowRecord, Side, Table, V4, V6, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::packet::{Carries, Packet, packet};
use crate::support::talk::{Talk, falsified, reread};
use crate::support::traffic::{
    Lie, PUBLISHED_AT_FIRST, SLOTS, Step, again, answer, certain, chunks, say,
};
use crate::support::world::{Hosts, TestFamily};
use crate::{Host, NEXT, REDIRECT, SHOT};

fn carries() -> impl Strategy<Value = Carries> {
    let flags = prop::sample::select(vec![
        tcp::SYN,
        tcp::SYN | tcp::ACK,
        tcp::ACK,
        tcp::FIN | tcp::ACK,
        tcp::RST,
        tcp::RST | tcp::ACK,
    ]);
    prop_oneof![
        4 => flags.prop_map(Carries::Tcp),
        3 => Just(Carries::Udp),
        1 => Just(Carries::UdpUnchecked),
        3 => chunks().prop_map(Carries::Sctp),
        1 => Just(Carries::SctpUnchecked(chunk::DATA)),
        1 => Just(Carries::EchoRequest),
        1 => Just(Carries::EchoReply),
        1 => Just(Carries::Protocol(47)),
    ]
}

/// Packets of any shape. Few outsiders, containers and ports, so that packets meet flows. Each container
/// has ports of its own in the pool, so that masquerade keeps them and dice are rarely thrown.
fn shaped(ipv6: bool) -> impl Strategy<Value = Step> {
    let outside = prop::sample::select(vec!["198.51.100.7", "203.0.113.5"]);
    let outside_port = prop::sample::select(vec![40000, 53]);
    let inside = prop_oneof![
        Just("172.17.0.2:80"),
        Just("172.17.0.2:5353"),
        Just("172.17.0.3:5354"),
        Just("10.0.0.9:5355"),
    ];
    let host = prop_oneof![
        Just("192.0.2.1:8080"),
        Just("192.0.2.1:80"),
        Just("192.0.2.1:5353"),
        Just("192.0.2.1:5354"),
        Just("203.0.113.99:8080"),
    ];
    let shape = (
        0usize..=10,
        prop_oneof![4 => Just((0, false)), 1 => Just((0, true)), 1 => Just((9, false))],
        0u16..4,
    );
    let payload = prop::collection::vec(any::<u8>(), 1..64);
    (
        any::<bool>(),
        carries(),
        outside,
        outside_port,
        inside,
        host,
        shape,
        payload,
    )
        .prop_map(
            move |(
                inbound,
                carries,
                outside,
                port,
                inside,
                host,
                (options, fragment, id),
                payload,
            )| {
                let outside = format!("{outside}:{port}");
                let packet = if inbound {
                    packet(carries, &outside, host)
                } else {
                    packet(carries, inside, &outside)
                };
                let mut packet = certain(packet)
                    .with_options(options)
                    .fragment(fragment.0, fragment.1)
                    .with_id(id + 1)
                    .saying(&payload);
                if ipv6 {
                    (packet.src, packet.dst) = (in_ipv6(packet.src), in_ipv6(packet.dst));
                }
                Step::Say {
                    inbound,
                    packet,
                    lie: None,
                }
            },
        )
}

/// The steps of the native model for which no time has to pass, and more shapes.
fn step(ipv6: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => shaped(ipv6),
        8 => say(ipv6, false),
        24 => answer(),
        8 => again(),
        1 => Just(Step::Toggle(COMES_AND_GOES)),
    ]
}

fn verdict_of(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::Translated => NEXT,
        Verdict::Redirect | Verdict::Convert | Verdict::Deliver | Verdict::Send => REDIRECT,
        Verdict::Held | Verdict::Drop(_) => SHOT,
    }
}

/// The IPv6 address that stands where an IPv4 address stood.
fn in_ipv6(address: SocketAddr) -> SocketAddr {
    let IpAddr::V4(ip) = address.ip() else {
        return address;
    };
    let [.., number] = ip.octets();
    let network = match ip.octets() {
        [172, 17, ..] => "fd00:17::",
        [192, ..] => "2001:db8:1::",
        [198, ..] => "2001:db8:9::",
        [203, ..] => "2001:db8:5::",
        _ => "2001:db8:a::",
    };
    let mut segments = network.parse::<Ipv6Addr>().expect("an address").segments();
    segments[7] = number.into();
    SocketAddr::new(Ipv6Addr::from(segments).into(), address.port())
}

/// A port of the [`SLOTS`] whose target has it in the pool.
const COMES_AND_GOES: usize = 3;

/// Those that are published in ranges.
const RANGES: [usize; 2] = [2, 3];

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    packets: usize,
    translated: usize,
    /// Of these, packets of confirmed flows.
    confirmed: usize,
    /// Flows of outsiders that were confirmed.
    handshakes: usize,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Counts {
            packets: self.packets + more.packets,
            translated: self.translated + more.translated,
            confirmed: self.confirmed + more.confirmed,
            handshakes: self.handshakes + more.handshakes,
        }
    }
}

/// The programs and the native function, which are told the same.
struct Both<F: TestFamily> {
    world: Hosts<F>,
    host: Host,
    published: [bool; SLOTS.len()],
    talk: Talk,
    counts: Counts,
}

impl<F: TestFamily<Address: FlowTable>> Both<F> {
    fn new() -> Self {
        let mut both = Both {
            world: Hosts::new().without_mappings(),
            host: Host::without_mappings(),
            published: [false; SLOTS.len()],
            talk: Talk::default(),
            counts: Counts::default(),
        };
        (0..PUBLISHED_AT_FIRST).for_each(|slot| both.toggle(slot));
        both
    }

    /// Publishes a port, or no more; some in the middle of a range.
    fn toggle(&mut self, number: usize) {
        let ipv6 = F::OWN[0].is_ipv6();
        let slot = &SLOTS[number];
        let id = number as u32 + 1;
        let beside = u16::from(RANGES.contains(&number));
        let at = SocketAddr::new(slot.address(ipv6), slot.port - beside);
        let mut target = slot.target(ipv6);
        let last = slot.port + beside;
        target.set_port(target.port() - beside);
        self.published[number] = !self.published[number];
        let desired = &mut self.host.desired;
        if self.published[number] {
            if beside == 0 {
                self.world.publish_as(id, slot.protocol, at, target);
            } else {
                self.world
                    .publish_range_as(id, slot.protocol, at, last, target);
            }
            let port = |port| NonZeroU16::new(port).expect("not 0");
            desired.publish(&PublishedPort {
                id,
                address: at.ip(),
                ports: Ports::new(port(at.port()), port(last)).expect("in order"),
                protocol: match slot.protocol {
                    protocol::TCP => Protocol::Tcp,
                    protocol::SCTP => Protocol::Sctp,
                    _ => Protocol::Udp,
                },
                target,
            });
        } else {
            self.world.unpublish(slot.protocol, at);
            desired.v4.published.retain(|_, port| port.port_id != id);
            desired.v6.published.retain(|_, port| port.port_id != id);
            desired
                .v4
                .ranges
                .retain(|_, range| range.value.port_id != id);
            desired
                .v6
                .ranges
                .retain(|_, range| range.value.port_id != id);
        }
        let attached = self.host.datapath.apply(desired);
        assert!(attached.expect("filling the tables").failed.is_empty());
    }

    /// How many confirmed flows outsiders have opened, how many there are at all, and their packets.
    fn confirmed(&self) -> (usize, usize, u64) {
        let records = self.world.records_in(Table::Confirmed);
        let opened_outside = records
            .iter()
            .filter(|(key, flow)| {
                key.side == Side::Ingress && flow.direction() == Direction::Original
            })
            .count();
        let packets = records.values().map(|flow| flow.packets).sum();
        (opened_outside, records.len(), packets)
    }

    /// A packet goes through both. `false` where chance has had a say.
    fn meet(
        &mut self,
        inbound: bool,
        packet: Packet,
        lie: Option<Lie>,
    ) -> Result<bool, TestCaseError> {
        let frame = falsified(&packet, lie);
        let mut native = frame.clone();
        let hook = if inbound { Hook::In } else { Hook::Outside };
        let sight = Sight {
            hook,
            l3: 14,
            forwarded: true,
        };
        let before = self.confirmed();
        let verdict = nat::process::<F, _, _>(&mut Bytes(&mut native), sight, &self.world);
        let loaded = if inbound {
            self.host.ingress(&frame)
        } else {
            self.host.egress(&frame)
        };
        prop_assert_eq!(verdict_of(verdict), loaded.0, "{:?}: {:?}", packet, verdict);
        if self.world.has_rolled_dice() {
            // A conflict over a source port: from here on the kernel's dice say otherwise.
            return Ok(false);
        }
        // Of a packet that is dropped nobody sees how far it was translated.
        if loaded.0 == NEXT {
            prop_assert_eq!(&native, &loaded.1, "{:?}: {:?}", packet, verdict);
        }
        self.counts.packets += 1;
        if verdict == Verdict::Translated {
            self.counts.translated += 1;
            let after = reread(&packet, &native);
            self.talk.remember(inbound, packet, after);
        }
        let after = self.confirmed();
        self.counts.handshakes += after.0.saturating_sub(before.0);
        self.counts.confirmed += usize::from(after.1 == before.1 && after.2 > before.2);
        Ok(true)
    }

    /// The same flows are left.
    fn compare_flows(&mut self) -> Result<(), TestCaseError> {
        let counted = |(key, flow): (_, FlowRecord)| {
            (
                key,
                flow.translation,
                flow.seen,
                flow.packets,
                flow.bytes,
                flow.port_id,
                flow.flags,
            )
        };
        let native: Vec<_> = self.world.records().into_iter().map(counted).collect();
        let flows = self
            .host
            .datapath
            .flows::<F::Address>()
            .expect("reading flows");
        let loaded: Vec<_> = flows.into_iter().map(counted).collect();
        prop_assert_eq!(native, loaded);
        Ok(())
    }
}

fn compare<F: TestFamily<Address: FlowTable>>(what: &str, ipv6: bool) {
    // Each case loads the programs anew, for empty tables.
    let config = ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let total = Cell::new((0, Counts::default()));
    let strategy = prop::collection::vec(step(ipv6), 1..256);
    let result = TestRunner::new(config).run(&strategy, |steps| {
        let mut both = Both::<F>::new();
        let mut certain = true;
        for step in &steps {
            if let Step::Toggle(number) = step {
                both.toggle(*number);
            } else if let Some((inbound, packet, lie)) = both.talk.packet(step) {
                certain = both.meet(inbound, packet, lie)?;
            }
            if !certain {
                break;
            }
        }
        let (cases, sum) = total.get();
        total.set((cases + 1, sum + both.counts));
        if certain {
            both.compare_flows()?;
        }
        Ok(())
    });
    let (cases, counts) = total.get();
    println!("{what}, programs compared with the function: {cases} cases, {counts:?}");
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(
        counts.handshakes > 0 && counts.confirmed > 0,
        "nothing confirmed was compared"
    );
}

#[test]
fn the_loaded_programs_do_what_the_native_function_says_in_ipv4() {
    compare::<V4>("IPv4", false);
}

#[test]
fn the_loaded_programs_do_what_the_native_function_says_in_ipv6() {
    compare::<V6>("IPv6", true);
}
