//! The state of a flow: what its two directions have seen, and how long it lives for that.
//!
//! Each direction collects what it has seen in its own entry; the state is a function of both.
//! Nothing else is stored, so two CPUs that carry the two directions cannot disagree about it.

use crate::flow::{Flow, HALF_OPEN};
use crate::settings::{Lifetimes, Ticks};
use crate::wire::{protocol, tcp};

/// This direction has been heard: TCP with an acknowledgement, any other protocol at all.
pub const HEARD: u64 = 1;
/// This direction has sent a FIN.
pub const FIN: u64 = 2;
/// This direction has sent an RST.
pub const RST: u64 = 4;

/// The flow is dead, see `docs/flow-protocol.md`: what comes may open another.
pub const DEAD: u64 = 8;
/// Where in what a direction has seen the acknowledgement number lies that the other side owes it:
/// in the upper half.
pub const EXPECTED: u32 = 32;

/// What a packet with these TCP flags adds to what its direction has seen.
#[inline(always)]
#[must_use]
pub const fn observed(protocol: u8, tcp_flags: u8) -> u64 {
    if protocol != protocol::TCP {
        return HEARD;
    }
    let mut seen = 0;
    if tcp_flags & tcp::ACK != 0 {
        seen |= HEARD;
    }
    if tcp_flags & tcp::FIN != 0 {
        seen |= FIN;
    }
    if tcp_flags & tcp::RST != 0 {
        seen |= RST;
    }
    seen
}

/// Whether these TCP flags open a connection: a SYN that acknowledges nothing.
#[inline(always)]
#[must_use]
pub const fn opens(protocol: u8, tcp_flags: u8) -> bool {
    protocol == protocol::TCP && tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP before both sides have acknowledged.
    Opening,
    /// TCP in full flight.
    Established,
    /// TCP after a FIN or RST of either side.
    Closing,
    /// UDP that nobody has answered.
    Unanswered,
    /// UDP with an answer.
    Answered,
    /// An ICMP query.
    Query,
}

impl State {
    /// The state of a flow whose directions have seen `original` and `reply`.
    #[inline(always)]
    #[must_use]
    pub const fn of(protocol: u8, original: u64, reply: u64) -> State {
        match protocol {
            protocol::TCP if (original | reply) & (FIN | RST) != 0 => State::Closing,
            protocol::TCP if original & reply & HEARD != 0 => State::Established,
            protocol::TCP => State::Opening,
            protocol::UDP if reply & HEARD != 0 => State::Answered,
            protocol::UDP => State::Unanswered,
            _ => State::Query,
        }
    }

    /// How long a flow in this state lives without a packet.
    #[inline(always)]
    #[must_use]
    pub const fn lifetime(self, lifetimes: &Lifetimes) -> Ticks {
        match self {
            State::Opening => lifetimes.tcp_opening,
            State::Established => lifetimes.tcp_established,
            State::Closing => lifetimes.tcp_closing,
            State::Unanswered => lifetimes.udp_unanswered,
            State::Answered => lifetimes.udp_answered,
            State::Query => lifetimes.icmp,
        }
    }
}

impl<C> Flow<C> {
    /// How long a flow of which this is one direction lives without a packet, in this state.
    #[inline(always)]
    #[must_use]
    pub const fn lifetime(&self, protocol: u8, state: State, lifetimes: &Lifetimes) -> Ticks {
        match protocol {
            _ if self.flags & HALF_OPEN == 0 => state.lifetime(lifetimes),
            protocol::TCP => lifetimes.tcp_opening,
            protocol::UDP => lifetimes.udp_half_open,
            _ => state.lifetime(lifetimes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table: what both directions have sent, and the state after it.
    #[test]
    fn tcp_state_by_what_was_seen() {
        let seen = |flags: &[u8]| {
            flags
                .iter()
                .fold(0, |seen, flags| seen | observed(protocol::TCP, *flags))
        };
        let table: &[(&str, &[u8], &[u8], State)] = &[
            ("SYN", &[tcp::SYN], &[], State::Opening),
            (
                "SYN, SYN-ACK",
                &[tcp::SYN],
                &[tcp::SYN | tcp::ACK],
                State::Opening,
            ),
            (
                "handshake",
                &[tcp::SYN, tcp::ACK],
                &[tcp::SYN | tcp::ACK],
                State::Established,
            ),
            (
                "refused",
                &[tcp::SYN],
                &[tcp::RST | tcp::ACK],
                State::Closing,
            ),
            (
                "client FIN",
                &[tcp::ACK, tcp::FIN | tcp::ACK],
                &[tcp::ACK],
                State::Closing,
            ),
            (
                "server FIN",
                &[tcp::ACK],
                &[tcp::FIN | tcp::ACK],
                State::Closing,
            ),
            (
                "client RST",
                &[tcp::ACK, tcp::RST],
                &[tcp::ACK],
                State::Closing,
            ),
            ("picked up, one side", &[tcp::ACK], &[], State::Opening),
            (
                "picked up, both sides",
                &[tcp::ACK],
                &[tcp::ACK],
                State::Established,
            ),
        ];
        for (name, original, reply, state) in table {
            assert_eq!(
                State::of(protocol::TCP, seen(original), seen(reply)),
                *state,
                "{name}"
            );
        }
    }

    #[test]
    fn udp_and_queries() {
        let heard = observed(protocol::UDP, 0);
        assert_eq!(State::of(protocol::UDP, heard, 0), State::Unanswered);
        assert_eq!(State::of(protocol::UDP, heard, heard), State::Answered);
        assert_eq!(State::of(protocol::ICMP, heard, 0), State::Query);
    }

    #[test]
    fn only_a_plain_syn_opens() {
        assert!(opens(protocol::TCP, tcp::SYN));
        assert!(
            opens(protocol::TCP, tcp::SYN | 0xc0),
            "with ECN setup, RFC 3168"
        );
        for flags in [
            tcp::SYN | tcp::ACK,
            tcp::SYN | tcp::RST,
            tcp::SYN | tcp::FIN,
            tcp::ACK,
        ] {
            assert!(!opens(protocol::TCP, flags), "{flags:#x}");
        }
        assert!(!opens(protocol::UDP, tcp::SYN));
    }

    /// RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2.
    #[test]
    fn lifetimes_are_what_the_rfcs_ask_for() {
        let lifetimes = Lifetimes::standard(1);
        assert!(State::Established.lifetime(&lifetimes) >= Ticks(7440));
        assert!(State::Closing.lifetime(&lifetimes) >= Ticks(240));
        assert!(State::Unanswered.lifetime(&lifetimes) >= Ticks(120));
        assert!(State::Answered.lifetime(&lifetimes) >= Ticks(300));
        assert!(State::Query.lifetime(&lifetimes) >= Ticks(60));
    }
}
