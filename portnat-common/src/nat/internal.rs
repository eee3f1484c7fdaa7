//! Networks that lead nowhere: their containers speak with each other and with the host itself, and with
//! nobody else, whatever addresses they use. So who they are is told by the bridge that they are behind:
//! there is nothing to translate there, and these are asked instead of all else.

use crate::family::{Family, Fragment};
use crate::packet::Packet;
use crate::tables::Tables;
use crate::tuple::{Side, Tuple};
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Be16, protocol};

use super::bystander::DST_PORT;
use super::{Hook, find_published};

const ISOLATED: Verdict = Verdict::Drop(DropReason::Isolated);

/// Judges what comes up to the host's stack from such a network's bridge: it passes if the stack will
/// not forward it, if it asks for no published port, which leads to another network, and if the host's
/// answer comes back here.
///
/// What it is sent to is judged before the host's own netfilter translates that. Multicast passes: the host
/// listens to some, and forwards none of its own accord.
#[inline(always)]
pub fn leave_internal<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    l3: usize,
    tables: &T,
) -> Verdict {
    let Some(network) = F::network(packet, l3) else {
        // The stack would not take it either.
        return Verdict::Drop(DropReason::Malformed);
    };
    let dst = network.dst;
    if F::is_link_local(dst) || F::is_of_many(dst) {
        return Verdict::Pass;
    }
    if !tables.is_local(&dst) {
        return if is_behind::<F, T>(tables, &dst) {
            Verdict::Pass
        } else {
            ISOLATED
        };
    }
    if !is_behind::<F, T>(tables, &network.src) && !F::is_link_local(network.src) {
        return ISOLATED;
    }
    let has_ports = matches!(
        network.protocol,
        protocol::TCP | protocol::UDP | protocol::SCTP
    );
    if !has_ports || network.fragment == Fragment::Later {
        return Verdict::Pass;
    }
    let Some(port) = packet.read::<Be16>(network.l4 + DST_PORT) else {
        return Verdict::Drop(DropReason::Malformed);
    };
    let tuple = Tuple {
        src: network.src,
        dst,
        // Whatever it is.
        src_port: 0,
        dst_port: port.get(),
        protocol: network.protocol,
        side: Side::Ingress,
        zone: 0,
    };
    match find_published::<F, T>(tables, Hook::In, &tuple) {
        Some(_) => ISOLATED,
        None => Verdict::Pass,
    }
}

/// Whether an address is of a subnet behind this very bridge.
#[inline(always)]
fn is_behind<F: Family, T: Tables<F>>(tables: &T, address: &F::Address) -> bool {
    match tables.subnet(address) {
        Some(subnet) => subnet.bridge == tables.interface(),
        None => false,
    }
}

/// Judges what goes out by such a network's bridge to its containers: it passes if it is the host's own, or
/// has come from there.
#[inline(always)]
pub fn enter_internal<F: Family, T: Tables<F>>(tables: &T) -> Verdict {
    match tables.came_in() {
        0 => Verdict::Pass,
        interface if interface == tables.interface() => Verdict::Pass,
        _ => ISOLATED,
    }
}
