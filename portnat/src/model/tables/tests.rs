//! What is published, as the tables hold it.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::spec::{Ports, Protocol};

fn publish(desired: &mut Desired, id: u32, port: u16, address: &str, target: &str) {
    publish_range(desired, id, (port, port), address, target);
}

fn publish_range(desired: &mut Desired, id: u32, ports: (u16, u16), address: &str, target: &str) {
    let port = |port| NonZeroU16::new(port).expect("not 0");
    desired.publish(&PublishedPort {
        id,
        address: address.parse().expect("an address"),
        ports: Ports::new(port(ports.0), port(ports.1)).expect("in order"),
        protocol: Protocol::Tcp,
        target: target.parse().expect("an address and a port"),
    });
}

/// What a trie finds for a port: the entry with the longest prefix.
fn found<A: Address>(blocks: &Blocks<A>, address: A, port: u16) -> Option<Published> {
    let holds =
        |block: &Block| u32::from(port) >> block.bits == u32::from(block.first) >> block.bits;
    blocks
        .iter()
        .filter(|((at, protocol, block), _)| (*at, *protocol) == (address, 6) && holds(block))
        .min_by_key(|((.., block), _)| block.bits)
        .map(|(_, value)| *value)
}

#[test]
fn an_ipv4_target_of_an_ipv6_address_is_mapped_and_needs_no_forwarding() {
    let mut desired = Desired::default();
    publish(&mut desired, 1, 8080, "::", "172.17.0.2:80");
    let target = desired.v6.published.values().next().expect("one").target;
    let mapped = Ip6::from(Ipv4Addr::new(172, 17, 0, 2).to_ipv6_mapped());
    assert_eq!(Ip6::narrow(&target), mapped);
    publish_range(&mut desired, 2, (9000, 9009), "::", "172.17.0.2:90");
    assert!(!desired.uses_v6() && desired.v4.published.is_empty());
    publish_range(&mut desired, 3, (8443, 8444), "::", "[fd00::2]:443");
    assert!(desired.uses_v6());
}

#[test]
fn a_target_leads_back_to_the_first_of_its_ports() {
    let mut desired = Desired::default();
    publish(&mut desired, 1, 8080, "0.0.0.0", "172.17.0.2:80");
    publish(&mut desired, 2, 8443, "::", "[fd00::2]:443");
    let targets = desired.v4.targets();
    let (target, host) = targets.first_key_value().expect("one");
    assert_eq!((target.port, host.target_port, host.port_id), (80, 8080, 1));
    assert_eq!(desired.v6.targets().len(), 1);
    // Whatever the order in which they come.
    for (id, port, first) in [(3, 8081, 1), (4, 8079, 4)] {
        publish(&mut desired, id, port, "0.0.0.0", "172.17.0.2:80");
        let targets = desired.v4.targets();
        let ids: Vec<_> = targets.values().map(|host| host.port_id).collect();
        assert_eq!(ids, [first]);
    }
    assert_eq!(desired.v4.published.len(), 3);
}

#[test]
fn published_addresses_and_targets_are_known_by_what_they_are() {
    let mut desired = Desired::default();
    publish(&mut desired, 1, 8080, "0.0.0.0", "172.17.0.2:80");
    publish_range(
        &mut desired,
        2,
        (8443, 8450),
        "203.0.113.7",
        "172.17.0.3:443",
    );
    let address = |text: &str| Ip4::from(text.parse::<Ipv4Addr>().expect("an address"));
    let expected = [
        (address("172.17.0.2"), role::TARGET),
        (address("172.17.0.3"), role::TARGET),
        (address("203.0.113.7"), role::PUBLISHED),
    ];
    assert_eq!(desired.v4.local, expected.into());
}

#[test]
fn sixty_thousand_ports_are_a_few_entries() {
    let mut desired = Desired::default();
    publish_range(&mut desired, 1, (5001, 65_000), "0.0.0.0", "172.17.0.2:1");
    assert!(desired.v4.published.is_empty() && desired.v4.targets().is_empty());
    let (there, back) = (desired.v4.blocks(), desired.v4.target_blocks());
    assert!(
        there.len() <= 30 && back.len() <= 30,
        "{}, {}",
        there.len(),
        back.len()
    );
    let all: Vec<_> = desired.v4.ports().collect();
    assert_eq!(all, [(6, 5001, 65_000)]);
}

