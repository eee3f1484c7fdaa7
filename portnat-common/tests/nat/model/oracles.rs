//! What must hold after each step, a sentence a function.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use portnat_common::flow::Translation;
use portnat_common::{FlowRecord, Side as TupleSide, Table, Tables as _, Tuple};

use super::Run;
use super::flow::{Flow, Life, Pair, Side};
use super::ground::{Ground, Said};
use crate::support::packet::Packet;
use crate::support::world::TestFamily;

impl<F: TestFamily> Run<F> {
    /// The answers to what a packet became have an entry that leads back to what it was.
    #[track_caller]
    pub(super) fn reverse_of_translate_is_the_packet_itself(&self, said: &Said, becomes: Pair) {
        let other = match said.side {
            Side::In => TupleSide::Egress,
            Side::Out => TupleSide::Ingress,
        };
        let answers = tuple::<F>(said.protocol, other, becomes.back());
        let found = [Table::Confirmed, Table::HalfOpen]
            .iter()
            .find_map(|table| Some(self.world.flow(*table, &answers)?.translation));
        let back = tuple::<F>(said.protocol, other, said.pair.back());
        assert_eq!(found, Some(Translation::to(&back)), "{said:?}");
    }

    #[track_caller]
    pub(super) fn the_tables_hold_what_the_model_says(&self) {
        for (table, confirmed) in [(Table::Confirmed, true), (Table::HalfOpen, false)] {
            let flows = self.model.flows.iter();
            let expected: BTreeMap<_, _> = flows
                .filter(|flow| flow.confirmed == confirmed)
                .flat_map(|flow| (0..2).map(|direction| entry::<F>(flow, direction)))
                .collect();
            let records = self.world.records_in(table);
            let held: BTreeMap<_, _> = records
                .iter()
                .map(|(key, flow)| (*key, Entry::from(flow)))
                .collect();
            assert_eq!(held, expected, "{table:?}");
        }
    }
}

#[track_caller]
pub(super) fn the_incremental_checksum_equals_the_full_recomputation(frame: &[u8], after: &Packet) {
    assert_eq!(frame, after.frame(), "{after:?}");
}

#[track_caller]
pub(super) fn a_reserved_port_is_never_handed_out(ground: &Ground, flow: &Flow, port: u16) {
    let protocol = flow.protocol;
    assert!(ground.pool(port), "{port} is the host's or well known");
    assert!(
        !ground.publishes_anywhere(protocol, port),
        "{port} is published"
    );
    let is_lent = flow.port.is_none();
    assert!(
        !is_lent || !ground.uses(protocol, port),
        "a socket of the host has {port}"
    );
}

#[track_caller]
pub(super) fn no_two_live_flows_share_an_outside_end_towards_one_remote(flows: &[Flow], now: u64) {
    let mut ends: BTreeMap<(u8, SocketAddr, SocketAddr), &Flow> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| flow.life(now) == Life::Live) {
        // As who is outside sees it.
        let (outside, remote) = match flow.side {
            Side::In => (flow.from.dst, flow.from.src),
            Side::Out => (flow.to.src, flow.to.dst),
        };
        let other = ends.insert((flow.protocol, outside, remote), flow);
        assert!(other.is_none(), "{flow:#?}\nlooks like {other:#?}");
    }
}

/// What of an entry the model knows.
#[derive(Debug, PartialEq)]
struct Entry {
    translation: Translation,
    port_id: u32,
    /// Heard, FIN, RST.
    seen: [bool; 3],
    last_seen: u64,
}

impl From<&FlowRecord> for Entry {
    fn from(flow: &FlowRecord) -> Self {
        Entry {
            translation: flow.translation,
            port_id: flow.port_id,
            seen: [1, 2, 4].map(|bit| flow.seen & bit != 0),
            last_seen: flow.last_seen,
        }
    }
}

/// What the entry of a direction should be.
fn entry<F: TestFamily>(flow: &Flow, direction: usize) -> (Tuple<F::Address>, Entry) {
    let (side, pair) = flow.key(direction);
    let side = match side {
        Side::In => TupleSide::Ingress,
        Side::Out => TupleSide::Egress,
    };
    let seen = &flow.seen[direction];
    let becomes = tuple::<F>(flow.protocol, side, flow.becomes(direction));
    let entry = Entry {
        translation: Translation::to(&becomes),
        port_id: flow.port.unwrap_or(0),
        seen: [seen.heard, seen.fin, seen.rst],
        last_seen: flow.last[direction],
    };
    (tuple::<F>(flow.protocol, side, pair), entry)
}

fn tuple<F: TestFamily>(protocol: u8, side: TupleSide, pair: Pair) -> Tuple<F::Address> {
    Tuple {
        src: F::address(pair.src.ip()),
        dst: F::address(pair.dst.ip()),
        src_port: pair.src.port(),
        dst_port: pair.dst.port(),
        protocol,
        side,
        zone: 0,
    }
}
