//! Mappings: which port of the outside a container's socket has, whomever it talks to (RFC 4787
//! section 4.1).

use core::cell::Cell;

use crate::address::{Address, Wide};
use crate::settings::Ticks;

/// An address and a port of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Endpoint<A> {
    /// The address.
    pub address: A,
    /// The port.
    pub port: u16,
    /// Transport protocol number.
    pub protocol: u8,
    /// Always zero.
    pub padding: u8,
}

/// What a mapping is found by. Its value is the port of the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct MappingKey<A> {
    /// The container's socket.
    pub inside: Endpoint<A>,
    /// The host's address that it goes out by.
    pub lent: A,
}

const _: () = assert!(size_of::<Endpoint<crate::Ip4>>() == 8);
const _: () = assert!(size_of::<Endpoint<crate::Ip6>>() == 20);
const _: () = assert!(size_of::<MappingKey<crate::Ip4>>() == 12);
const _: () = assert!(size_of::<MappingKey<crate::Ip6>>() == 36);

/// Who has a port of the outside for itself. It says whether a mapping holds: a mapping to a port
/// that another owns, or nobody, is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Owner<C = Cell<u64>> {
    /// The container's address.
    pub inside: Wide,
    /// The container's port.
    pub port: u32,
    /// Always zero.
    pub padding: u32,
    /// When a flow last made use of it, in [`Ticks`].
    pub last_used: C,
}

/// A copy of an owner.
pub type OwnerRecord = Owner<u64>;

const _: () = assert!(size_of::<Owner>() == 32 && size_of::<OwnerRecord>() == 32);

impl<C> Owner<C> {
    /// Whether it is this socket. Without a branch: the verifier would follow each.
    #[inline(always)]
    #[must_use]
    pub fn is<A: Address>(&self, inside: &A, port: u16) -> bool {
        let inside = inside.widen();
        let mut difference = self.port ^ u32::from(port);
        for (own, other) in self.inside.iter().zip(inside) {
            difference |= own ^ other;
        }
        difference == 0
    }
}

impl Owner {
    /// For how long nobody has made use of it.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self, now: Ticks) -> Ticks {
        now.since(Ticks(self.last_used.get()))
    }
}
