//! Whether a packet fits in the link that it is sent by past the stack.

use crate::family::{Family, Network};
use crate::packet::Packet;
use crate::wire::{protocol, tcp, udp};

use super::Hook;

/// How long a packet is, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Length {
    /// From its network header on.
    pub(super) whole: usize,
    /// Its network and transport headers, which each packet has that it is to be cut into.
    pub(super) headers: usize,
}

impl Length {
    #[inline(always)]
    pub(super) fn of<A, P: Packet>(packet: &P, l3: usize, network: &Network<A>) -> Self {
        let transport = match network.protocol {
            protocol::TCP => packet
                .read(network.l4)
                .map_or(0, |tcp: tcp::Header| tcp.len()),
            _ => size_of::<udp::Header>(),
        };
        Length {
            whole: network.end.wrapping_sub(l3),
            headers: network.l4.wrapping_sub(l3) + transport,
        }
    }

    /// The length of the longest packet that goes out, of this one or of those that a device is to make
    /// of it.
    #[inline(always)]
    pub(super) fn longest<P: Packet>(self, packet: &P) -> usize {
        match packet.segment() {
            0 => self.whole,
            segment => self.headers + segment,
        }
    }
}

/// Whether a packet that becomes `longer` by so many bytes fits in the interface that it is redirected
/// to. What goes the way of the stack (0) is none of our business. `told` is what its sender is to be
/// told of how much does, in bytes.
#[inline(always)]
pub(super) fn fits<P: Packet>(
    packet: &mut P,
    length: Length,
    interface: u32,
    longer: isize,
    told: impl FnOnce(usize) -> usize,
) -> bool {
    if interface == 0 {
        return true;
    }
    let Some(mtu) = packet.mtu(interface) else {
        return true;
    };
    let at_most = mtu.wrapping_add_signed(longer.wrapping_neg());
    let longest = length.longest(packet);
    if longest > at_most {
        packet.take_at_most(told(at_most));
    }
    longest <= at_most
}

/// What the sender of a packet of this destination is told of an MTU.
#[inline(always)]
pub(super) fn told_mtu<F: Family>(hook: Hook, destination: &F::Address, mtu: usize) -> usize {
    match hook {
        Hook::Local => F::kept_mtu(*destination, mtu),
        _ => mtu,
    }
}
