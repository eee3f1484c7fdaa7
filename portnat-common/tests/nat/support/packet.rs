//! Named packets, built by etherparse and crc: their checksums are computed in full, by code that is not
//! ours. A packet that went through the NAT must equal one that was built with the new addresses.

use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type,
    IpDscp, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header,
    TcpHeader, UdpHeader,
};

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// TCP with [`portnat_common::wire::tcp`]'s flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// UDP whose checksum field is 0: it has none.
    UdpUnchecked,
    /// SCTP with one chunk of this type, which the payload is the value of.
    Sctp(u8),
    /// SCTP whose checksum field is 0: a device is to fill it in.
    SctpUnchecked(u8),
    /// An ICMP echo request; its identifier is the source's port.
    EchoRequest,
    /// An ICMP echo reply; its identifier is the destination's port.
    EchoReply,
    /// An ICMP error; the payload is what it quotes.
    FragmentationNeeded,
    /// A protocol that has no ports.
    Protocol(u8),
}

/// A packet, in words.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// From whom.
    pub(crate) src: SocketAddr,
    /// To whom.
    pub(crate) dst: SocketAddr,
    /// What it carries.
    pub(crate) carries: Carries,
    /// Words of IPv4 options (no-operations), 0 to 10; extension headers of IPv6.
    pub(crate) options: usize,
    /// Fragment offset in units of 8 bytes, and whether more follow.
    pub(crate) fragment: (u16, bool),
    /// The identification that its fragments have.
    pub(crate) id: u16,
    /// What it says.
    pub(crate) payload: Vec<u8>,
    /// The acknowledgement number of TCP.
    pub(crate) acknowledges: u32,
}

/// The sequence number of every TCP packet.
const SEQUENCE: u32 = 0x0102_0304;
/// What every packet says.
const PAYLOAD: &[u8] = b"portnat";

/// A packet without options and fragments.
pub(crate) fn packet(carries: Carries, src: &str, dst: &str) -> Packet {
    let address = |text: &str| text.parse().expect("an address and a port");
    Packet {
        src: address(src),
        dst: address(dst),
        carries,
        options: 0,
        fragment: (0, false),
        id: 0x1234,
        payload: PAYLOAD.to_vec(),
        // Of a SYN that says this.
        acknowledges: SEQUENCE + PAYLOAD.len() as u32 + 1,
    }
}

impl Packet {
    /// The same packet with IP options.
    pub(crate) fn with_options(self, options: usize) -> Self {
        Packet { options, ..self }
    }

    /// The same packet as a fragment.
    pub(crate) fn fragment(self, offset: u16, more: bool) -> Self {
        Packet {
            fragment: (offset, more),
            ..self
        }
    }

    /// The same packet with another identification.
    pub(crate) fn with_id(self, id: u16) -> Self {
        Packet { id, ..self }
    }

    /// The packet cut in fragments: behind each of these numbers of 8 bytes of what the network
    /// header carries.
    pub(crate) fn cut(&self, cuts: &[u16]) -> Vec<Packet> {
        let carried = self.transport();
        let ends = cuts.iter().map(|cut| usize::from(*cut) * 8);
        let mut begun = 0;
        ends.chain([carried.len()])
            .map(|end| {
                let piece = Packet {
                    carries: Carries::Protocol(self.protocol().0),
                    fragment: ((begun / 8) as u16, end < carried.len()),
                    payload: carried[begun..end].to_vec(),
                    ..self.clone()
                };
                begun = end;
                piece
            })
            .collect()
    }

    /// The same packet with another payload.
    pub(crate) fn saying(self, payload: &[u8]) -> Self {
        Packet {
            payload: payload.to_vec(),
            ..self
        }
    }

    /// The same packet with another acknowledgement number.
    pub(crate) fn acknowledging(self, acknowledges: u32) -> Self {
        Packet {
            acknowledges,
            ..self
        }
    }

    /// The sequence number that follows what a TCP packet says.
    pub(crate) fn ends_at(&self) -> u32 {
        let marks = match self.carries {
            Carries::Tcp(flags) => (flags & 1) + (flags >> 1 & 1),
            _ => 0,
        };
        SEQUENCE + self.payload.len() as u32 + u32::from(marks)
    }

    /// The packet without a link header.
    pub(crate) fn network(&self) -> Vec<u8> {
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.ipv4(src.octets(), dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.ipv6(src.octets(), dst.octets()),
            _ => panic!("addresses of two families: {self:?}"),
        }
    }

