//! A packet gets the addresses and ports of its translation.

use crate::address::Address;
use crate::checksum::Sum;
use crate::crc32c;
use crate::family::Family;
use crate::flow::Translation;
use crate::headers::{Checksum, Transport};
use crate::packet::Packet;
use crate::tuple::Tuple;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Be16;

/// Rewrites what `tuple` and `translation` differ in, and brings the checksums up to date
/// incrementally: one that was wrong stays wrong, so that its receiver still sees the damage.
///
/// The transport checksum comes first: it is the one step that the kernel may refuse. `interface` is
/// where the packet goes afterwards, or 0.
#[inline(always)]
pub(super) fn rewrite<F: Family, P: Packet>(
    packet: &mut P,
    l3: usize,
    tuple: &Tuple<F::Address>,
    transport: &Transport,
    translation: &Translation,
    interface: u32,
) -> Verdict {
    match apply::<F, P>(packet, l3, tuple, transport, translation) {
        Some(()) => go(packet, interface),
        None => Verdict::Drop(DropReason::Unwritable),
    }
}

/// A translated packet goes by `interface`, or the way of the stack if that is 0.
#[inline(always)]
pub(super) fn go<P: Packet>(packet: &mut P, interface: u32) -> Verdict {
    if interface == 0 {
        return Verdict::Translated;
    }
    packet.redirect(interface);
    Verdict::Redirect
}

/// As [`rewrite`], of a later fragment: it has addresses only, and the first one's checksum covers it.
#[inline(always)]
pub(super) fn readdress<F: Family, P: Packet>(
    packet: &mut P,
    l3: usize,
    tuple: &Tuple<F::Address>,
    translation: &Translation,
    interface: u32,
) -> Verdict {
    let src = F::Address::narrow(&translation.src);
    let dst = F::Address::narrow(&translation.dst);
    match write_addresses::<F, P>(packet, l3, (tuple.src, tuple.dst), (src, dst)) {
        Some(()) => go(packet, interface),
        None => Verdict::Drop(DropReason::Unwritable),
    }
}

#[inline(always)]
fn apply<F: Family, P: Packet>(
    packet: &mut P,
    l3: usize,
    tuple: &Tuple<F::Address>,
    transport: &Transport,
    translation: &Translation,
) -> Option<()> {
    let src = F::Address::narrow(&translation.src);
    let dst = F::Address::narrow(&translation.dst);
    let addresses = replaced(replaced(Sum::ZERO, &tuple.src, &src), &tuple.dst, &dst);
    write_transport(packet, tuple, transport, translation, addresses)?;
    write_addresses::<F, P>(packet, l3, (tuple.src, tuple.dst), (src, dst))
}

/// Writes the new ports, and the transport checksum with them and the difference in addresses.
#[inline(always)]
pub(super) fn write_transport<A, P: Packet>(
    packet: &mut P,
    tuple: &Tuple<A>,
    transport: &Transport,
    translation: &Translation,
    addresses: Sum,
) -> Option<()> {
    let ports = ports(tuple, translation.src_port, translation.dst_port);
    let pseudo = if transport.checksum == Checksum::PLAIN {
        Sum::ZERO
    } else {
        addresses
    };
    if transport.checksum == Checksum::CRC32C {
        update_crc(packet, tuple, transport, translation)?;
    } else {
        let optional = transport.checksum == Checksum::OPTIONAL_PSEUDO;
        packet.update_checksum(transport.checksum_at, pseudo, ports, optional)?;
    }
    // An ICMP query has one field for both; the end that has no port stays zero.
    if translation.src_port != tuple.src_port {
        packet.write(transport.src_port_at, Be16::new(translation.src_port))?;
    }
    if translation.dst_port != tuple.dst_port {
        packet.write(transport.dst_port_at, Be16::new(translation.dst_port))?;
    }
    Some(())
}

/// Brings SCTP's checksum up to date; it covers the ports, which are the packet's first four bytes.
#[inline(always)]
fn update_crc<A, P: Packet>(
    packet: &mut P,
    tuple: &Tuple<A>,
    transport: &Transport,
    translation: &Translation,
) -> Option<()> {
    // The first byte is the least significant here.
    let src = (tuple.src_port ^ translation.src_port).swap_bytes();
    let dst = (tuple.dst_port ^ translation.dst_port).swap_bytes();
    let difference = u32::from(src) | u32::from(dst) << 16;
    let crc: u32 = packet.read(transport.checksum_at)?;
    // Zero: Linux leaves the CRC to a device, which computes it anew. That a CRC comes out as 0 is as
    // rare as damage that a CRC does not see; such a packet is dropped by its receiver.
    if difference == 0 || crc == 0 {
        return Some(());
    }
    // Both become places in tables, of which the verifier wants to know where they come from.
    let forgotten = packet.forget(u64::from(difference) << 16 | transport.length as u64 & 0xffff);
    let change = crc32c::change((forgotten >> 16) as u32, forgotten as u16);
    packet.write(transport.checksum_at, crc ^ change.to_le())
}

/// What the replacement of a tuple's ports by others adds to a sum.
#[inline(always)]
pub(super) fn ports<A>(tuple: &Tuple<A>, src_port: u16, dst_port: u16) -> Sum {
    Sum::ZERO
        .replace16(Be16::new(tuple.src_port).raw(), Be16::new(src_port).raw())
        .replace16(Be16::new(tuple.dst_port).raw(), Be16::new(dst_port).raw())
}

/// Replaces the addresses (source, destination) of the network header at `l3` and brings its own
/// checksum up to date.
#[inline(always)]
pub(super) fn write_addresses<F: Family, P: Packet>(
    packet: &mut P,
    l3: usize,
    old: (F::Address, F::Address),
    new: (F::Address, F::Address),
) -> Option<()> {
    if let Some(at) = F::HEADER_CHECKSUM {
        let addresses = replaced(replaced(Sum::ZERO, &old.0, &new.0), &old.1, &new.1);
        let checksum: u16 = packet.read(l3 + at)?;
        packet.write(l3 + at, addresses.apply(checksum))?;
    }
    if new.0 != old.0 {
        packet.write(l3 + F::SRC, new.0)?;
    }
    if new.1 != old.1 {
        packet.write(l3 + F::DST, new.1)?;
    }
    Some(())
}

/// `sum` and the replacement of one address by another.
#[inline(always)]
pub(super) fn replaced<A: Address>(mut sum: Sum, old: &A, new: &A) -> Sum {
    for (old, new) in old.words().iter().zip(new.words()) {
        sum = sum.replace(*old, *new);
    }
    sum
}
