//! A flow: one connection, whose two directions have an entry each.
//!
//! The entry is found by the tuple as it comes to the hook and says what the tuple becomes. The
//! answers carry the reverse of what it becomes, so one direction's entry names the other's key
//! ([`Flow::twin`]); nothing else ties the two together. Each direction writes to its own
//! entry only, so that they share no cache line.

use core::cell::Cell;

use crate::address::{Address, Wide};
use crate::settings::Ticks;
use crate::tuple::{Side, Tuple};
use crate::way::Way;

/// What a tuple becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Translation {
    /// Source address afterwards.
    pub src: Wide,
    /// Destination address afterwards.
    pub dst: Wide,
    /// Source port afterwards.
    pub src_port: u16,
    /// Destination port afterwards.
    pub dst_port: u16,
}

impl Translation {
    /// The translation to this tuple.
    #[inline(always)]
    #[must_use]
    pub fn to<A: Address>(tuple: &Tuple<A>) -> Self {
        Translation {
            src: tuple.src.widen(),
            dst: tuple.dst.widen(),
            src_port: tuple.src_port,
            dst_port: tuple.dst_port,
        }
    }

    /// Makes this the same as another. Word by word: a copy as a whole would be a loop over its bytes.
    #[inline(always)]
    pub fn become_as(&mut self, other: &Translation) {
        let ([a, b, c, d], [e, f, g, h]) = (other.src, other.dst);
        let (src_port, dst_port) = (other.src_port, other.dst_port);
        (self.src, self.dst) = ([a, b, c, d], [e, f, g, h]);
        (self.src_port, self.dst_port) = (src_port, dst_port);
    }

    /// Whether both are the same. Without a branch: the verifier would follow each.
    #[inline(always)]
    #[must_use]
    pub fn is(&self, other: &Translation) -> bool {
        let mut difference =
            u32::from(self.src_port ^ other.src_port) | u32::from(self.dst_port ^ other.dst_port);
        for word in 0..self.src.len() {
            difference |= self.src[word] ^ other.src[word];
            difference |= self.dst[word] ^ other.dst[word];
        }
        difference == 0
    }

    /// The tuple of what answers a packet that had `tuple` before translation, as seen at `side`.
    #[inline(always)]
    #[must_use]
    pub fn answers<A: Address>(&self, tuple: &Tuple<A>, side: Side) -> Tuple<A> {
        Tuple {
            src: A::narrow(&self.dst),
            dst: A::narrow(&self.src),
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: tuple.protocol,
            side,
            zone: tuple.zone,
        }
    }
}

/// Which direction of a flow an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who opened the flow.
    Original,
    /// Back to who opened it.
    Reply,
}

/// [`Flow::flags`]: this entry is the direction back to who opened the flow.
pub const REPLY: u32 = 1;
/// [`Flow::flags`]: the other direction is seen at the same side as this one, because both ends are
/// rewritten where a packet comes in.
pub const SAME_SIDE: u32 = 1 << 1;
/// [`Flow::flags`]: the flow is between an IPv6 client and an IPv4 target. Both entries are in the
/// tables of IPv6, where the IPv4 ends have IPv4-mapped addresses ([`crate::address::map`]).
pub const OTHER_FAMILY: u32 = 1 << 2;
/// [`Flow::flags`]: the entry is in the half-open table.
pub const HALF_OPEN: u32 = 1 << 3;
/// [`Flow::flags`]: this entry, of the original direction, is counted as one of its sender's.
pub const COUNTED: u32 = 1 << 4;
/// [`Flow::flags`]: who opened it was asked whether it may, and who opens it anew is asked again.
pub const ASKED: u32 = 1 << 5;
/// [`Flow::flags`]: nothing is translated. The flow is there so that answers are known, where nobody else
/// may begin to speak.
pub const PLAIN: u32 = 1 << 6;
/// [`Flow::flags`]: it is masqueraded as an address that is named for its subnet, whatever interface it
/// goes out by.
pub const NAMED: u32 = 1 << 7;

