use std::net::{Ipv4Addr, Ipv6Addr};

use portnat_common::conntrack::{FIN, HEARD};
use portnat_common::flow::REPLY;
use portnat_common::wire::protocol;
use portnat_common::{Ip4, Ip6, Side};

use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const HOST: [u8; 4] = [192, 0, 2, 1];
const TARGET: [u8; 4] = [172, 17, 0, 2];

type End = ([u8; 4], u16);

fn tuple(src: End, dst: End, side: Side) -> Tuple<Ip4> {
    let ip = |address: [u8; 4]| Ip4::from(Ipv4Addr::from(address));
    Tuple {
        src: ip(src.0),
        dst: ip(dst.0),
        src_port: src.1,
        dst_port: dst.1,
        protocol: protocol::TCP,
        side,
        zone: 0,
    }
}

/// Both entries of a flow that becomes `after` from `before`, as the datapath writes them.
fn entries<A: Address>(
    before: Tuple<A>,
    after: Tuple<A>,
    port_id: u32,
) -> BTreeMap<Tuple<A>, FlowRecord> {
    let original = FlowRecord {
        translation: Translation::to(&after),
        port_id,
        seen: HEARD,
        last_seen: 100,
        packets: 6,
        bytes: 400,
        ..Default::default()
    };
    let reply = FlowRecord {
        translation: Translation::to(&before.reverse()),
        flags: REPLY,
        last_seen: 130,
        packets: 5,
        bytes: 300,
        ..original
    };
    let twin = original.twin(&before);
    [(before, original), (twin, reply)].into()
}

fn published() -> BTreeMap<Tuple<Ip4>, FlowRecord> {
    let before = tuple((CLIENT, 51000), (HOST, 8080), Side::Ingress);
    let after = tuple((CLIENT, 51000), (TARGET, 80), Side::Ingress);
    entries(before, after, 7)
}

fn only<A: Address>(entries: &BTreeMap<Tuple<A>, FlowRecord>) -> JoinedFlow<A> {
    let flows: Vec<_> = JoinedFlow::all(entries).collect();
    let [flow] = flows[..] else {
        panic!("not one flow: {flows:?}");
    };
    flow
}

/// From where to where a flow goes, before and after.
fn way(flow: &JoinedFlow<Ip4>) -> [(End, End); 2] {
    let (before, after) = flow.way();
    [before, after].map(|tuple| {
        let octets = |address| Ipv4Addr::from(address).octets();
        (
            (octets(tuple.src), tuple.src_port),
            (octets(tuple.dst), tuple.dst_port),
        )
    })
}

const TRAFFIC: Traffic = Traffic {
    packets_in: 6,
    bytes_in: 400,
    packets_out: 5,
    bytes_out: 300,
};

const WAY: [(End, End); 2] = [
    ((CLIENT, 51000), (HOST, 8080)),
    ((CLIENT, 51000), (TARGET, 80)),
];

#[test]
fn two_entries_are_one_flow() {
    let flow = only(&published());
    assert_eq!(flow.port_id(), 7);
    assert_eq!(flow.state(), State::TCP_ESTABLISHED);
    assert_eq!(way(&flow), WAY);
    assert_eq!(flow.traffic(), TRAFFIC);
    // The later half counts.
    assert_eq!(flow.idle(Ticks(150)), Ticks(20));
}

/// After a restart: the client is still the client.
#[test]
fn a_target_that_spoke_first_is_no_client() {
    let before = tuple((TARGET, 80), (CLIENT, 51000), Side::Egress);
    let after = tuple((HOST, 8080), (CLIENT, 51000), Side::Egress);
    let flow = only(&entries(before, after, 7));
    assert_eq!(way(&flow), WAY);
    let mirrored = Traffic {
        packets_in: 5,
        bytes_in: 300,
        packets_out: 6,
        bytes_out: 400,
    };
    assert_eq!(flow.traffic(), mirrored);
}

#[test]
fn a_masqueraded_flows_client_is_the_container() {
    let before = tuple((TARGET, 40000), (CLIENT, 443), Side::Egress);
    let after = tuple((HOST, 1024), (CLIENT, 443), Side::Egress);
    let flow = only(&entries(before, after, NO_PORT));
    let expected = [
        ((TARGET, 40000), (CLIENT, 443)),
        ((HOST, 1024), (CLIENT, 443)),
    ];
    assert_eq!(way(&flow), expected);
    assert_eq!(flow.traffic(), TRAFFIC);
}

#[test]
fn ipv6_is_joined_too() {
    let ip = |text: &str| Ip6::from(text.parse::<Ipv6Addr>().expect("an address"));
    let before = Tuple {
        src: ip("2001:db8::10"),
        dst: ip("2001:db8::1"),
        src_port: 51000,
        dst_port: 8080,
        protocol: protocol::UDP,
        side: Side::Ingress,
        zone: 0,
    };
    let after = Tuple {
        dst: ip("fd00::2"),
        dst_port: 80,
        ..before
    };
    let flow = only(&entries(before, after, 1));
    let (seen, becomes) = flow.way();
    assert_eq!(seen, before);
    assert_eq!((becomes.src, becomes.dst), (before.src, after.dst));
    assert_eq!((becomes.src_port, becomes.dst_port), (51000, 80));
    assert_eq!(flow.state(), State::UDP_ANSWERED);
}

/// Each half alone tells the same of where the flow goes.
#[test]
fn a_half_whose_other_is_gone_is_a_flow() {
    let both = published();
    for (key, record) in &both {
        let flow = only(&[(*key, *record)].into());
        assert_eq!(flow.twin, None);
        assert_eq!(way(&flow), WAY);
        assert_eq!(flow.state(), State::TCP_OPENING);
        let traffic = flow.traffic();
        let expected = match record.direction() {
            Direction::Original => [6, 0],
            Direction::Reply => [0, 5],
        };
        assert_eq!([traffic.packets_in, traffic.packets_out], expected);
    }
}

/// Under the twin's key lies another flow's entry.
#[test]
fn a_stranger_is_no_twin() {
    let mut both = published();
    for record in both.values_mut() {
        if record.direction() == Direction::Reply {
            record.translation.dst_port = 51001;
        }
    }
    let flows: Vec<_> = JoinedFlow::all(&both).collect();
    assert_eq!(flows.len(), 2, "{flows:?}");
    assert!(flows.iter().all(|flow| flow.twin.is_none()), "{flows:?}");
}

#[test]
fn its_time_is_that_of_its_state() {
    let lifetimes = Lifetimes::standard(10);
    let mut both = published();
    let is_over = |both: &_, now| only(both).is_over(Ticks(now), &lifetimes);
    assert!(!is_over(&both, 130 + 80_000) && is_over(&both, 130 + 80_001));
    for record in both.values_mut() {
        record.seen |= FIN;
    }
    assert!(!is_over(&both, 130 + 2400) && is_over(&both, 130 + 2401));
}
