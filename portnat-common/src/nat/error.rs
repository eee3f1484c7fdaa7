//! ICMP errors: the quoted packet is translated back to what its sender sent, and the error goes to
//! that sender (RFC 5508 section 4, RFC 5382 REQ-9).

use crate::address::Address;
use crate::checksum::Sum;
use crate::family::{Family, Fragment, Network};
use crate::packet::Packet;
use crate::tables::{Table, Tables};
use crate::tuple::{Side, Tuple};
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Be16, icmp, protocol, tcp};

use super::open::untranslatable;
use super::rewrite::{go, ports, replaced, write_addresses};
use super::{Hook, Sight, is_across};

/// A packet that an ICMP error quotes.
struct Quoted<A> {
    network: Network<A>,
    /// The tuple of what would answer it at the hook where the error is seen.
    answer: Tuple<A>,
    src_port_at: usize,
    dst_port_at: usize,
}

/// Translates an ICMP error about a packet of a flow, and stops the host's own redirects.
///
/// An error neither counts nor renews anything (RFC 5508 REQ-6); the quoted transport checksum is
/// left alone (REQ-3), it is often not there at all.
#[inline(always)]
pub fn error<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
) -> Verdict {
    let Some(network) = F::network(packet, sight.l3) else {
        return Verdict::Pass;
    };
    match translate::<F, P, T>(packet, sight, &network, tables) {
        Some(verdict) => verdict,
        None if !sight.forwarded => Verdict::Pass,
        None => untranslatable(tables, sight.hook, &network, DropReason::NoFlow),
    }
}

/// The quoted packet has gone the opposite way, so its answers would come to this hook: their entry
/// knows what was there before translation. `None` if there is no such entry.
#[inline(always)]
fn translate<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    Sight {
        hook,
        l3,
        forwarded,
    }: Sight,
    outer: &Network<F::Address>,
    tables: &T,
) -> Option<Verdict> {
    let side = match hook {
        // The host's own, about what it has sent to a container by way of the loopback interface.
        Hook::Local => Side::Ingress,
        _ => hook.side(),
    };
    let header: icmp::Echo = packet.read(outer.l4)?;
    let redirects = header.kind == F::REDIRECT;
    let quotation = if redirects {
        F::redirected(packet, outer.l4)?
    } else {
        icmp::ERROR_HEADER_LEN
    };
    // The verifier wants to see again that it lies within a packet.
    let quoted_l3 = (packet.forget((outer.l4 + quotation) as u64) & 0x3fff) as usize;
    let network = F::quoted(packet, quoted_l3)?;
    // An error goes to who sent what it quotes.
    if outer.dst != network.src {
        return None;
    }
    // The host tells a container that its target is next door. There is its way by the host, or the
    // answers would come from elsewhere.
    let shortcut = redirects && hook == Hook::Inside && !forwarded;
    if network.fragment == Fragment::Later {
        // Without ports; but a container that the host is the next hop of has little use for any.
        let inside = shortcut && tables.subnet(&outer.dst).is_some();
        return inside.then_some(Verdict::Drop(DropReason::Redirect));
    }
    let quoted = read::<F, P>(packet, network, side)?;
    let flow = tables
        .flow(Table::Confirmed, &quoted.answer)
        .or_else(|| tables.flow(Table::HalfOpen, &quoted.answer))
        .filter(|flow| !is_across::<F>(flow))?;
    if redirects {
        return shortcut.then_some(Verdict::Drop(DropReason::Redirect));
    }
    let answer = &flow.translation;
    let (src, dst) = (
        F::Address::narrow(&answer.dst),
        F::Address::narrow(&answer.src),
    );
    let redirected = flow.interface;
    let (new_src, new_dst) = match side {
        // Neither end knows of the other.
        _ if redirected != 0 => (dst, src),
        Side::Ingress => (outer.src, src),
        // An error that the host makes comes from its own address already.
        Side::Egress if tables.subnet(&outer.src).is_some() => (dst, outer.dst),
        Side::Egress => (outer.src, outer.dst),
    };
    let written = write::<F, P>(
        packet,
        (l3, quoted_l3, outer.l4 + icmp::CHECKSUM),
        outer,
        (new_src, new_dst),
        &quoted,
        ((src, answer.dst_port), (dst, answer.src_port)),
    );
    Some(match written {
        // It is on its way to the host already.
        Some(()) if hook == Hook::Local => Verdict::Translated,
        Some(()) => go(packet, redirected),
        None => Verdict::Drop(DropReason::Unwritable),
    })
}

#[inline(always)]
fn read<F: Family, P: Packet>(
    packet: &P,
    network: Network<F::Address>,
    side: Side,
) -> Option<Quoted<F::Address>> {
    // RFC 792: at least 8 bytes of it are quoted.
    let words: [Be16; 4] = packet.read(network.l4)?;
    let (src_port, dst_port, src_port_at, dst_port_at) = match network.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            (words[0], words[1], tcp::SRC_PORT, tcp::DST_PORT)
        }
        // Of queries, only requests are worth an error.
        number if number == F::ICMP && (words[0].get() >> 8) as u8 == F::ECHO_REQUEST => {
            (words[2], Be16::new(0), icmp::IDENTIFIER, icmp::IDENTIFIER)
        }
        _ => return None,
    };
    let answer = Tuple {
        src: network.dst,
        dst: network.src,
        src_port: dst_port.get(),
        dst_port: src_port.get(),
        protocol: network.protocol,
        side,
        zone: 0,
    };
    let (src_port_at, dst_port_at) = (network.l4 + src_port_at, network.l4 + dst_port_at);
    Some(Quoted {
        network,
        answer,
        src_port_at,
        dst_port_at,
    })
}

/// Writes the quoted packet's new addresses and ports and the error's own, checksums included.
#[inline(always)]
fn write<F: Family, P: Packet>(
    packet: &mut P,
    (l3, quoted_l3, checksum_at): (usize, usize, usize),
    outer: &Network<F::Address>,
    new_outer: (F::Address, F::Address),
    quoted: &Quoted<F::Address>,
    ((src, src_port), (dst, dst_port)): ((F::Address, u16), (F::Address, u16)),
) -> Option<()> {
    let network = &quoted.network;
    // The error's checksum covers the quotation, with the quoted header's own checksum: that makes
    // up for the addresses where there is one.
    let mut covered = ports(&quoted.answer, dst_port, src_port);
    if F::HEADER_CHECKSUM.is_none() {
        covered = replaced(replaced(covered, &network.src, &src), &network.dst, &dst);
    }
    let pseudo = if F::ICMP_PSEUDO_HEADER {
        replaced(
            replaced(Sum::ZERO, &outer.src, &new_outer.0),
            &outer.dst,
            &new_outer.1,
        )
    } else {
        Sum::ZERO
    };
    packet.update_checksum(checksum_at, pseudo, covered, false)?;
    write_addresses::<F, P>(packet, quoted_l3, (network.src, network.dst), (src, dst))?;
    if src_port != quoted.answer.dst_port {
        packet.write(quoted.src_port_at, Be16::new(src_port))?;
    }
    if dst_port != quoted.answer.src_port {
        packet.write(quoted.dst_port_at, Be16::new(dst_port))?;
    }
    write_addresses::<F, P>(packet, l3, (outer.src, outer.dst), new_outer)
}
