//! UDP datagrams that are cut by hand, so that their fragments can be sent in any order.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, UdpHeader, ip_number,
};
use portnat::lab::{Namespace, probe};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::at;

/// The orders in which three can come.
pub(crate) const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// How much of a datagram its first two fragments carry, in bytes.
const PIECE: usize = 1000;

/// No two datagrams between two addresses have the same identification while fragments of either
/// are about (RFC 6864).
static NEXT_ID: AtomicU16 = AtomicU16::new(1);

/// Somebody who sends datagrams in three fragments each, and hears the answers.
pub(crate) struct Cutter {
    answers: UdpSocket,
    raw: Socket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Cutter {
    /// From a port of its own in a namespace, whose address is `from`.
    pub(crate) fn new(namespace: &Namespace, from: impl Into<IpAddr>, to: SocketAddr) -> Self {
        let source = Some(at(from, 0));
        let answers = probe::udp_connect(namespace, source, to).expect("a socket");
        // This protocol says that the network header is ours (raw(7)).
        let (domain, raw) = (Domain::for_address(to), Protocol::from(255));
        Cutter {
            from: answers.local_addr().expect("is bound"),
            answers,
            raw: namespace
                .run(|| Socket::new(domain, Type::RAW, Some(raw)))
                .expect("a raw socket"),
            to,
        }
    }

    /// Sends a datagram in three fragments in this order and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&self, payload: &[u8], order: [usize; 3]) -> Vec<u8> {
        self.send(payload, &order);
        let mut answer = vec![0; 1 << 16];
        let length = self.answers.recv(&mut answer);
        answer.truncate(length.unwrap_or_else(|error| panic!("order {order:?}: {error}")));
        answer
    }

    /// Sends these fragments of a datagram.
    pub(crate) fn send(&self, payload: &[u8], numbers: &[usize]) {
        let pieces = self.cut(payload);
        let to = SockAddr::from(at(self.to.ip(), 0));
        for number in numbers {
            self.raw.send_to(&pieces[*number], &to).expect("sent");
        }
    }

    /// Three packets.
    fn cut(&self, payload: &[u8]) -> [Vec<u8>; 3] {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (from, to) = (self.from.port(), self.to.port());
        let udp = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                UdpHeader::with_ipv4_checksum(from, to, &v4(src.octets(), dst.octets()), payload)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                UdpHeader::with_ipv6_checksum(from, to, &v6(src.octets(), dst.octets()), payload)
            }
            _ => panic!("addresses of two families"),
        };
        let datagram = [&udp.expect("fits").to_bytes()[..], payload].concat();
        assert!(datagram.len() > 2 * PIECE, "three pieces");
        let cuts = [0..PIECE, PIECE..2 * PIECE, 2 * PIECE..datagram.len()];
        cuts.map(|cut| {
            let more = cut.end < datagram.len();
            let offset = u16::try_from(cut.start / 8).expect("13 bits");
            let offset = IpFragOffset::try_new(offset).expect("13 bits");
            let carried = &datagram[cut];
            match (self.from.ip(), self.to.ip()) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    let mut ip = v4(src.octets(), dst.octets());
                    ip.set_payload_len(carried.len()).expect("fits");
                    ip.identification = id;
                    (ip.fragment_offset, ip.more_fragments) = (offset, more);
                    ip.header_checksum = ip.calc_header_checksum();
                    [&ip.to_bytes()[..], carried].concat()
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    let fragment = Ipv6FragmentHeader::new(ip_number::UDP, offset, more, id.into());
                    let mut ip = v6(src.octets(), dst.octets());
                    ip.set_payload_length(8 + carried.len()).expect("fits");
                    [&ip.to_bytes()[..], &fragment.to_bytes()[..], carried].concat()
                }
                _ => panic!("addresses of two families"),
            }
        })
    }
}

fn v4(src: [u8; 4], dst: [u8; 4]) -> Ipv4Header {
    let mut ip = Ipv4Header::new(0, 64, ip_number::UDP, src, dst).expect("a sound header");
    ip.dont_fragment = false;
    ip
}

fn v6(source: [u8; 16], destination: [u8; 16]) -> Ipv6Header {
    Ipv6Header {
        next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
        hop_limit: 64,
        source,
        destination,
        ..Ipv6Header::default()
    }
}
