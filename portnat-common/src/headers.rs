//! What the NAT reads of a packet.

use crate::address::Address;
use crate::family::{Family, Fragment, Network};
use crate::packet::Packet;
use crate::tuple::{Side, Tuple};
use crate::wire::{icmp, protocol, tcp, udp};

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Source port, or the identifier of an ICMP query.
    pub src_port: u16,
    /// Destination port, or the identifier of the answer to an ICMP query.
    pub dst_port: u16,
    /// The TCP flags; zero for other protocols.
    pub tcp_flags: u8,
    /// Where the source port lies in the packet, in bytes from its start.
    pub src_port_at: usize,
    /// Where the destination port lies.
    pub dst_port_at: usize,
    /// Where the checksum lies.
    pub checksum_at: usize,
    /// Whether this answers an ICMP query.
    pub answers_query: bool,
    /// Whether the checksum covers the addresses.
    pub pseudo_header: bool,
    /// Whether a checksum of 0 means that there is none.
    pub checksum_optional: bool,
}

/// Why there is nothing to translate in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untranslatable {
    /// A later fragment: the ports are in another packet.
    Fragment,
    /// An ICMP error, which is about another packet.
    Error,
    /// Not TCP, UDP or ICMP.
    Protocol,
    /// The packet ends before its transport header does.
    Truncated,
}

impl Transport {
    /// Reads the transport header.
    ///
    /// # Errors
    /// Says why there is none that could be translated.
    #[inline(always)]
    pub fn read<F: Family, P: Packet>(
        packet: &P,
        network: &Network<F::Address>,
    ) -> Result<Self, Untranslatable> {
        if network.fragment == Fragment::Later {
            return Err(Untranslatable::Fragment);
        }
        let at = network.l4;
        let room = network.end.wrapping_sub(at);
        match network.protocol {
            protocol::TCP => {
                let header: tcp::Header = header(packet, at, room)?;
                Ok(Transport {
                    src_port: header.src_port.get(),
                    dst_port: header.dst_port.get(),
                    tcp_flags: header.flags,
                    src_port_at: at + tcp::SRC_PORT,
                    dst_port_at: at + tcp::DST_PORT,
                    checksum_at: at + tcp::CHECKSUM,
                    answers_query: false,
                    pseudo_header: true,
                    checksum_optional: false,
                })
            }
            protocol::UDP => {
                let header: udp::Header = header(packet, at, room)?;
                Ok(Transport {
                    src_port: header.src_port.get(),
                    dst_port: header.dst_port.get(),
                    tcp_flags: 0,
                    src_port_at: at + udp::SRC_PORT,
                    dst_port_at: at + udp::DST_PORT,
                    checksum_at: at + udp::CHECKSUM,
                    answers_query: false,
                    pseudo_header: true,
                    checksum_optional: true,
                })
            }
            number if number == F::ICMP => {
                let header: icmp::Echo = header(packet, at, room)?;
                // The identifier is the querier's port: the source's in a request, the
                // destination's in a reply.
                let identifier = header.identifier.get();
                let answers_query = header.kind == F::ECHO_REPLY;
                if F::is_error(header.kind) {
                    return Err(Untranslatable::Error);
                }
                if header.kind != F::ECHO_REQUEST && !answers_query {
                    return Err(Untranslatable::Protocol);
                }
                let (src_port, dst_port) = if answers_query {
                    (0, identifier)
                } else {
                    (identifier, 0)
                };
                Ok(Transport {
                    src_port,
                    dst_port,
                    tcp_flags: 0,
                    src_port_at: at + icmp::IDENTIFIER,
                    dst_port_at: at + icmp::IDENTIFIER,
                    checksum_at: at + icmp::CHECKSUM,
                    answers_query,
                    pseudo_header: F::ICMP_PSEUDO_HEADER,
                    checksum_optional: false,
                })
            }
            _ => Err(Untranslatable::Protocol),
        }
    }

    /// The same headers, of which the verifier forgets how they came about ([`Packet::forget`]):
    /// what follows is walked once instead of once for each protocol.
    #[inline(always)]
    pub fn forget<P: Packet>(&mut self, packet: &P, protocol: &mut u8) {
        let packed = packet.forget(self.pack() | u64::from(*protocol) << 56);
        *protocol = (packed >> 56) as u8;
        *self = Transport::unpack(packed, self.src_port, self.dst_port);
    }

    /// All but the ports in 56 bits.
    #[inline(always)]
    #[must_use]
    pub fn pack(&self) -> u64 {
        // Offsets lie within the headers that are read, far below 2^14.
        let at = |at: usize, shift: u32| (at as u64 & 0x3fff) << shift;
        at(self.src_port_at, 0)
            | at(self.dst_port_at, 14)
            | at(self.checksum_at, 28)
            | u64::from(self.tcp_flags) << 42
            | u64::from(self.answers_query) << 50
            | u64::from(self.pseudo_header) << 51
            | u64::from(self.checksum_optional) << 52
    }

    /// What [`Transport::pack`] has packed, with its ports.
    #[inline(always)]
    #[must_use]
    pub fn unpack(packed: u64, src_port: u16, dst_port: u16) -> Self {
        let at = |shift: u32| (packed >> shift & 0x3fff) as usize;
        Transport {
            src_port,
            dst_port,
            tcp_flags: (packed >> 42) as u8,
            src_port_at: at(0),
            dst_port_at: at(14),
            checksum_at: at(28),
            answers_query: packed >> 50 & 1 != 0,
            pseudo_header: packed >> 51 & 1 != 0,
            checksum_optional: packed >> 52 & 1 != 0,
        }
    }

    /// Whether this can only be an answer: a packet that opens no flow. (Any other TCP packet does,
    /// so that connections survive a restart of the datapath.)
    #[inline(always)]
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.answers_query
            || self.tcp_flags & tcp::RST != 0
            || self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK
    }
}

/// Reads a header of which all bytes must lie within `room`.
#[inline(always)]
fn header<T: bytemuck::AnyBitPattern, P: Packet>(
    packet: &P,
    at: usize,
    room: usize,
) -> Result<T, Untranslatable> {
    if room < size_of::<T>() {
        return Err(Untranslatable::Truncated);
    }
    packet.read(at).ok_or(Untranslatable::Truncated)
}

/// The tuple of a packet at a hook.
#[inline(always)]
#[must_use]
pub fn tuple<A: Address>(network: &Network<A>, transport: &Transport, side: Side) -> Tuple<A> {
    Tuple {
        src: network.src,
        dst: network.dst,
        src_port: transport.src_port,
        dst_port: transport.dst_port,
        protocol: network.protocol,
        side,
        zone: 0,
    }
}
