//! What a packet says and what the host looks like, in the model's words.

use std::net::{IpAddr, SocketAddr};

use portnat_common::DropReason;
use portnat_common::wire::sctp::chunk;
use portnat_common::wire::tcp;

use super::flow::{Pair, Side};
use super::naive::Verdict;
use crate::support::packet::{Carries, Packet};
use crate::support::traffic::{HOSTS_OWN_PORT, Lie, SLOTS, Who};

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) side: Side,
    /// It comes in by the uplink, and not by a bridge's port.
    pub(crate) from_uplink: bool,
    /// The bridge that it goes out by, if it is a bridge.
    pub(crate) towards_bridge: Option<u8>,
    pub(crate) protocol: u8,
    pub(crate) pair: Pair,
    /// The flags of TCP.
    pub(crate) flags: Option<u8>,
    /// The chunk of SCTP.
    pub(crate) chunk: Option<u8>,
    pub(crate) acknowledges: u32,
    pub(crate) ends_at: u32,
    pub(crate) is_echo_reply: bool,
    /// Not even its addresses can be believed.
    pub(crate) is_nonsense: bool,
    pub(crate) untranslatable: Option<DropReason>,
}

impl Said {
    pub(crate) fn new(inbound: bool, packet: &Packet, lie: Option<Lie>) -> Self {
        let mut pair = Pair {
            src: packet.src,
            dst: packet.dst,
        };
        let icmp = if packet.src.is_ipv4() { 1 } else { 58 };
        let (mut flags, mut chunk) = (None, None);
        let protocol = match packet.carries {
            Carries::Tcp(tcp_flags) => {
                flags = Some(tcp_flags);
                6
            }
            Carries::Udp | Carries::UdpUnchecked => 17,
            Carries::Sctp(kind) | Carries::SctpUnchecked(kind) => {
                chunk = Some(kind);
                132
            }
            Carries::EchoRequest => {
                pair.dst.set_port(0);
                icmp
            }
            Carries::EchoReply => {
                pair.src.set_port(0);
                icmp
            }
            Carries::FragmentationNeeded => icmp,
            Carries::Protocol(number) => number,
        };
        let untranslatable = match packet.carries {
            Carries::Protocol(_) => Some(DropReason::UnsupportedProtocol),
            _ if lie == Some(Lie::TooShort) => Some(DropReason::Malformed),
            _ => None,
        };
        Said {
            side: if inbound { Side::In } else { Side::Out },
            from_uplink: bridge(packet.src.ip()).is_none() || lie == Some(Lie::Place),
            towards_bridge: bridge(packet.dst.ip()).filter(|_| !inbound),
            protocol,
            pair,
            flags,
            chunk,
            acknowledges: packet.acknowledges,
            ends_at: packet.ends_at(),
            is_echo_reply: packet.carries == Carries::EchoReply,
            is_nonsense: matches!(lie, Some(Lie::Version | Lie::TooLong)),
            untranslatable,
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.is_some_and(|flags| flags & flag != 0)
    }

    fn is_chunk(&self, kinds: &[u8]) -> bool {
        self.chunk.is_some_and(|kind| kinds.contains(&kind))
    }

    /// A SYN that acknowledges nothing, or an INIT.
    pub(crate) fn opens(&self) -> bool {
        let syn = self.has(tcp::SYN) && !self.has(tcp::ACK | tcp::RST | tcp::FIN);
        syn || self.is_chunk(&[chunk::INIT])
    }

    /// Who sends this knows of the other end.
    pub(crate) fn is_heard(&self) -> bool {
        match self.flags {
            Some(flags) => flags & tcp::ACK != 0,
            None => !self.resets() && !self.is_chunk(&[chunk::INIT, chunk::INIT_ACK]),
        }
    }

    /// It ends a connection at once.
    pub(crate) fn resets(&self) -> bool {
        self.has(tcp::RST) || self.is_chunk(&[chunk::ABORT, chunk::SHUTDOWN_COMPLETE])
    }

    /// It can only be an answer, and begins nothing.
    pub(crate) fn is_answer(&self) -> bool {
        self.is_echo_reply
            || self.resets()
            || (self.has(tcp::SYN) && self.has(tcp::ACK))
            || self.is_chunk(&[chunk::INIT_ACK, chunk::COOKIE_ACK])
    }
}

/// A published port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) id: u32,
    pub(crate) protocol: u8,
    pub(crate) at: SocketAddr,
    pub(crate) target: SocketAddr,
}

/// The host as it is at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) ipv6: bool,
    pub(crate) now: u64,
    pub(crate) ports: Vec<Port>,
    /// How many ports were ever published.
    ids: u32,
}

impl Ground {
    pub(crate) fn new(ipv6: bool) -> Self {
        Ground {
            ipv6,
            now: 0,
            ports: Vec::new(),
            ids: 0,
        }
    }

