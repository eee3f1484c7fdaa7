//! A packet that must not go on is answered with an ICMP error about it (RFC 1812 section 4.3.2,
//! RFC 4443 section 2.4).
//!
//! The error takes the packet's own place: [`quote`] keeps what it quotes, whoever carries the packet
//! makes it [`Quotation::packet_len`] long, and [`write`] fills it. So it is for whom the packet was
//! from.

use crate::address::{Address, Wide};
use crate::checksum::Sum;
use crate::family::{Family, Fragment, Network};
use crate::packet::Packet;
use crate::settings::Ticks;
use crate::wire::{icmp, protocol, tcp};

/// How much is quoted at most, in bytes: IPv6's header, 64 bytes of extensions, and 8 of the transport
/// header. RFC 792 asks for no more than those 8; RFC 4443 asks for all that fits, of which nobody
/// makes use.
pub const MOST_QUOTED: usize = 40 + 64 + TRANSPORT_QUOTED;

/// How much of the transport header is quoted: the ports and TCP's sequence number are there.
const TRANSPORT_QUOTED: usize = 8;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<A> {
    /// Its header, with a checksum of 0.
    pub says: icmp::Error,
    /// The address that it comes from.
    pub source: A,
}

impl<A> IcmpError<A> {
    /// "Communication administratively prohibited": what a NAT says that has no room for a flow
    /// (RFC 5508 REQ-8).
    #[inline(always)]
    #[must_use]
    pub fn prohibited<F: Family<Address = A>>(source: A) -> Self {
        let (kind, code) = F::PROHIBITED;
        IcmpError {
            says: icmp::Error::new(kind, code, 0),
            source,
        }
    }

    /// "Fragmentation needed" (RFC 1191), in IPv6 "packet too big": no more than `mtu` bytes get
    /// through at once.
    #[inline(always)]
    #[must_use]
    pub fn too_big<F: Family<Address = A>>(mtu: u16, source: A) -> Self {
        let (kind, code) = F::TOO_BIG;
        IcmpError {
            says: icmp::Error::new(kind, code, mtu as u32),
            source,
        }
    }
}

/// What an error quotes of a packet. In memory rather than on the stack of an eBPF function.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Quotation {
    words: [u32; MOST_QUOTED / 4],
    /// Who sent the packet.
    sender: Wide,
    /// How long it is, in bytes; a multiple of 4.
    len: u32,
}

impl Default for Quotation {
    fn default() -> Self {
        Quotation {
            words: [0; MOST_QUOTED / 4],
            sender: [0; 4],
            len: 0,
        }
    }
}

impl Quotation {
    /// Who sent the packet and gets the error.
    #[inline(always)]
    #[must_use]
    pub fn sender<A: Address>(&self) -> A {
        A::narrow(&self.sender)
    }

    /// Length of the error's packet in bytes, from its network header on.
    #[inline(always)]
    #[must_use]
    pub const fn packet_len<F: Family>(&self) -> usize {
        // Said to be in bounds for the verifier, to which it came out of memory.
        F::HEADER_LEN + icmp::ERROR_HEADER_LEN + (self.len as usize & 0x7f)
    }
}

/// Reads what an error about this packet quotes. `None` if there must be none: about an ICMP error
/// or what may be one, a later fragment, a reset, or what went to many or came from nobody in
/// particular (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 e); and where it makes no sense,
/// because the transport header is not there or too far away.
#[inline(always)]
pub fn quote<F: Family, P: Packet>(packet: &P, l3: usize, quotation: &mut Quotation) -> Option<()> {
    let network = F::network(packet, l3)?;
    if !is_answerable::<F, P>(packet, &network) {
        return None;
    }
    let len = network.l4.wrapping_sub(l3).wrapping_add(TRANSPORT_QUOTED);
    if len > F::MOST_HEADERS + TRANSPORT_QUOTED || l3 + len > network.end {
        return None;
    }
    quotation.sender = network.src.widen();
    quotation.len = len as u32;
    for (number, word) in quotation.words.iter_mut().enumerate() {
        if 4 * number >= len {
            break;
        }
        *word = packet.read(l3 + 4 * number)?;
    }
    Some(())
}

#[inline(always)]
fn is_answerable<F: Family, P: Packet>(packet: &P, network: &Network<F::Address>) -> bool {
    if network.fragment == Fragment::Later
        || !F::is_one_host(network.src)
        || !F::is_one_host(network.dst)
    {
        return false;
    }
    match network.protocol {
        protocol::TCP => packet
            .read::<tcp::Header>(network.l4)
            .is_some_and(|header| header.flags & tcp::RST == 0),
        number if number == F::ICMP => packet
            .read::<icmp::Echo>(network.l4)
            .is_some_and(|header| header.kind == F::ECHO_REQUEST),
        _ => true,
    }
}

/// Writes the error in place of the packet, which must have the length that the quotation asks for.
#[inline(always)]
pub fn write<F: Family, P: Packet>(
    packet: &mut P,
    l3: usize,
    error: &IcmpError<F::Address>,
    quotation: &Quotation,
) -> Option<()> {
    let receiver: F::Address = quotation.sender();
    let length = quotation.packet_len::<F>() - F::HEADER_LEN;
    F::write_header(packet, l3, F::ICMP, (error.source, receiver), length as u16)?;

    let mut header = error.says;
    let [first, rest]: [u32; 2] = bytemuck::cast(header);
    let mut sum = Sum::ZERO.add(first).add(rest);
    if F::ICMP_PSEUDO_HEADER {
        // RFC 8200 section 8.1.
        for (source, destination) in error.source.words().iter().zip(receiver.words()) {
            sum = sum.add(*source).add(*destination);
        }
        sum = sum
            .add((length as u32).to_be())
            .add(u32::from(F::ICMP).to_be());
    }
    let l4 = l3 + F::HEADER_LEN;
    let len = quotation.len as usize & 0x7f;
    for (number, word) in quotation.words.iter().enumerate() {
        if 4 * number >= len {
            break;
        }
        sum = sum.add(*word);
        packet.write(l4 + icmp::ERROR_HEADER_LEN + 4 * number, *word)?;
    }
    header.checksum = !sum.fold();
    packet.write(l4, header)
}

/// How many errors have been sent lately: routers limit them (RFC 1812 section 4.3.2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Allowance {
    /// When the second began.
    since: Ticks,
    /// How many in it.
    spent: u64,
}

/// How many errors there are in a second at most, on each CPU.
pub const ERRORS_A_SECOND: u64 = 100;

impl Allowance {
    /// Whether there may be one more now, with `hz` ticks a second.
    #[inline(always)]
    pub fn spend(&mut self, hz: Ticks, now: Ticks) -> bool {
        if now.since(self.since) >= hz {
            self.since = now;
            self.spent = 0;
        }
        if self.spent >= ERRORS_A_SECOND {
            return false;
        }
        self.spent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_errors_and_no_more() {
        let hz = Ticks(100);
        let mut allowance = Allowance::default();
        for second in 5..8 {
            for number in 0..300 {
                let now = Ticks(second * 100 + number / 3);
                assert_eq!(allowance.spend(hz, now), number < ERRORS_A_SECOND);
            }
        }
    }
}