    fn ipv4(&self, src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
        let transport = self.transport();
        let length = u16::try_from(transport.len()).expect("a packet's size");
        let mut ip =
            Ipv4Header::new(length, 64, self.protocol(), src, dst).expect("a sound header");
        ip.options = Ipv4Options::try_from(&vec![1; 4 * self.options][..]).expect("whole words");
        ip.total_len = u16::try_from(ip.header_len()).expect("at most 60") + length;
        ip.identification = self.id;
        ip.dont_fragment = false;
        ip.fragment_offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
        ip.more_fragments = self.fragment.1;
        ip.header_checksum = ip.calc_header_checksum();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).expect("writing to memory");
        bytes.extend(transport);
        bytes
    }

    fn ipv6(&self, src: [u8; 16], dst: [u8; 16]) -> Vec<u8> {
        // From the inside out: each header names what follows it.
        let mut next = self.protocol();
        let mut payload = self.transport();
        if self.fragment != (0, false) {
            let offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
            let header = Ipv6FragmentHeader::new(next, offset, self.fragment.1, self.id.into());
            payload = [&header.to_bytes()[..], &payload].concat();
            next = IpNumber::IPV6_FRAGMENTATION_HEADER;
        }
        for _ in 0..self.options {
            // Destination options of 8 bytes: a pad of 6.
            payload = [&[next.0, 0, 1, 4, 0, 0, 0, 0][..], &payload].concat();
            next = IpNumber::IPV6_DESTINATION_OPTIONS;
        }
        let ip = Ipv6Header {
            payload_length: u16::try_from(payload.len()).expect("a packet's size"),
            next_header: next,
            hop_limit: 64,
            source: src,
            destination: dst,
            ..Ipv6Header::default()
        };
        [&ip.to_bytes()[..], &payload].concat()
    }

    /// The packet as an Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let link = Ethernet2Header {
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, 0, 0, 0, 2],
            ether_type: if self.src.is_ipv4() {
                EtherType::IPV4
            } else {
                EtherType::IPV6
            },
        };
        let mut bytes = link.to_bytes().to_vec();
        bytes.extend(self.network());
        bytes
    }

    fn protocol(&self) -> IpNumber {
        match self.carries {
            Carries::Tcp(_) => IpNumber::TCP,
            Carries::Udp | Carries::UdpUnchecked => IpNumber::UDP,
            Carries::EchoRequest | Carries::EchoReply | Carries::FragmentationNeeded => {
                if self.src.is_ipv4() {
                    IpNumber::ICMP
                } else {
                    IpNumber::IPV6_ICMP
                }
            }
            Carries::Sctp(_) | Carries::SctpUnchecked(_) => IpNumber::SCTP,
            Carries::Protocol(number) => IpNumber(number),
        }
    }

    fn transport(&self) -> Vec<u8> {
        if self.fragment.0 > 0 {
            return self.payload.clone();
        }
        let (src_port, dst_port) = (self.src.port(), self.dst.port());
        let payload = &self.payload[..];
        let mut bytes = match self.carries {
            Carries::Tcp(flags) => {
                let mut tcp = TcpHeader::new(src_port, dst_port, SEQUENCE, 4096);
                tcp.acknowledgment_number = self.acknowledges;
                (tcp.fin, tcp.syn) = (flags & 1 != 0, flags & 2 != 0);
                (tcp.rst, tcp.ack) = (flags & 4 != 0, flags & 16 != 0);
                tcp.checksum = self.checksum(
                    |src, dst| {
                        tcp.calc_checksum_ipv4_raw(src, dst, payload)
                            .expect("short")
                    },
                    |src, dst| {
                        tcp.calc_checksum_ipv6_raw(src, dst, payload)
                            .expect("short")
                    },
                );
                tcp.to_bytes().to_vec()
            }
            Carries::Udp | Carries::UdpUnchecked => {
                let mut udp = UdpHeader::without_ipv4_checksum(src_port, dst_port, payload.len())
                    .expect("short");
                if self.carries == Carries::Udp {
                    udp.checksum = self.checksum(
                        |src, dst| {
                            udp.calc_checksum_ipv4_raw(src, dst, payload)
                                .expect("short")
                        },
                        |src, dst| {
                            udp.calc_checksum_ipv6_raw(src, dst, payload)
                                .expect("short")
                        },
                    );
                }
                udp.to_bytes().to_vec()
            }
            Carries::EchoRequest => {
                let echo = IcmpEchoHeader {
                    id: src_port,
                    seq: 1,
                };
                self.icmp(Icmpv4Type::EchoRequest(echo), Icmpv6Type::EchoRequest(echo))
            }
            Carries::EchoReply => {
                let echo = IcmpEchoHeader {
                    id: dst_port,
                    seq: 1,
                };
                self.icmp(Icmpv4Type::EchoReply(echo), Icmpv6Type::EchoReply(echo))
            }
            Carries::FragmentationNeeded => {
                let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
                self.icmp(
                    Icmpv4Type::DestinationUnreachable(header),
                    Icmpv6Type::PacketTooBig { mtu: 1400 },
                )
            }
            Carries::Sctp(chunk) => self.sctp(chunk, |bytes| {
                Crc::<u32>::new(&CRC_32_ISCSI).checksum(bytes)
            }),
            Carries::SctpUnchecked(chunk) => self.sctp(chunk, |_| 0),
            Carries::Protocol(_) => Vec::new(),
        };
        bytes.extend(payload);
        bytes
    }

    /// The headers of SCTP and of its chunk; `checksum` is asked about the whole.
    fn sctp(&self, chunk: u8, checksum: impl Fn(&[u8]) -> u32) -> Vec<u8> {
        let length = u16::try_from(4 + self.payload.len()).expect("a chunk's size");
        let mut bytes = Vec::new();
        bytes.extend(self.src.port().to_be_bytes());
        bytes.extend(self.dst.port().to_be_bytes());
        bytes.extend([1, 2, 3, 4, 0, 0, 0, 0, chunk, 0]);
        bytes.extend(length.to_be_bytes());
        let whole = [&bytes[..], &self.payload].concat();
        bytes[8..12].copy_from_slice(&checksum(&whole).to_le_bytes());
        bytes
    }

    /// A checksum by the packet's family.
    fn checksum(
        &self,
        v4: impl Fn([u8; 4], [u8; 4]) -> u16,
        v6: impl Fn([u8; 16], [u8; 16]) -> u16,
    ) -> u16 {
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => v4(src.octets(), dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => v6(src.octets(), dst.octets()),
            _ => panic!("addresses of two families: {self:?}"),
        }
    }

    /// An ICMP header by the packet's family.
    fn icmp(&self, v4: Icmpv4Type, v6: Icmpv6Type) -> Vec<u8> {
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Icmpv6Header::with_checksum(v6, src.octets(), dst.octets(), &self.payload)
                    .expect("short")
                    .to_bytes()
                    .to_vec()
            }
            _ => Icmpv4Header::with_checksum(v4, &self.payload)
                .to_bytes()
                .to_vec(),
        }
    }
}

