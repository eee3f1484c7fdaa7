//! The state of a flow: what its two directions have seen, and how long it lives for that.
//!
//! Each direction collects what it has seen in its own entry; the state is a function of both.
//! Nothing else is stored, so two CPUs that carry the two directions cannot disagree about it.

use crate::flow::{Flow, HALF_OPEN};
use crate::settings::{Lifetimes, Ticks};
use crate::wire::protocol;

/// This direction has been heard: TCP with an acknowledgement, SCTP with more than INIT and INIT ACK,
/// any other protocol at all.
pub const HEARD: u64 = 1;
/// This direction has sent a FIN.
pub const FIN: u64 = 2;
/// This direction has sent an RST, or in SCTP an ABORT or SHUTDOWN COMPLETE.
pub const RST: u64 = 4;

/// The flow is dead, see `docs/flow-protocol.md`: what comes may open another.
pub const DEAD: u64 = 8;
/// Where in what a direction has seen the acknowledgement number lies that the other side owes it:
/// in the upper half.
pub const EXPECTED: u32 = 32;

/// The state of a flow: the number of its life time in [`Lifetimes`].
///
/// Looked up, and not an enum: the verifier would follow each branch through everything behind it,
/// the search for a port among that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct State(u8);

impl State {
    /// TCP before both sides have acknowledged.
    pub const TCP_OPENING: State = State(0);
    /// TCP in full flight.
    pub const TCP_ESTABLISHED: State = State(1);
    /// TCP after a FIN or RST of either side.
    pub const TCP_CLOSING: State = State(2);
    /// SCTP before both sides know of the association.
    pub const SCTP_OPENING: State = State(3);
    /// SCTP with an association.
    pub const SCTP_ESTABLISHED: State = State(4);
    /// SCTP after an ABORT or SHUTDOWN COMPLETE of either side.
    pub const SCTP_CLOSING: State = State(5);
    /// UDP that nobody has answered.
    pub const UDP_UNANSWERED: State = State(6);
    /// UDP with an answer.
    pub const UDP_ANSWERED: State = State(7);
    /// UDP that an outsider has opened and not confirmed.
    pub const UDP_HALF_OPEN: State = State(8);
    /// An ICMP query.
    pub const QUERY: State = State(9);
    /// How many there are.
    pub const COUNT: usize = 10;

    /// The state of a flow whose directions have seen `original` and `reply`.
    #[inline(always)]
    #[must_use]
    pub const fn of(protocol: u8, original: u64, reply: u64) -> State {
        let of_protocol = protocol::class(protocol) as u64;
        State(STATES[(of_protocol << 6 | (original & ALL) << 3 | reply & ALL) as usize & 0xff])
    }

    /// Whether the connection has been ended by either side.
    #[inline(always)]
    #[must_use]
    pub const fn is_closing(self) -> bool {
        matches!(self, State::TCP_CLOSING | State::SCTP_CLOSING)
    }

    /// How long a flow in this state lives without a packet.
    #[inline(always)]
    #[must_use]
    pub fn lifetime(self, lifetimes: &Lifetimes) -> Ticks {
        let all: &[Ticks; State::COUNT] = bytemuck::cast_ref(lifetimes);
        all.get(usize::from(self.0)).copied().unwrap_or_default()
    }
}

impl<C> Flow<C> {
    /// How long a flow of which this is one direction lives without a packet, in this state.
    #[inline(always)]
    #[must_use]
    pub fn lifetime(&self, protocol: u8, state: State, lifetimes: &Lifetimes) -> Ticks {
        let state = match protocol::class(protocol) {
            _ if self.flags & HALF_OPEN == 0 => state,
            protocol::CLASS_TCP => State::TCP_OPENING,
            protocol::CLASS_SCTP => State::SCTP_OPENING,
            _ => State::UDP_HALF_OPEN,
        };
        state.lifetime(lifetimes)
    }
}

/// All that a direction can have seen.
const ALL: u64 = HEARD | FIN | RST;

