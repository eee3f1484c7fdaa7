//! A flow that is being opened.

use crate::address::Address;
use crate::flow::{FlowRecord, Translation};
use crate::tuple::{Side, Tuple};

/// [`Opening::wishes`]: the source port of [`Opening::translation`] is tried first. Without it any
/// port of the pool will do.
pub(super) const THIS_PORT: u32 = 1;
/// [`Opening::wishes`]: the source address is one of the host's, whose sockets may use the port.
pub(super) const BORROWED: u32 = 1 << 1;
/// [`Opening::wishes`]: nobody has shown yet that the other side is where it seems to be.
pub(super) const UNCONFIRMED: u32 = 1 << 2;
/// [`Opening::wishes`]: the flow is counted as its sender's.
pub(super) const COUNTS: u32 = 1 << 3;
/// [`Opening::wishes`]: the source port is to be that of a mapping.
pub(super) const MAPS: u32 = 1 << 4;
/// [`Opening::wishes`]: the source port of [`Opening::translation`] is that of a mapping.
pub(super) const MAPPED: u32 = 1 << 5;
/// [`Opening::wishes`]: the translation is to the other address family.
pub(super) const ACROSS: u32 = 1 << 6;
/// [`Opening::wishes`]: not a wish any more: the source port is the one that was tried first.
pub(super) const RESERVED: u32 = 1 << 7;
/// [`Opening::wishes`]: not a wish any more: there is the same flow already.
pub(super) const MADE: u32 = 1 << 8;
/// [`Opening::wishes`], and the only one: the flow with this tuple is to be confirmed.
pub(super) const CONFIRMS: u32 = 1 << 9;
/// [`Opening::wishes`]: who opens it may not be on the published port's lists.
pub(super) const LISTED: u32 = 1 << 10;
/// [`Opening::wishes`]: who opens it may have opened too many.
pub(super) const LIMITED: u32 = 1 << 11;
/// [`Opening::wishes`]: nothing is translated.
pub(super) const PLAIN: u32 = 1 << 12;
/// [`Opening::wishes`]: the source address is one that is named for the sender's subnet.
pub(super) const NAMED: u32 = 1 << 13;

/// What is known of a flow that is being opened, from its first packet to both entries. In memory
/// rather than on the stack, of which an eBPF function has 512 bytes with all that it calls.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Opening<A> {
    /// The first packet, before translation: the key of the original direction.
    pub(super) tuple: Tuple<A>,
    /// What answers it after translation: the key of the reply direction.
    pub(super) answers: Tuple<A>,
    /// Room for an entry.
    pub(super) entry: FlowRecord,
    /// What the packets become.
    pub(super) translation: Translation,
    /// The published port that it comes through.
    pub(super) port_id: u32,
    /// [`THIS_PORT`] and the like.
    pub(super) wishes: u32,
    /// Index of the interface that the original direction is redirected to, or 0; then both ends
    /// are rewritten.
    pub(super) interface: u32,
    /// The same of the reply direction.
    pub(super) reply_interface: u32,
    /// Length of the first packet from its transport header on, in bytes.
    pub(super) length: u32,
    /// How many ports of the pool have been tried.
    pub(super) probes: u32,
    /// Always zero.
    pub(super) padding: u32,
    /// Length of the first packet in bytes.
    pub(super) bytes: u64,
    /// What the first packet shows, see [`crate::conntrack`].
    pub(super) seen: u64,
    /// Where in the packet its transport header's fields lie, see [`crate::headers::Transport`].
    pub(super) transport: u64,
}

impl<A> Opening<A> {
    /// Whether there is such a wish.
    #[inline(always)]
    pub(super) const fn wishes(&self, wish: u32) -> bool {
        self.wishes & wish != 0
    }
}

impl<A: Address> Opening<A> {
    /// Makes [`Opening::answers`] what answers the translation as it is now.
    #[inline(always)]
    pub(super) fn expect_answers(&mut self) {
        let side = match self.tuple.side {
            // What is redirected answers where all containers do.
            Side::Ingress if self.interface == 0 => Side::Egress,
            Side::Ingress | Side::Egress => Side::Ingress,
        };
        self.answers = self.translation.answers(&self.tuple, side);
    }
}

const _: () = assert!(size_of::<Opening<crate::Ip4>>() == 2 * 16 + 128 + 36 + 7 * 4 + 3 * 8);
const _: () = assert!(size_of::<Opening<crate::Ip6>>() == 2 * 40 + 128 + 36 + 7 * 4 + 3 * 8);
