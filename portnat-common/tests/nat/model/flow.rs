//! A flow, in the model's words.

use std::net::SocketAddr;

use portnat_common::settings::Lifetimes;
use portnat_common::wire::tcp;

use super::ground::Said;
use crate::support::world::HZ;

/// Who speaks to whom. A ping's identifier is the asker's port; the other has 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
}

impl Pair {
    pub(crate) fn back(self) -> Self {
        Pair {
            src: self.dst,
            dst: self.src,
        }
    }
}

/// Where a packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    In,
    Out,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::In => Side::Out,
            Side::Out => Side::In,
        }
    }
}

/// What one end of a flow has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) heard: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    /// What the other end has to acknowledge.
    pub(crate) ends_at: u32,
}

impl Seen {
    pub(crate) fn add(&mut self, said: &Said) {
        self.heard |= said.is_heard();
        self.fin |= said.has(tcp::FIN);
        self.rst |= said.resets();
    }
}

/// A flow. Its opener's direction is number 0, the way back number 1.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) protocol: u8,
    pub(crate) confirmed: bool,
    /// Where its opener's packets are seen, before translation and after.
    pub(crate) side: Side,
    pub(crate) from: Pair,
    pub(crate) to: Pair,
    /// The published port that it has come through.
    pub(crate) port: Option<u32>,
    pub(crate) seen: [Seen; 2],
    pub(crate) last: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Live,
    Over,
    Gone,
}

impl Flow {
    /// Where packets of a direction are seen, and as what.
    pub(crate) fn key(&self, direction: usize) -> (Side, Pair) {
        match direction {
            0 => (self.side, self.from),
            _ => (self.side.other(), self.to.back()),
        }
    }

    /// What they become.
    pub(crate) fn becomes(&self, direction: usize) -> Pair {
        match direction {
            0 => self.to,
            _ => self.from.back(),
        }
    }

    fn is_closing(&self) -> bool {
        self.seen.iter().any(|seen| seen.fin || seen.rst)
    }

    /// How long it lives without a packet.
    fn lifetime(&self) -> u64 {
        let lives = Lifetimes::standard(HZ);
        let [there, back] = &self.seen;
        let is = |protocol| self.protocol == protocol;
        let lifetime = match self.confirmed {
            false if is(6) => lives.tcp_opening,
            false if is(132) => lives.sctp_opening,
            false => lives.udp_half_open,
            true if is(6) && self.is_closing() => lives.tcp_closing,
            true if is(6) && there.heard && back.heard => lives.tcp_established,
            true if is(6) => lives.tcp_opening,
            true if is(132) && self.is_closing() => lives.sctp_closing,
            true if is(132) && there.heard && back.heard => lives.sctp_established,
            true if is(132) => lives.sctp_opening,
            true if is(17) && back.heard => lives.udp_answered,
            true if is(17) => lives.udp_unanswered,
            true => lives.icmp,
        };
        lifetime.0
    }

    pub(crate) fn life(&self, now: u64) -> Life {
        let silent = now - self.last[0].max(self.last[1]);
        match silent.saturating_sub(self.lifetime()) {
            0 => Life::Live,
            over if over <= HZ => Life::Over,
            _ => Life::Gone,
        }
    }

    /// A packet of a direction belongs to it.
    pub(crate) fn follow(&mut self, direction: usize, said: &Said, now: u64) {
        let opens = said.opens();
        if direction == 0 && opens && self.is_closing() {
            self.seen = Default::default();
        }
        let seen = &mut self.seen[direction];
        // The first reset begins the end, others do not put it off. A confirmed flow is renewed once
        // a second.
        let is_due = !self.confirmed || opens || now - self.last[direction] >= HZ;
        if is_due && !(seen.rst && said.resets()) {
            self.last[direction] = now;
        }
        seen.add(said);
    }
}
