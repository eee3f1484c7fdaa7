//! A packet that can grow, and that remembers where it was sent.

use bytemuck::{AnyBitPattern, NoUninit};
use portnat_common::checksum::Sum;
use portnat_common::{Bytes, Convertible, Packet};

use crate::support::world::World;

/// The MTU of [`World::UPLINK`].
pub(crate) const UPLINK_MTU: usize = 1400;
/// The MTU of [`World::BRIDGE`] and its port.
pub(crate) const BRIDGE_MTU: usize = 1500;

/// A frame with its Ethernet header.
pub(crate) struct Carrier {
    pub(crate) frame: Vec<u8>,
    /// The interface that it was told to go by, or 0.
    pub(crate) by: u32,
    /// How long it may be, if it was told, or 0.
    pub(crate) at_most: usize,
}

impl Carrier {
    pub(crate) fn of(frame: Vec<u8>) -> Self {
        Carrier {
            frame,
            by: 0,
            at_most: 0,
        }
    }
}

impl Packet for Carrier {
    fn len(&self) -> usize {
        self.frame.len()
    }

    fn read<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        let bytes = self.frame.get(offset..)?.get(..size_of::<T>())?;
        Some(bytemuck::pod_read_unaligned(bytes))
    }

    fn write<T: NoUninit>(&mut self, offset: usize, value: T) -> Option<()> {
        Bytes(&mut self.frame).write(offset, value)
    }

    fn redirect(&mut self, interface: u32) {
        self.by = interface;
    }

    fn mtu(&self, interface: u32) -> Option<usize> {
        match interface {
            World::UPLINK => Some(UPLINK_MTU),
            World::BRIDGE | World::PORT => Some(BRIDGE_MTU),
            _ => None,
        }
    }

    fn segment(&self) -> usize {
        0
    }

    fn changed_by(&mut self, _difference: Sum) {}

    fn take_at_most(&mut self, mtu: usize) {
        self.at_most = mtu;
    }

    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo: Sum,
        covered: Sum,
        optional: bool,
    ) -> Option<()> {
        Bytes(&mut self.frame).update_checksum(offset, pseudo, covered, optional)
    }
}

impl Convertible for Carrier {
    fn change_family(&mut self, l3: usize, ethertype: u16) -> Option<()> {
        let (old, new) = if ethertype == 0x0800 {
            (40, 20)
        } else {
            (20, 40)
        };
        // Whatever was there.
        self.frame.splice(l3..l3 + old, vec![0xee; new]);
        self.write(12, ethertype.to_be())
    }

    fn resize(&mut self, len: usize) -> Option<()> {
        self.frame.resize(len, 0);
        Some(())
    }

    fn store<T: NoUninit>(&mut self, offset: usize, value: &T) -> Option<()> {
        self.write(offset, *value)
    }
}
