//! Named packets, built by etherparse: its checksums are computed in full, by code that is not
//! ours. A packet that went through the NAT must equal one that was built with the new addresses.

use std::net::SocketAddrV4;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber,
    Ipv4Header, Ipv4Options, TcpHeader, UdpHeader,
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
    pub(crate) src: SocketAddrV4,
    /// To whom.
    pub(crate) dst: SocketAddrV4,
    /// What it carries.
    pub(crate) carries: Carries,
    /// Words of IP options (no-operations), 0 to 10.
    pub(crate) options: usize,
    /// Fragment offset in units of 8 bytes, and whether more follow.
    pub(crate) fragment: (u16, bool),
    /// What it says.
    pub(crate) payload: Vec<u8>,
}

/// A packet without options and fragments.
pub(crate) fn packet(carries: Carries, src: &str, dst: &str) -> Packet {
    let address = |text: &str| text.parse().expect("an address and a port");
    Packet {
        src: address(src),
        dst: address(dst),
        carries,
        options: 0,
        fragment: (0, false),
        payload: b"portnat".to_vec(),
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

    /// The same packet with another payload.
    pub(crate) fn saying(self, payload: &[u8]) -> Self {
        Packet {
            payload: payload.to_vec(),
            ..self
        }
    }

    /// The packet without a link header.
    pub(crate) fn network(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut ip = Ipv4Header::new(
            u16::try_from(transport.len()).expect("a packet's size"),
            64,
            self.protocol(),
            self.src.ip().octets(),
            self.dst.ip().octets(),
        )
        .expect("a sound header");
        ip.options = Ipv4Options::try_from(&vec![1; 4 * self.options][..]).expect("whole words");
        ip.total_len = u16::try_from(ip.header_len() + transport.len()).expect("a packet's size");
        ip.identification = 0x1234;
        ip.dont_fragment = false;
        ip.fragment_offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
        ip.more_fragments = self.fragment.1;
        ip.header_checksum = ip.calc_header_checksum();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).expect("writing to memory");
        bytes.extend(transport);
        bytes
    }

    /// The packet as an Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let link = Ethernet2Header {
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, 0, 0, 0, 2],
            ether_type: EtherType::IPV4,
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
                IpNumber::ICMP
            }
            Carries::Protocol(number) => IpNumber(number),
        }
    }

    fn transport(&self) -> Vec<u8> {
        if self.fragment.0 > 0 {
            return self.payload.clone();
        }
        let (src, dst) = (self.src.ip().octets(), self.dst.ip().octets());
        let (src_port, dst_port) = (self.src.port(), self.dst.port());
        let payload = &self.payload[..];
        let mut bytes = Vec::new();
        match self.carries {
            Carries::Tcp(flags) => {
                let mut tcp = TcpHeader::new(src_port, dst_port, 0x0102_0304, 4096);
                tcp.acknowledgment_number = 0x0506_0708;
                (tcp.fin, tcp.syn) = (flags & 1 != 0, flags & 2 != 0);
                (tcp.rst, tcp.ack) = (flags & 4 != 0, flags & 16 != 0);
                tcp.checksum = tcp
                    .calc_checksum_ipv4_raw(src, dst, payload)
                    .expect("short");
                bytes.extend(tcp.to_bytes());
            }
            Carries::Udp => {
                let mut udp = UdpHeader::without_ipv4_checksum(src_port, dst_port, payload.len())
                    .expect("short");
                udp.checksum = udp
                    .calc_checksum_ipv4_raw(src, dst, payload)
                    .expect("short");
                bytes.extend(udp.to_bytes());
            }
            Carries::UdpUnchecked => {
                let udp = UdpHeader::without_ipv4_checksum(src_port, dst_port, payload.len())
                    .expect("short");
                bytes.extend(udp.to_bytes());
            }
            Carries::EchoRequest => {
                let echo = IcmpEchoHeader {
                    id: src_port,
                    seq: 1,
                };
                let kind = Icmpv4Type::EchoRequest(echo);
                bytes.extend(Icmpv4Header::with_checksum(kind, payload).to_bytes());
            }
            Carries::EchoReply => {
                let echo = IcmpEchoHeader {
                    id: dst_port,
                    seq: 1,
                };
                let kind = Icmpv4Type::EchoReply(echo);
                bytes.extend(Icmpv4Header::with_checksum(kind, payload).to_bytes());
            }
            Carries::FragmentationNeeded => {
                let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
                let kind = Icmpv4Type::DestinationUnreachable(header);
                bytes.extend(Icmpv4Header::with_checksum(kind, payload).to_bytes());
            }
            Carries::Protocol(_) => {}
        }
        bytes.extend(payload);
        bytes
    }
}
