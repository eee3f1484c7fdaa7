//! Published ports: what userspace tells the datapath.

use crate::address::{Address, Wide};

/// Where a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct PublishedKey<A> {
    /// The host's address; the unspecified address stands for every local one.
    pub address: A,
    /// The host's port.
    pub port: u16,
    /// Transport protocol number.
    pub protocol: u8,
    /// Always zero.
    pub padding: u8,
}

const _: () = assert!(size_of::<PublishedKey<crate::Ip4>>() == 8);
const _: () = assert!(size_of::<PublishedKey<crate::Ip6>>() == 20);

/// What a published port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Published {
    /// The target's address.
    pub target: Wide,
    /// The port's id, by which its flows are counted; never [`crate::flow::NO_PORT`].
    pub port_id: u32,
    /// The target's port that belongs to `port`.
    pub target_port: u16,
    /// The host's port; of a range its first, and the others' targets follow in the same order.
    pub port: u16,
    /// Whether who comes in is asked first: [`crate::admission::LISTED`] and the like.
    pub flags: u32,
}

const _: () = assert!(size_of::<Published>() == 28);

impl Published {
    /// The same port the other way round: keyed by the target, leading to the host. Of a range it is
    /// the first.
    #[must_use]
    pub fn back<A: Address>(&self, key: &PublishedKey<A>) -> (PublishedKey<A>, Published) {
        let target = PublishedKey {
            address: A::narrow(&self.target),
            port: self.target_port,
            ..*key
        };
        let host = Published {
            target: key.address.widen(),
            target_port: self.port,
            port: self.target_port,
            ..*self
        };
        (target, host)
    }

    /// The target's port that the host's `port` leads to, which is the published one or in its
    /// range.
    #[inline(always)]
    #[must_use]
    pub const fn target_port_of(&self, port: u16) -> u16 {
        self.target_port.wrapping_add(port.wrapping_sub(self.port))
    }
}

/// What came through a published port in flows that have ended or are half-open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Total {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, network headers included.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

const _: () = assert!(size_of::<Total>() == 32);