/// The port id of flows that belong to no published port: those that a container opened.
pub const NO_PORT: u32 = 0;

/// A direction's entry. What changes in it lies in cells of kind `C`: in the map they are shared
/// between CPUs, in a copy they are plain numbers.
///
/// A [`Cell`] is a plain 64-bit load and store, which BPF carries out whole. Atomics would say more,
/// but LLVM selects no instruction for an atomic load below BPF's fourth instruction set.
///
/// Counters are loaded, added to and stored, not atomically added to: a locked instruction on each
/// packet costs more than the whole look-up, and a direction of a flow stays on one CPU as long as
/// the receive queues' hash says so. What two CPUs add in the same instant counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow<C = Cell<u64>> {
    /// What the tuple becomes.
    pub translation: Translation,
    /// Id of the published port that the flow came through, or [`NO_PORT`].
    pub port_id: u32,
    /// [`REPLY`] and the like.
    pub flags: u32,
    /// Index of the interface that packets are redirected to after translation; 0 leaves their way
    /// to the stack.
    pub interface: u32,
    /// When the flow was opened, in [`Ticks`]; the same in both directions. Tells one flow from a
    /// later one with the same tuple.
    pub opened: u64,
    /// What this direction has seen, see [`crate::conntrack`].
    pub seen: C,
    /// When this direction was last seen, in [`Ticks`]; renewed at most about once a second.
    pub last_seen: C,
    /// Packets of this direction.
    pub packets: C,
    /// Bytes of this direction, network headers included, link headers not.
    pub bytes: C,
    /// The way past the stack.
    pub way: Way<C>,
}

/// A copy of an entry.
pub type FlowRecord = Flow<u64>;

// With the kernel's header and the key of IPv4 before it (48 and 16 bytes) an entry is three lines of cache,
// and begins with one.
const _: () = assert!(size_of::<Flow>() == 128);
const _: () =
    assert!(size_of::<Translation>() + 3 * 4 + 5 * 8 + size_of::<Way>() == size_of::<Flow>());
const _: () = assert!(size_of::<FlowRecord>() == size_of::<Flow>());

impl<C> Flow<C> {
    /// Which direction this is.
    #[inline(always)]
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if self.flags & REPLY == 0 {
            Direction::Original
        } else {
            Direction::Reply
        }
    }

    /// The key of the other direction, where this one is found under `tuple`.
    #[inline(always)]
    #[must_use]
    pub fn twin<A: Address>(&self, tuple: &Tuple<A>) -> Tuple<A> {
        let side = if self.flags & SAME_SIDE == 0 {
            tuple.side.other()
        } else {
            tuple.side
        };
        self.translation.answers(tuple, side)
    }

    /// Whether this direction leads to a published port's target. Whoever spoke first: what comes
    /// from the client is rewritten where it comes in, unless both ends are.
    #[inline(always)]
    #[must_use]
    pub fn is_inbound(&self, side: Side) -> bool {
        if self.interface == 0 {
            matches!(side, Side::Ingress)
        } else {
            matches!(self.direction(), Direction::Original)
        }
    }
}

impl Flow {
    /// Counts one packet of `bytes` bytes.
    #[inline(always)]
    pub fn count(&self, bytes: u64) {
        self.packets.set(self.packets.get().wrapping_add(1));
        self.bytes.set(self.bytes.get().wrapping_add(bytes));
    }

    /// How long ago this direction was last seen.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self, now: Ticks) -> Ticks {
        now.since(Ticks(self.last_seen.get()))
    }

    /// A copy of the entry as it is now.
    #[must_use]
    pub fn record(&self) -> FlowRecord {
        Flow {
            translation: self.translation,
            port_id: self.port_id,
            flags: self.flags,
            interface: self.interface,
            opened: self.opened,
            seen: self.seen.get(),
            last_seen: self.last_seen.get(),
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            way: self.way.record(),
        }
    }
}
