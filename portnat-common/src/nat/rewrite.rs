//! A packet gets the addresses and ports of its translation.

use crate::address::Address;
use crate::checksum::Sum;
use crate::family::Family;
use crate::flow::Translation;
use crate::headers::Transport;
use crate::packet::Packet;
use crate::tuple::Tuple;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Be16;

/// Rewrites what `tuple` and `translation` differ in, and brings the checksums up to date
/// incrementally: one that was wrong stays wrong, so that its receiver still sees the damage.
///
/// The transport checksum comes first: it is the one step that the kernel may refuse.
#[inline(always)]
pub(super) fn rewrite<F: Family, P: Packet>(
    packet: &mut P,
    l3: usize,
    tuple: &Tuple<F::Address>,
    transport: &Transport,
    translation: &Translation,
) -> Verdict {
    match apply::<F, P>(packet, l3, tuple, transport, translation) {
        Some(()) => Verdict::Translated,
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
    let src_port = Be16::new(translation.src_port);
    let dst_port = Be16::new(translation.dst_port);
    let addresses = replaced(replaced(Sum::ZERO, &tuple.src, &src), &tuple.dst, &dst);
    let ports = Sum::ZERO
        .replace16(Be16::new(tuple.src_port).raw(), src_port.raw())
        .replace16(Be16::new(tuple.dst_port).raw(), dst_port.raw());
    let pseudo = if transport.pseudo_header {
        addresses
    } else {
        Sum::ZERO
    };

    packet.update_checksum(
        transport.checksum_at,
        pseudo,
        ports,
        transport.checksum_optional,
    )?;
    if let Some(at) = F::HEADER_CHECKSUM {
        let old: u16 = packet.read(l3 + at)?;
        packet.write(l3 + at, addresses.apply(old))?;
    }
    if src != tuple.src {
        packet.write(l3 + F::SRC, src)?;
    }
    if dst != tuple.dst {
        packet.write(l3 + F::DST, dst)?;
    }
    // An ICMP query has one field for both; the end that has no port stays zero.
    if translation.src_port != tuple.src_port {
        packet.write(transport.src_port_at, src_port)?;
    }
    if translation.dst_port != tuple.dst_port {
        packet.write(transport.dst_port_at, dst_port)?;
    }
    Some(())
}

/// `sum` and the replacement of one address by another.
#[inline(always)]
fn replaced<A: Address>(mut sum: Sum, old: &A, new: &A) -> Sum {
    for (old, new) in old.words().iter().zip(new.words()) {
        sum = sum.replace(*old, *new);
    }
    sum
}
