//! A packet, whatever carries it.

use bytemuck::{AnyBitPattern, NoUninit};

use crate::checksum::Sum;

/// A packet's bytes and the checksum bookkeeping of what carries it.
///
/// Offsets are in bytes from the first byte that the hook sees. Nothing here panics: what does not
/// lie within the packet is `None`.
pub trait Packet {
    /// The packet's length in bytes, also of what cannot be read directly.
    fn len(&self) -> usize;

    /// Whether there is nothing at all.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `offset`.
    fn read<T: AnyBitPattern>(&self, offset: usize) -> Option<T>;

    /// Writes `value` at `offset`.
    fn write<T: NoUninit>(&mut self, offset: usize, value: T) -> Option<()>;

    /// The same value. In an eBPF program the verifier forgets how it came about: it follows every
    /// path through a header chain, and would follow all of them through everything behind it.
    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        value
    }

    /// Says by which interface the packet is to go, where it is to go past the stack.
    fn redirect(&mut self, interface: u32);

    /// The longest network packet in bytes that the interface with this index takes; `None` where
    /// the kernel does not say.
    fn mtu(&self, interface: u32) -> Option<usize>;

    /// The payload in bytes of each packet that this one is to be cut into by the device; 0 if it is
    /// one packet.
    fn segment(&self) -> usize;

    /// Says how long a network packet may be in bytes, of one that is dropped because it is longer
    /// ([`crate::DropReason::TooBig`]).
    fn take_at_most(&mut self, mtu: usize);

    /// Says by how much the sum of the packet's bytes from its network header on has changed, where
    /// none of its own checksums makes up for it: a device may have summed them.
    fn changed_by(&mut self, difference: Sum);

    /// Brings the transport checksum at `offset` up to date.
    ///
    /// `pseudo` is the difference in the pseudo header (addresses), `covered` the one in the bytes
    /// that the checksum covers itself. They are told apart because of offloads: a checksum that
    /// the device is to finish (`CHECKSUM_PARTIAL`) holds the pseudo header's sum only.
    /// `optional` is for UDP, where 0 means that there is no checksum (RFC 768; in IPv6 for tunnels
    /// only, RFC 6935).
    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo: Sum,
        covered: Sum,
        optional: bool,
    ) -> Option<()>;
}

/// A packet that can become one of the other address family.
pub trait Convertible: Packet {
    /// Makes the IPv4 header at `l3` without options room for an IPv6 header, or the other way
    /// round, as `ethertype` says (host byte order); what is behind it moves along. What lies in
    /// that room is undefined. Where there is a link header it names the new family.
    fn change_family(&mut self, l3: usize, ethertype: u16) -> Option<()>;

    /// Makes the packet so long, in bytes: cut off at its end, or with zeroes there.
    fn resize(&mut self, len: usize) -> Option<()>;

    /// As [`Packet::write`], for what was never covered by any checksum difference.
    fn store<T: NoUninit>(&mut self, offset: usize, value: &T) -> Option<()>;
}

/// A packet in plain memory.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a mut [u8]);

impl Packet for Bytes<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        Some(bytemuck::pod_read_unaligned(self.0.get(offset..end)?))
    }

    fn write<T: NoUninit>(&mut self, offset: usize, value: T) -> Option<()> {
        let end = offset.checked_add(size_of::<T>())?;
        self.0
            .get_mut(offset..end)?
            .copy_from_slice(bytemuck::bytes_of(&value));
        Some(())
    }

    /// Memory goes nowhere.
    fn redirect(&mut self, _interface: u32) {}

    fn mtu(&self, _interface: u32) -> Option<usize> {
        None
    }

    fn segment(&self) -> usize {
        0
    }

    fn take_at_most(&mut self, _mtu: usize) {}

    /// Nobody has summed memory.
    fn changed_by(&mut self, _difference: Sum) {}

    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo: Sum,
        covered: Sum,
        optional: bool,
    ) -> Option<()> {
        update_in_place(self, offset, pseudo.join(covered), optional)
    }
}

/// Applies a difference to the checksum at `offset` of a packet whose checksums are all computed
/// already. `optional` as for [`Packet::update_checksum`].
#[inline(always)]
pub fn update_in_place<P: Packet>(
    packet: &mut P,
    offset: usize,
    difference: Sum,
    optional: bool,
) -> Option<()> {
    let old: u16 = packet.read(offset)?;
    if optional && old == 0 {
        return Some(());
    }
    let new = difference.apply(old);
    // RFC 768: a checksum that comes out as zero is sent as all ones.
    packet.write(offset, if optional && new == 0 { 0xffff } else { new })
}
