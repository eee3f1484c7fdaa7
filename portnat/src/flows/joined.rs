//! The two directions of a flow, joined.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::AddAssign;

use portnat_common::conntrack::{DEAD, State};
use portnat_common::flow::{Direction, HALF_OPEN, NO_PORT, Translation};
use portnat_common::{Address, FlowRecord, Lifetimes, Ticks, Tuple};
use serde::{Deserialize, Serialize};

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half<A> {
    /// The tuple as it comes to the hook.
    pub key: Tuple<A>,
    /// Its entry.
    pub record: FlowRecord,
}

/// A flow: both its directions, or the only one that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinedFlow<A> {
    /// The direction that speaks for the flow: the original, or a reply that has lost it.
    pub lead: Half<A>,
    /// The other one.
    pub twin: Option<Half<A>>,
}

/// What a flow has carried, network headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from the client to the target.
    pub packets_in: u64,
    /// Bytes from the client to the target.
    pub bytes_in: u64,
    /// Packets from the target to the client.
    pub packets_out: u64,
    /// Bytes from the target to the client.
    pub bytes_out: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
    }
}

impl<A: Address> Half<A> {
    /// Whether this direction is the client's. A published port's client is who comes in, whoever
    /// spoke first; without a port it is who began.
    fn is_from_client(&self) -> bool {
        match self.record.port_id {
            NO_PORT => matches!(self.record.direction(), Direction::Original),
            _ => self.record.is_inbound(self.key.side),
        }
    }

    /// The tuple that this direction becomes, as the answers' hook would see it.
    fn becomes(&self) -> Tuple<A> {
        self.record.twin(&self.key).reverse()
    }
}

impl<A: Address> JoinedFlow<A> {
    /// Joins an entry and its twin, which `find` looks up. `None` for a reply whose original is
    /// there: that one speaks for both.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn join<E>(
        lead: Half<A>,
        find: impl FnOnce(&Tuple<A>) -> Result<Option<FlowRecord>, E>,
    ) -> Result<Option<Self>, E> {
        let key = lead.record.twin(&lead.key);
        // Under the twin's key may lie another flow's: only one that leads back and was made with
        // this one is this flow's.
        let back = Translation::to(&lead.key.reverse());
        let twin = find(&key)?
            .filter(|twin| twin.opened == lead.record.opened && twin.translation.is(&back))
            .map(|record| Half { key, record });
        let speaks = lead.record.direction() == Direction::Original || twin.is_none();
        Ok(speaks.then_some(JoinedFlow { lead, twin }))
    }

    /// All flows among `entries`, each once.
    pub fn all(entries: &BTreeMap<Tuple<A>, FlowRecord>) -> impl Iterator<Item = Self> {
        entries.iter().filter_map(|(key, record)| {
            let lead = Half {
                key: *key,
                record: *record,
            };
            let find = |key: &Tuple<A>| Ok::<_, Infallible>(entries.get(key).copied());
            let Ok(flow) = Self::join(lead, find);
            flow
        })
    }

    fn halves(&self) -> impl Iterator<Item = &Half<A>> {
        [Some(&self.lead), self.twin.as_ref()].into_iter().flatten()
    }

    /// Id of the published port that the flow came through, or [`NO_PORT`].
    #[must_use]
    pub const fn port_id(&self) -> u32 {
        self.lead.record.port_id
    }

    /// What the flow is in the middle of.
    #[must_use]
    pub fn state(&self) -> State {
        let seen = |direction| {
            self.halves()
                .filter(|half| half.record.direction() == direction)
                .fold(0, |seen, half| seen | half.record.seen)
        };
        State::of(
            self.lead.key.protocol,
            seen(Direction::Original),
            seen(Direction::Reply),
        )
    }

    /// How long ago either direction was last seen, to about a second.
    #[must_use]
    pub fn idle(&self, now: Ticks) -> Ticks {
        let last = self.halves().map(|half| half.record.last_seen).max();
        now.since(Ticks(last.unwrap_or_default()))
    }

    /// Whether its packets go past the host's stack, of each direction that was seen within two
    /// seconds; of one that is silent the next packet goes through it.
    #[must_use]
    pub fn is_fast(&self, hz: Ticks, now: Ticks) -> bool {
        let talks = |half: &&Half<A>| now.since(Ticks(half.record.last_seen)).0 <= 2 * hz.0;
        let mut talking = self.halves().filter(talks).peekable();
        talking.peek().is_some() && talking.all(|half| half.record.way.is_taken(hz, now))
    }

    /// How long ago it was opened.
    #[must_use]
    pub fn age(&self, now: Ticks) -> Ticks {
        now.since(Ticks(self.lead.record.opened))
    }

    /// Whether an outsider has opened it and not confirmed yet.
    #[must_use]
    pub const fn is_half_open(&self) -> bool {
        self.lead.record.flags & HALF_OPEN != 0
    }

    /// Whether it has ended, or its time is over: the datapath takes it for none.
    #[must_use]
    pub fn is_over(&self, now: Ticks, lifetimes: &Lifetimes) -> bool {
        let lead = &self.lead;
        let lifetime = lead
            .record
            .lifetime(lead.key.protocol, self.state(), lifetimes);
        self.halves().any(|half| half.record.seen & DEAD != 0) || self.idle(now) > lifetime
    }

    /// What the client's packets say where they come to us, and what they become.
    #[must_use]
    pub fn way(&self) -> (Tuple<A>, Tuple<A>) {
        let (seen, becomes) = (self.lead.key, self.lead.becomes());
        if self.lead.is_from_client() {
            (seen, becomes)
        } else {
            (becomes.reverse(), seen.reverse())
        }
    }

    /// What it has carried.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for half in self.halves() {
            let FlowRecord { packets, bytes, .. } = half.record;
            if half.is_from_client() {
                traffic.packets_in += packets;
                traffic.bytes_in += bytes;
            } else {
                traffic.packets_out += packets;
                traffic.bytes_out += bytes;
            }
        }
        traffic
    }
}

#[cfg(test)]
mod tests;
