//! What the NAT reads of a packet.

use crate::address::Address;
use crate::family::{Family, Fragment, Network};
use crate::packet::Packet;
use crate::signals::Signals;
use crate::tuple::{Side, Tuple};
use crate::wire::{icmp, protocol, sctp, tcp, udp};

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Source port, or the identifier of an ICMP query.
    pub src_port: u16,
    /// Destination port, or the identifier of the answer to an ICMP query.
    pub dst_port: u16,
    /// What it says about its connection.
    pub signals: Signals,
    /// Where the source port lies in the packet, in bytes from its start.
    pub src_port_at: usize,
    /// Where the destination port lies.
    pub dst_port_at: usize,
    /// Where the checksum lies.
    pub checksum_at: usize,
    /// What kind of checksum it is.
    pub checksum: Checksum,
    /// Length of the transport header and all behind it, in bytes.
    pub length: usize,
}

/// What a transport checksum is, and what it covers beside the transport header and its payload.
///
/// Not an enum: that would be made from [`Transport::forget`]'s bits by branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Checksum(u8);

impl Checksum {
    /// The Internet checksum, of nothing else (ICMP).
    pub const PLAIN: Checksum = Checksum(0);
    /// The Internet checksum, of the addresses too (TCP, ICMPv6).
    pub const PSEUDO: Checksum = Checksum(1);
    /// The same, and 0 means that there is none (UDP).
    pub const OPTIONAL_PSEUDO: Checksum = Checksum(2);
    /// CRC32c, of nothing else (SCTP).
    pub const CRC32C: Checksum = Checksum(3);
}

/// Why there is nothing to translate in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untranslatable {
    /// A later fragment: the ports are in another packet.
    Fragment,
    /// An ICMP error, which is about another packet.
    Error,
    /// Not TCP, UDP, SCTP or ICMP.
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
                    signals: Signals::tcp(header.flags),
                    src_port_at: at + tcp::SRC_PORT,
                    dst_port_at: at + tcp::DST_PORT,
                    checksum_at: at + tcp::CHECKSUM,
                    checksum: Checksum::PSEUDO,
                    length: room,
                })
            }
            protocol::UDP => {
                let header: udp::Header = header(packet, at, room)?;
                Ok(Transport {
                    src_port: header.src_port.get(),
                    dst_port: header.dst_port.get(),
                    signals: Signals::DATAGRAM,
                    src_port_at: at + udp::SRC_PORT,
                    dst_port_at: at + udp::DST_PORT,
                    checksum_at: at + udp::CHECKSUM,
                    checksum: Checksum::OPTIONAL_PSEUDO,
                    length: room,
                })
            }
            protocol::SCTP => {
                if room < sctp::MIN_LEN {
                    return Err(Untranslatable::Truncated);
                }
                let header: sctp::Header = header(packet, at, room)?;
                // Of several packets in one, which a device is to cut, the chunks may lie where they
                // cannot be read in place; those carry data.
                let first_chunk = packet.read(at + sctp::FIRST_CHUNK);
                Ok(Transport {
                    src_port: header.src_port.get(),
                    dst_port: header.dst_port.get(),
                    signals: Signals::sctp(first_chunk.unwrap_or(sctp::chunk::DATA)),
                    src_port_at: at + sctp::SRC_PORT,
                    dst_port_at: at + sctp::DST_PORT,
                    checksum_at: at + sctp::CHECKSUM,
                    checksum: Checksum::CRC32C,
                    length: room,
                })
            }
            number if number == F::ICMP => {
                let header: icmp::Echo = header(packet, at, room)?;
                // The identifier is the querier's port: the source's in a request, the
                // destination's in a reply.
                let identifier = header.identifier.get();
                let answers_query = header.kind == F::ECHO_REPLY;
                if F::is_error(header.kind) || header.kind == F::REDIRECT {
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
                    signals: if answers_query {
                        Signals::QUERY_ANSWER
                    } else {
                        Signals::DATAGRAM
                    },
                    src_port_at: at + icmp::IDENTIFIER,
                    dst_port_at: at + icmp::IDENTIFIER,
                    checksum_at: at + icmp::CHECKSUM,
                    checksum: if F::ICMP_PSEUDO_HEADER {
                        Checksum::PSEUDO
                    } else {
                        Checksum::PLAIN
                    },
                    length: room,
                })
            }
            _ => Err(Untranslatable::Protocol),
        }
    }

    /// Whether the checksum of a packet cannot be brought up to date because it is a fragment: a CRC
    /// covers what is in others, by a length that this one does not know.
    #[inline(always)]
    #[must_use]
    pub fn lacks_length(&self, fragment: Fragment) -> bool {
        self.checksum == Checksum::CRC32C && fragment != Fragment::Whole
    }

    /// The ports of a later fragment, which has none itself: there is nothing to write.
    #[inline(always)]
    #[must_use]
    pub const fn elsewhere(src_port: u16, dst_port: u16) -> Self {
        Transport {
            src_port,
            dst_port,
            signals: Signals::DATAGRAM,
            src_port_at: 0,
            dst_port_at: 0,
            checksum_at: 0,
            checksum: Checksum::PLAIN,
            length: 0,
        }
    }

    /// The same headers, of which the verifier forgets how they came about ([`Packet::forget`]):
    /// what follows is walked once instead of once for each protocol.
    #[inline(always)]
    pub fn forget<P: Packet>(&mut self, packet: &P, protocol: &mut u8) {
        let packed = packet.forget(self.pack() | u64::from(*protocol) << 56);
        *protocol = (packed >> 56) as u8;
        *self = Transport::unpack(packed, self.src_port, self.dst_port, self.length);
    }

    /// All but the ports and the length in 56 bits.
    #[inline(always)]
    #[must_use]
    pub fn pack(&self) -> u64 {
        // Offsets lie within the headers that are read, far below 2^14.
        let at = |at: usize, shift: u32| (at as u64 & 0x3fff) << shift;
        at(self.src_port_at, 0)
            | at(self.dst_port_at, 14)
            | at(self.checksum_at, 28)
            | u64::from(self.signals.raw()) << 42
            | u64::from(self.checksum.0) << 50
    }

    /// What [`Transport::pack`] has packed, with its ports and its length.
    #[inline(always)]
    #[must_use]
    pub fn unpack(packed: u64, src_port: u16, dst_port: u16, length: usize) -> Self {
        let at = |shift: u32| (packed >> shift & 0x3fff) as usize;
        Transport {
            src_port,
            dst_port,
            signals: Signals::from_raw((packed >> 42) as u8),
            src_port_at: at(0),
            dst_port_at: at(14),
            checksum_at: at(28),
            checksum: Checksum((packed >> 50 & 3) as u8),
            length,
        }
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