/// By the class of the protocol and what both directions have seen, three bits each.
const STATES: [u8; 256] = {
    let mut states = [0; 256];
    let mut index = 0;
    while index < states.len() {
        let (original, reply) = (index as u64 >> 3 & ALL, index as u64 & ALL);
        let connection = if (original | reply) & (FIN | RST) != 0 {
            2
        } else {
            (original & reply & HEARD) as u8
        };
        states[index] = match (index >> 6) as u8 {
            protocol::CLASS_TCP => State::TCP_OPENING.0 + connection,
            protocol::CLASS_SCTP => State::SCTP_OPENING.0 + connection,
            protocol::CLASS_UDP => State::UDP_UNANSWERED.0 + (reply & HEARD) as u8,
            _ => State::QUERY.0,
        };
        index += 1;
    }
    states
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Signals;
    use crate::wire::sctp::chunk;
    use crate::wire::tcp;

    /// The table: what both directions have sent, and the state after it.
    #[test]
    fn tcp_state_by_what_was_seen() {
        let seen = |flags: &[u8]| {
            flags
                .iter()
                .fold(0, |seen, flags| seen | Signals::tcp(*flags).observed())
        };
        let table: &[(&str, &[u8], &[u8], State)] = &[
            ("SYN", &[tcp::SYN], &[], State::TCP_OPENING),
            (
                "SYN, SYN-ACK",
                &[tcp::SYN],
                &[tcp::SYN | tcp::ACK],
                State::TCP_OPENING,
            ),
            (
                "handshake",
                &[tcp::SYN, tcp::ACK],
                &[tcp::SYN | tcp::ACK],
                State::TCP_ESTABLISHED,
            ),
            (
                "refused",
                &[tcp::SYN],
                &[tcp::RST | tcp::ACK],
                State::TCP_CLOSING,
            ),
            (
                "client FIN",
                &[tcp::ACK, tcp::FIN | tcp::ACK],
                &[tcp::ACK],
                State::TCP_CLOSING,
            ),
            (
                "server FIN",
                &[tcp::ACK],
                &[tcp::FIN | tcp::ACK],
                State::TCP_CLOSING,
            ),
            (
                "client RST",
                &[tcp::ACK, tcp::RST],
                &[tcp::ACK],
                State::TCP_CLOSING,
            ),
            ("picked up, one side", &[tcp::ACK], &[], State::TCP_OPENING),
            (
                "picked up, both sides",
                &[tcp::ACK],
                &[tcp::ACK],
                State::TCP_ESTABLISHED,
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

    /// The table: the first chunks of what both directions have sent, and the state after it.
    #[test]
    fn sctp_state_by_what_was_seen() {
        use chunk::*;
        let seen = |chunks: &[u8]| {
            let observed = |chunk: &u8| Signals::sctp(*chunk).observed();
            chunks
                .iter()
                .map(observed)
                .fold(0, |seen, more| seen | more)
        };
        let table: &[(&str, &[u8], &[u8], State)] = &[
            ("INIT", &[INIT], &[], State::SCTP_OPENING),
            ("INIT, INIT ACK", &[INIT], &[INIT_ACK], State::SCTP_OPENING),
            (
                "cookie echoed",
                &[INIT, COOKIE_ECHO],
                &[INIT_ACK],
                State::SCTP_OPENING,
            ),
            (
                "handshake",
                &[INIT, COOKIE_ECHO],
                &[INIT_ACK, COOKIE_ACK],
                State::SCTP_ESTABLISHED,
            ),
            ("refused", &[INIT], &[ABORT], State::SCTP_CLOSING),
            ("picked up, one side", &[DATA], &[], State::SCTP_OPENING),
            (
                "picked up, both sides",
                &[DATA],
                &[SACK],
                State::SCTP_ESTABLISHED,
            ),
            (
                "shutting down",
                &[DATA, SHUTDOWN],
                &[SACK, SHUTDOWN_ACK],
                State::SCTP_ESTABLISHED,
            ),
            (
                "shut down",
                &[DATA, SHUTDOWN, SHUTDOWN_COMPLETE],
                &[SACK, SHUTDOWN_ACK],
                State::SCTP_CLOSING,
            ),
            ("aborted", &[DATA], &[SACK, ABORT], State::SCTP_CLOSING),
        ];
        for (name, original, reply, state) in table {
            assert_eq!(
                State::of(protocol::SCTP, seen(original), seen(reply)),
                *state,
                "{name}"
            );
        }
    }

    #[test]
    fn udp_and_queries() {
        let heard = Signals::DATAGRAM.observed();
        assert_eq!(State::of(protocol::UDP, heard, 0), State::UDP_UNANSWERED);
        assert_eq!(State::of(protocol::UDP, heard, heard), State::UDP_ANSWERED);
        assert_eq!(State::of(protocol::ICMP, heard, 0), State::QUERY);
    }

    /// RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2.
    #[test]
    fn lifetimes_are_what_the_rfcs_ask_for() {
        let lifetimes = Lifetimes::standard(1);
        assert!(State::TCP_ESTABLISHED.lifetime(&lifetimes) >= Ticks(7440));
        assert!(State::TCP_CLOSING.lifetime(&lifetimes) >= Ticks(240));
        assert!(State::UDP_UNANSWERED.lifetime(&lifetimes) >= Ticks(120));
        assert!(State::UDP_ANSWERED.lifetime(&lifetimes) >= Ticks(300));
        assert!(State::QUERY.lifetime(&lifetimes) >= Ticks(60));
    }
}