    /// Publishes what [`SLOTS`] has there, or no more; says as what.
    pub(crate) fn toggle(&mut self, slot: usize) -> (Port, bool) {
        let slot = &SLOTS[slot];
        let at = SocketAddr::new(slot.address(self.ipv6), slot.port);
        let is_this = |port: &Port| port.protocol == slot.protocol && port.at == at;
        if let Some(number) = self.ports.iter().position(is_this) {
            return (self.ports.remove(number), false);
        }
        self.ids += 1;
        let port = Port {
            id: self.ids,
            protocol: slot.protocol,
            at,
            target: slot.target(self.ipv6),
        };
        self.ports.push(port);
        (port, true)
    }

    /// What comes in and is nobody's passes, but not from outside to a container itself.
    pub(crate) fn leave(&self, said: &Said) -> Verdict {
        let Pair { src, dst } = said.pair;
        let (from, to) = (bridge(src.ip()), bridge(dst.ip()));
        // A neighbour would not have come by the uplink, and the host says nothing to its other networks
        // that would come in.
        let is_lie = match from == to {
            true => said.from_uplink,
            false => self.owns(src.ip()),
        };
        let is_outside = from.is_none() || is_lie;
        if to.is_some() && is_outside && !self.owns(dst.ip()) {
            Verdict::Drop(DropReason::DirectAccess)
        } else {
            Verdict::Pass
        }
    }

    fn owns(&self, ip: IpAddr) -> bool {
        [Who::Host, Who::Gateway, Who::Loopback]
            .iter()
            .any(|who| who.address(self.ipv6) == ip)
    }

    /// Which bridge an address belongs to; both are masqueraded.
    pub(crate) fn bridge(&self, end: SocketAddr) -> Option<u8> {
        bridge(end.ip())
    }

    pub(crate) fn masquerades(&self, end: SocketAddr) -> bool {
        bridge(end.ip()).is_some()
    }

    /// The address that masqueraded packets get.
    pub(crate) fn lends(&self, bridge: Option<u8>) -> IpAddr {
        match bridge {
            Some(17) => Who::Gateway.address(self.ipv6),
            _ => Who::Host.address(self.ipv6),
        }
    }

    /// Source ports that are neither the host's own nor well known.
    pub(crate) fn pool(&self, port: u16) -> bool {
        port >= 1024 && !(32768..=60999).contains(&port)
    }

    /// A socket of the host has it.
    pub(crate) fn uses(&self, protocol: u8, port: u16) -> bool {
        protocol == 17 && port == HOSTS_OWN_PORT
    }

    pub(crate) fn publishes_anywhere(&self, protocol: u8, port: u16) -> bool {
        self.ports
            .iter()
            .any(|published| published.protocol == protocol && published.at.port() == port)
    }

    /// Whether a masqueraded packet may keep this source port, if the host itself does not use it.
    pub(crate) fn may_lend(&self, protocol: u8, port: u16) -> bool {
        self.pool(port) && !self.publishes_anywhere(protocol, port)
    }

    /// The port that a packet asks for: published at its very address, or at every one of the host's.
    /// What only the host itself may say to itself asks for none.
    pub(crate) fn published_for(&self, said: &Said) -> Option<&Port> {
        let Said { protocol, pair, .. } = *said;
        let at = pair.dst;
        if pair.src.ip().is_loopback() {
            return None;
        }
        let find = |ip: IpAddr| {
            let at = SocketAddr::new(ip, at.port());
            self.ports
                .iter()
                .find(|port| port.protocol == protocol && port.at == at)
        };
        find(at.ip()).or_else(|| find(self.any()).filter(|_| self.owns(at.ip())))
    }

    /// The port that speaks for a target: the first of those that lead to it.
    pub(crate) fn speaks_for(&self, protocol: u8, target: SocketAddr) -> Option<&Port> {
        let leads_there = |port: &&Port| port.protocol == protocol && port.target == target;
        let ports = self.ports.iter().filter(leads_there);
        ports.min_by_key(|port| port.at)
    }

    /// What a published port's own packets come from.
    pub(crate) fn outside_of(&self, port: &Port, lent: IpAddr) -> SocketAddr {
        let ip = if port.at.ip() == self.any() {
            lent
        } else {
            port.at.ip()
        };
        SocketAddr::new(ip, port.at.port())
    }

    fn any(&self) -> IpAddr {
        if self.ipv6 {
            [0; 16].into()
        } else {
            [0; 4].into()
        }
    }
}

fn bridge(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [172, number @ (17 | 18), ..] => Some(number),
            _ => None,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0xfd00, 0x17, ..] => Some(17),
            [0xfd00, 0x18, ..] => Some(18),
            _ => None,
        },
    }
}
