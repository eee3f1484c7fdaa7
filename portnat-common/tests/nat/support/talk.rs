//! What was said last, so that there can be answers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use portnat_common::wire::sctp::chunk;
use portnat_common::wire::tcp;

use super::packet::{Carries, Packet};
use super::traffic::{Lie, Step};

/// How many packets back there are answers.
const REMEMBERED: usize = 8;

/// A packet that was translated.
#[derive(Clone, Debug)]
struct Translated {
    inbound: bool,
    before: Packet,
    after: Packet,
}

/// The packets that were translated last, the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    recent: VecDeque<Translated>,
}

impl Talk {
    /// The packet of a step, and whether it comes in; `None` if the step is none or there is nothing
    /// to answer yet.
    pub(crate) fn packet(&self, step: &Step) -> Option<(bool, Packet, Option<Lie>)> {
        match step {
            Step::Say {
                inbound,
                packet,
                lie,
            } => Some((*inbound, packet.clone(), *lie)),
            Step::Answer { back, flags, right } => {
                let recent = self.recent.get(*back)?;
                let answer = answer_to(&recent.after, *flags, *right);
                Some((!recent.inbound, answer, None))
            }
            Step::Again { back, flags } => {
                let recent = self.recent.get(*back)?;
                let mut again = recent.before.clone();
                if let Carries::Tcp(said) = &mut again.carries {
                    *said = *flags;
                }
                Some((recent.inbound, again, None))
            }
            Step::Onward { back } => {
                let recent = self.recent.get(*back).filter(|recent| recent.inbound)?;
                Some((false, recent.after.clone(), None))
            }
            Step::Pass(_) | Step::Toggle(_) | Step::Sweep => None,
        }
    }

    /// A packet became this.
    pub(crate) fn remember(&mut self, inbound: bool, before: Packet, after: Packet) {
        self.recent.push_front(Translated {
            inbound,
            before,
            after,
        });
        self.recent.truncate(REMEMBERED);
    }
}

/// What answers a packet. A SYN is mostly answered as it should be, whatever `flags` say, and so is SCTP.
fn answer_to(packet: &Packet, flags: u8, right: bool) -> Packet {
    let carries = match packet.carries {
        Carries::Tcp(asked) if asked & (tcp::SYN | tcp::ACK) == tcp::SYN && flags == tcp::ACK => {
            Carries::Tcp(tcp::SYN | tcp::ACK)
        }
        Carries::Tcp(_) => Carries::Tcp(flags),
        Carries::Sctp(asked) => Carries::Sctp(match asked {
            _ if flags & tcp::RST != 0 => chunk::ABORT,
            chunk::INIT => chunk::INIT_ACK,
            chunk::INIT_ACK => chunk::COOKIE_ECHO,
            chunk::COOKIE_ECHO => chunk::COOKIE_ACK,
            _ => chunk::DATA,
        }),
        Carries::EchoRequest => Carries::EchoReply,
        Carries::EchoReply => Carries::EchoRequest,
        other => other,
    };
    Packet {
        src: packet.dst,
        dst: packet.src,
        carries,
        acknowledges: packet.ends_at().wrapping_sub(u32::from(!right)),
        ..packet.clone()
    }
}

/// A packet's frame, with the lie in it.
pub(crate) fn falsified(packet: &Packet, lie: Option<Lie>) -> Vec<u8> {
    let mut frame = packet.frame();
    let v4 = packet.src.is_ipv4();
    // Where the length lies, and how long the headers before the transport header are, as it counts.
    let (at, headers) = if v4 {
        (16, 20 + 4 * packet.options)
    } else {
        (18, 8 * packet.options)
    };
    let fragment_header = if v4 || packet.fragment == (0, false) {
        0
    } else {
        8
    };
    match lie {
        None | Some(Lie::Place) => {}
        Some(Lie::Version) => frame[14] ^= 0x30,
        Some(Lie::TooLong) => frame[at..at + 2].fill(0xff),
        Some(Lie::TooShort) => {
            let length = (headers + fragment_header + 3) as u16;
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
    }
    frame
}

/// What a packet has become, as its frame says.
pub(crate) fn reread(packet: &Packet, frame: &[u8]) -> Packet {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let (src, dst, transport): (IpAddr, IpAddr, _) = if packet.src.is_ipv4() {
        let ip = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).expect("four bytes");
        (ip(26).into(), ip(30).into(), 34 + 4 * packet.options)
    } else {
        let ip = |at: usize| <[u8; 16]>::try_from(&frame[at..at + 16]).expect("16 bytes");
        (ip(22).into(), ip(38).into(), 54 + 8 * packet.options)
    };
    let (src_port, dst_port) = match packet.carries {
        Carries::EchoRequest => (port(transport + 4), 0),
        Carries::EchoReply => (0, port(transport + 4)),
        _ => (port(transport), port(transport + 2)),
    };
    Packet {
        src: SocketAddr::new(src, src_port),
        dst: SocketAddr::new(dst, dst_port),
        ..packet.clone()
    }
}