proptest! {
    /// Each port of a range leads to its own, and back; of several ranges with a target's port the
    /// first one speaks for it.
    #[test]
    fn tries_find_what_a_look_at_each_range_finds(
        ranges in prop::collection::vec((1u16..200, 1u16..80, 1u16..3, 1u16..100), 1..6),
    ) {
        let mut desired = Desired::default();
        // Beside each other, as what is allocated is.
        let mut next = 1;
        for (id, (gap, length, target, target_port)) in ranges.into_iter().enumerate() {
            let (first, last) = (next + gap, next + gap + length);
            let target = format!("172.17.0.{target}:{target_port}");
            publish_range(&mut desired, id as u32 + 1, (first, last), "0.0.0.0", &target);
            next = last;
        }
        let (there, back) = (desired.v4.blocks(), desired.v4.target_blocks());
        let all = desired.v4.ranges.iter();
        let all: Vec<_> = all.map(|(key, range)| (*key, *range)).collect();
        for port in 1..2000 {
            let expected = all
                .iter()
                .find(|(key, range)| (key.port..=range.last).contains(&port))
                .map(|(_, range)| range.value);
            prop_assert_eq!(found(&there, Ip4::ANY, port), expected);
            for number in 1..3 {
                let target = Ip4::from(Ipv4Addr::new(172, 17, 0, number));
                let expected = all.iter().find(|(_, range)| {
                    let end = range.value.target_port_of(range.last);
                    range.value.target == target.widen()
                        && (range.value.target_port..=end).contains(&port)
                });
                let speaks = found(&back, target, port).map(|host| host.target_port_of(port));
                let expected = expected.map(|(key, range)| {
                    key.port + (port - range.value.target_port)
                });
                prop_assert_eq!(speaks, expected);
            }
        }
    }
}

#[test]
fn lists_are_of_the_ports_family_and_close_it_where_somebody_is_allowed() {
    const PORT: NonZeroU16 = NonZeroU16::new(8080).expect("not 0");
    let port = |id, address: &str| PublishedPort {
        id,
        address: address.parse().expect("an address"),
        ports: Ports::new(PORT, PORT).expect("in order"),
        protocol: Protocol::Tcp,
        target: "172.17.0.2:80".parse().expect("an address and a port"),
    };
    let admission = |allow: &[&str], deny: &[&str]| Admission {
        allow: allow
            .iter()
            .map(|net| net.parse().expect("a prefix"))
            .collect(),
        deny: deny
            .iter()
            .map(|net| net.parse().expect("a prefix"))
            .collect(),
        limit: None,
    };
    let mut desired = Desired::default();
    desired.publish_for(&port(1, "0.0.0.0"), &admission(&["192.0.2.7/24"], &[]));
    desired.publish_for(&port(2, "::"), &admission(&["192.0.2.0/24"], &["fd00::/8"]));
    desired.publish_for(&port(3, "192.0.2.1"), &admission(&[], &["fd00::/8"]));
    let v4: Vec<_> = desired.v4.admissions.iter().collect();
    let shown: Vec<_> = v4
        .iter()
        .map(|((id, net), lets_in)| (*id, net.length, **lets_in))
        .collect();
    assert_eq!(shown, [(1, 0, false), (1, 24, true)]);
    let shown: Vec<_> = desired
        .v6
        .admissions
        .iter()
        .map(|((id, net), lets_in)| (*id, net.length, *lets_in))
        .collect();
    assert_eq!(shown, [(2, 0, false), (2, 8, false)]);
    let flags =
        |tables: Vec<&Published>| -> Vec<u32> { tables.iter().map(|port| port.flags).collect() };
    assert_eq!(
        flags(desired.v6.published.values().collect()),
        [admission::LISTED]
    );
    let mut v4 = flags(desired.v4.published.values().collect());
    v4.sort_unstable();
    assert_eq!(v4, [0, admission::LISTED]);
}