/// The frame of a router's ICMP error about a packet, in that packet's place: by the family one type
/// or the other, quoting no more than 8 bytes of the transport header.
pub(crate) fn error_about(
    source: IpAddr,
    about: &Packet,
    v4: Icmpv4Type,
    v6: Icmpv6Type,
) -> Vec<u8> {
    let network = about.network();
    let transport = about.transport().len();
    let quoted = &network[..network.len() - transport + 8];
    let mut frame = about.frame();
    frame.truncate(14);
    match (source, about.src.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let icmp = Icmpv4Header::with_checksum(v4, quoted).to_bytes();
            let length = u16::try_from(icmp.len() + quoted.len()).expect("short");
            let mut ip = Ipv4Header::new(length, 64, IpNumber::ICMP, src.octets(), dst.octets())
                .expect("short");
            ip.dscp = IpDscp::CS6;
            ip.header_checksum = ip.calc_header_checksum();
            frame.extend(ip.to_bytes());
            frame.extend(&icmp[..]);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (source, destination) = (src.octets(), dst.octets());
            let icmp = Icmpv6Header::with_checksum(v6, source, destination, quoted)
                .expect("short")
                .to_bytes();
            let ip = Ipv6Header {
                payload_length: u16::try_from(icmp.len() + quoted.len()).expect("short"),
                next_header: IpNumber::IPV6_ICMP,
                hop_limit: 64,
                source,
                destination,
                ..Ipv6Header::default()
            };
            frame.extend(ip.to_bytes());
            frame.extend(&icmp[..]);
        }
        _ => panic!("addresses of two families: {about:?}"),
    }
    frame.extend(quoted);
    frame
}

/// "Communication administratively prohibited", see [`error_about`].
pub(crate) fn prohibited(source: IpAddr, about: &Packet) -> Vec<u8> {
    error_about(
        source,
        about,
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FilterProhibited),
        Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Prohibited),
    )
}
