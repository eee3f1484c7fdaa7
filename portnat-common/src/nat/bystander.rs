//! Packets that are plainly none of ours, which most of what passes a host's interfaces is: the host's
//! own, and what it forwards for others.

use crate::family::{Family, Plain};
use crate::packet::Packet;
use crate::tables::Tables;
use crate::wire::{Be16, protocol};

use super::{Hook, Sight};

/// Where the destination port lies in each transport header that has one, in bytes.
pub(super) const DST_PORT: usize = 2;

/// Whether a packet passes as it is, by what its addresses and ports show at a glance: nothing is looked
/// up but what lies in arrays, or says what an address is. Of what this says no to, the other
/// functions find out the same. Only what can be read in place is read.
#[inline(always)]
pub fn is_bystander<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    sight: Sight,
    tables: &T,
) -> bool {
    glance::<F, P, T>(packet, sight, tables).unwrap_or(false)
}

#[inline(always)]
fn glance<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    sight: Sight,
    tables: &T,
) -> Option<bool> {
    let Plain {
        src,
        dst,
        protocol,
        l4,
    } = F::plain(packet, sight.l3)?;
    if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return None;
    }
    match sight.hook {
        Hook::Inside if !sight.forwarded => Some(true),
        // By their sources are flows known that go out.
        Hook::Outside | Hook::Inside if tables.may_be_inside(&src) => None,
        Hook::Outside | Hook::Inside => Some(!sight.forwarded || !tables.is_target(&src)),
        Hook::In | Hook::Local => {
            let port = packet.read::<Be16>(l4 + DST_PORT)?.get();
            if tables.port_is_published(protocol, port) {
                return None;
            }
            let lent = tables.settings()?.pool.contains(port);
            Some(sight.hook == Hook::Local || !lent && !tables.may_be_inside(&dst))
        }
    }
}
