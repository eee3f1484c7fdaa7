//! What a packet says about its connection, in the same words for every protocol.
//!
//! Looked up in tables: the verifier would follow each branch to the end.

use crate::conntrack::{FIN, HEARD, RST};
use crate::wire::sctp::chunk;
use crate::wire::tcp;

/// This packet begins a connection.
const OPENS: u8 = 8;
/// This packet can only be an answer.
const ANSWER: u8 = 16;

/// What a packet says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals(u8);

/// By the flags FIN (1), SYN (2), RST (4), PSH (8) and ACK (16).
const TCP: [u8; 32] = {
    let mut table = [0; 32];
    let mut flags = 0;
    while flags < 32 {
        table[flags as usize] = of_tcp(flags);
        flags += 1;
    }
    table
};

/// By the type of the first chunk, of those up to 15.
const SCTP: [u8; 16] = {
    let mut table = [0; 16];
    let mut kind = 0;
    while kind < 16 {
        table[kind as usize] = of_sctp(kind);
        kind += 1;
    }
    table
};

const fn of_tcp(flags: u8) -> u8 {
    let mut signals = 0;
    if flags & tcp::ACK != 0 {
        signals |= HEARD as u8;
    }
    if flags & tcp::FIN != 0 {
        signals |= FIN as u8;
    }
    if flags & tcp::RST != 0 {
        signals |= RST as u8 | ANSWER;
    }
    if flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK {
        signals |= ANSWER;
    }
    // A SYN that acknowledges nothing.
    if flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN {
        signals |= OPENS;
    }
    signals
}

const fn of_sctp(kind: u8) -> u8 {
    match kind {
        chunk::INIT => OPENS,
        chunk::INIT_ACK => ANSWER,
        chunk::HEARTBEAT_ACK | chunk::SHUTDOWN_ACK | chunk::ERROR | chunk::COOKIE_ACK => {
            HEARD as u8 | ANSWER
        }
        // The last words of an association.
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE => RST as u8 | ANSWER,
        _ => HEARD as u8,
    }
}

impl Signals {
    /// Those of a packet without a connection: it was heard.
    pub const DATAGRAM: Signals = Signals(HEARD as u8);
    /// Those of an answer to an ICMP query.
    pub const QUERY_ANSWER: Signals = Signals(HEARD as u8 | ANSWER);

    /// Those of a TCP packet with these flags.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(flags: u8) -> Self {
        Signals(TCP[(flags & 0x1f) as usize])
    }

    /// Those of an SCTP packet whose first chunk is of this type: what begins or ends an association
    /// is never behind another chunk (RFC 9260 section 6.10), but for an ABORT behind control chunks.
    #[inline(always)]
    #[must_use]
    pub const fn sctp(first_chunk: u8) -> Self {
        // Types above 15 are extensions of established associations (RFC 5061, RFC 8260 and
        // others); in the table 15 stands for them, a type that itself is one (RFC 4895).
        let kind = if first_chunk > 15 { 15 } else { first_chunk };
        Signals(SCTP[(kind & 15) as usize])
    }

    /// Whether it neither begins nor ends anything, and may be any of many.
    #[inline(always)]
    #[must_use]
    pub const fn is_data(self) -> bool {
        self.0 == HEARD as u8
    }

    /// What they add to what the packet's direction has seen, see [`crate::conntrack`].
    #[inline(always)]
    #[must_use]
    pub const fn observed(self) -> u64 {
        self.0 as u64 & (HEARD | FIN | RST)
    }

    /// Whether this begins a connection.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 & OPENS != 0
    }

    /// Whether this ends a connection at once: a TCP reset, an SCTP ABORT or SHUTDOWN COMPLETE.
    #[inline(always)]
    #[must_use]
    pub const fn resets(self) -> bool {
        self.0 as u64 & RST != 0
    }

    /// Whether this can only be an answer: a packet that opens no flow. (Any other packet of a
    /// connection does, so that connections survive a restart of the datapath.)
    #[inline(always)]
    #[must_use]
    pub const fn is_answer(self) -> bool {
        self.0 & ANSWER != 0
    }

    /// As a byte, for [`crate::headers::Transport::forget`].
    #[inline(always)]
    pub(crate) const fn raw(self) -> u8 {
        self.0
    }

    /// From a byte that was [`Signals::raw`].
    #[inline(always)]
    pub(crate) const fn from_raw(raw: u8) -> Self {
        Signals(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_syn_opens() {
        assert!(Signals::tcp(tcp::SYN).opens());
        assert!(
            Signals::tcp(tcp::SYN | 0xc0).opens(),
            "with ECN setup, RFC 3168"
        );
        for flags in [
            tcp::SYN | tcp::ACK,
            tcp::SYN | tcp::RST,
            tcp::SYN | tcp::FIN,
            tcp::ACK,
        ] {
            assert!(!Signals::tcp(flags).opens(), "{flags:#x}");
        }
        assert!(!Signals::DATAGRAM.opens());
    }

    #[test]
    fn tcp_answers_open_nothing() {
        for flags in [tcp::RST, tcp::RST | tcp::ACK, tcp::SYN | tcp::ACK] {
            assert!(Signals::tcp(flags).is_answer(), "{flags:#x}");
        }
        for flags in [tcp::SYN, tcp::ACK, tcp::FIN | tcp::ACK, 0] {
            assert!(!Signals::tcp(flags).is_answer(), "{flags:#x}");
        }
    }

    #[test]
    fn sctp_by_its_first_chunk() {
        for kind in 0..=u8::MAX {
            let signals = Signals::sctp(kind);
            assert_eq!(signals.opens(), kind == chunk::INIT, "{kind}");
            assert_eq!(
                signals.is_answer(),
                matches!(kind, 2 | 5 | 6 | 8 | 9 | 11 | 14),
                "{kind}"
            );
            assert_eq!(signals.resets(), matches!(kind, 6 | 14), "{kind}");
            let heard = signals.observed() & HEARD != 0;
            assert_eq!(heard, !matches!(kind, 1 | 2 | 6 | 14), "{kind}");
        }
    }
}
