//! What is known of a datagram that comes in fragments (RFC 4787 REQ-14: in any order).
//!
//! Only the first fragment has the ports. Where it has gone its way, the others find its ports under
//! the datagram's key and follow it; those that come before it wait, and are released behind it.

use core::cell::Cell;

use crate::address::{Address, Wide};
use crate::family::{Family, Network};
use crate::packet::Packet;
use crate::settings::Ticks;
use crate::tables::Refusal;
use crate::tuple::Side;

/// How many fragments of a datagram can wait for its first: 64 KiB in packets of 1,500 bytes are 45.
pub const MAX_WAITING: u32 = 64;

/// The longest frame that can wait, in bytes: the usual jumbo frame with its link header and a tag.
pub const LONGEST_FRAME: usize = 9216 + 18;

/// How long the fragments of a datagram have to come, in seconds: as long as Linux gives them
/// (`net.ipv4.ipfrag_time`).
pub const LIFETIME: u64 = 30;

/// Which datagram a fragment is part of, at a hook, before translation. Of both families: those of
/// IPv6 have protocol 0, which those of IPv4 that are looked after do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct DatagramKey {
    /// Source address.
    pub src: Wide,
    /// Destination address.
    pub dst: Wide,
    /// The identification that all its fragments have, host byte order.
    pub id: u32,
    /// The protocol that the identification is unique for; 0 in IPv6.
    pub protocol: u8,
    /// The hook.
    pub side: Side,
    /// Always zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<DatagramKey>() == 40);

impl DatagramKey {
    /// The datagram that a fragment with this header is part of.
    #[inline(always)]
    #[must_use]
    pub fn of<F: Family>(network: &Network<F::Address>, side: Side) -> Self {
        DatagramKey {
            src: network.src.widen(),
            dst: network.dst.widen(),
            id: network.id,
            protocol: if F::ID_PER_PROTOCOL {
                network.protocol
            } else {
                0
            },
            side,
            padding: [0; 2],
        }
    }
}

/// The place of a fragment that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct WaitingKey {
    /// The datagram.
    pub datagram: DatagramKey,
    /// When it was first heard of, so that nothing mixes with a later one of the same key.
    pub begun: Ticks,
    /// Which of those that wait, below [`MAX_WAITING`].
    pub index: u32,
    /// Where the network header lies: frames with another link header cannot take this one's place.
    pub l3: u32,
}

const _: () = assert!(size_of::<WaitingKey>() == 56);

/// What a datagram's first fragment says of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Source port, or the identifier of an ICMP query.
    pub src_port: u16,
    /// Destination port, or the identifier of the answer to an ICMP query.
    pub dst_port: u16,
    /// The transport protocol.
    pub protocol: u8,
    /// What the others are to do.
    pub fate: Fate,
}

/// What becomes of the fragments behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They have the first one's ports.
    Follow,
    /// The first has no ports: they are what they were without it.
    NoPorts,
    /// The first was dropped.
    Dropped,
}

impl Told {
    /// As one number other than 0, for an entry that one CPU writes while others read.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        let fate = match self.fate {
            Fate::Follow => 0,
            Fate::NoPorts => 1,
            Fate::Dropped => 2,
        };
        self.src_port as u64
            | (self.dst_port as u64) << 16
            | (self.protocol as u64) << 32
            | fate << 40
            | KNOWN
    }

    /// What [`Told::pack`] made a number of; 0 says nothing.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u64) -> Option<Self> {
        if packed & KNOWN == 0 {
            return None;
        }
        Some(Told {
            src_port: packed as u16,
            dst_port: (packed >> 16) as u16,
            protocol: (packed >> 32) as u8,
            fate: match packed >> 40 & 3 {
                0 => Fate::Follow,
                1 => Fate::NoPorts,
                _ => Fate::Dropped,
            },
        })
    }
}

/// [`Told::pack`]: there is something.
const KNOWN: u64 = 1 << 63;

/// A datagram's entry; see [`crate::flow::Flow`] for the cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Datagram<C = Cell<u64>> {
    /// What the first fragment says, see [`Told::pack`], once it has gone its way.
    pub told: C,
    /// In how many places others wait; where two CPUs put one away in the same instant, in one more.
    pub waiting: C,
    /// When it was first heard of.
    pub begun: Ticks,
}

/// A copy of an entry.
pub type DatagramRecord = Datagram<u64>;

const _: () = assert!(size_of::<DatagramRecord>() == 24);
const _: () = assert!(size_of::<DatagramRecord>() == size_of::<Datagram>());

impl Datagram {
    /// One for which nothing waits, and what its first fragment says, or 0.
    #[inline(always)]
    #[must_use]
    pub const fn new(told: u64, now: Ticks) -> Self {
        Datagram {
            told: Cell::new(told),
            waiting: Cell::new(0),
            begun: now,
        }
    }
}

/// A first fragment on its way: what is to be made known when it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct First {
    /// The first place where another may wait for it.
    pub waiting: WaitingKey,
    /// What it says, see [`Told::pack`].
    pub told: u64,
    /// When it came.
    pub now: Ticks,
    /// How long its datagram's fragments have; zero where there is no first fragment.
    pub lifetime: Ticks,
}

const _: () = assert!(size_of::<First>() == 80);

impl First {
    /// No first fragment.
    #[must_use]
    pub const fn none() -> Self {
        First {
            waiting: WaitingKey {
                datagram: DatagramKey {
                    src: [0; 4],
                    dst: [0; 4],
                    id: 0,
                    protocol: 0,
                    side: Side::Ingress,
                    padding: [0; 2],
                },
                begun: Ticks(0),
                index: 0,
                l3: 0,
            },
            told: 0,
            now: Ticks(0),
            lifetime: Ticks(0),
        }
    }
}

/// The datagrams that come in fragments, and the fragments that wait.
pub trait Fragments {
    /// The entry under `key`.
    fn datagram(&self, key: &DatagramKey) -> Option<&Datagram>;

    /// Inserts an entry under a key that has none; where there is no room, another gives way.
    ///
    /// # Errors
    /// Nothing is changed if there is such an entry.
    fn insert_datagram(&self, key: &DatagramKey, datagram: &Datagram) -> Result<(), Refusal>;

    /// Removes the entry under `key`, if there is one.
    fn remove_datagram(&self, key: &DatagramKey);

    /// Copies `packet` to a place where it waits.
    ///
    /// # Errors
    /// The place is taken, or the packet too long.
    fn hold<P: Packet>(&self, place: &WaitingKey, packet: &P) -> Result<(), Refusal>;

    /// Removes the copy that waits at `place`. Whether there was one: of several who ask, it belongs
    /// to the one who hears yes. And of several who ask for one place, whether there is anything or
    /// not, each sees all that those before have written.
    fn take_back(&self, place: &WaitingKey) -> bool;

    /// Sends those that wait from `place` on to the hook anew: in so many places, and as long as
    /// there are any behind. Leaves `packet` as it is; `None` if that cannot be done.
    fn release_waiting<P: Packet>(
        &self,
        place: &WaitingKey,
        places: u32,
        packet: &mut P,
    ) -> Option<()>;
}
