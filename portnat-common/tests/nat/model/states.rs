//! The states of a flow, by what was said before, and the kinds of packets.

use portnat_common::wire::sctp::chunk;
use portnat_common::wire::tcp;

use crate::support::packet::Carries::{
    self, EchoReply, EchoRequest, Protocol, Sctp, Tcp, Udp, UdpUnchecked,
};

const SYN: Carries = Tcp(tcp::SYN);
const SYN_ACK: Carries = Tcp(tcp::SYN | tcp::ACK);
const ACK: Carries = Tcp(tcp::ACK);
const FIN: Carries = Tcp(tcp::FIN | tcp::ACK);
const RST: Carries = Tcp(tcp::RST);
const RST_ACK: Carries = Tcp(tcp::RST | tcp::ACK);
const INIT: Carries = Sctp(chunk::INIT);
const INIT_ACK: Carries = Sctp(chunk::INIT_ACK);
const ECHO: Carries = Sctp(chunk::COOKIE_ECHO);
const COOKIE_ACK: Carries = Sctp(chunk::COOKIE_ACK);
const DATA: Carries = Sctp(chunk::DATA);
const ABORT: Carries = Sctp(chunk::ABORT);

/// Which end of a flow speaks: the one that mostly opens it or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Opener,
    Other,
}
use End::{Opener, Other};

/// How a flow comes into a state.
pub(super) struct Before {
    pub(super) name: &'static str,
    pub(super) published: bool,
    pub(super) said: &'static [(End, Carries)],
    /// Then so many seconds pass, and a tick.
    pub(super) silent: Option<u64>,
}

const fn masqueraded(name: &'static str, said: &'static [(End, Carries)]) -> Before {
    Before {
        name,
        published: false,
        said,
        silent: None,
    }
}

const fn published(name: &'static str, said: &'static [(End, Carries)]) -> Before {
    Before {
        published: true,
        ..masqueraded(name, said)
    }
}

const fn after(seconds: u64, before: Before) -> Before {
    Before {
        silent: Some(seconds),
        ..before
    }
}

const OPENED: &[(End, Carries)] = &[(Opener, SYN)];
const ANSWERED: &[(End, Carries)] = &[(Opener, SYN), (Other, SYN_ACK)];
const SHAKEN: &[(End, Carries)] = &[(Opener, SYN), (Other, SYN_ACK), (Opener, ACK)];
const CLOSED: &[(End, Carries)] = &[
    (Opener, SYN),
    (Other, SYN_ACK),
    (Opener, ACK),
    (Opener, FIN),
];
const BROKEN: &[(End, Carries)] = &[(Opener, SYN), (Other, SYN_ACK), (Opener, ACK), (Other, RST)];
const REFUSED: &[(End, Carries)] = &[(Opener, SYN), (Other, RST_ACK)];
const ASKED: &[(End, Carries)] = &[(Opener, Udp)];
const REPLIED: &[(End, Carries)] = &[(Opener, Udp), (Other, Udp)];
const TALKED: &[(End, Carries)] = &[(Opener, Udp), (Other, Udp), (Opener, Udp)];
const LISTENED: &[(End, Carries)] = &[(Other, Udp)];
const HAILED: &[(End, Carries)] = &[(Other, Udp), (Opener, Udp)];
const AGREED: &[(End, Carries)] = &[(Other, Udp), (Opener, Udp), (Other, Udp)];
const CALLED: &[(End, Carries)] = &[(Other, SYN)];
const ACCEPTED: &[(End, Carries)] = &[(Other, SYN), (Opener, SYN_ACK)];
const TAKEN: &[(End, Carries)] = &[(Other, SYN), (Opener, SYN_ACK), (Other, ACK)];
const INITIATED: &[(End, Carries)] = &[(Opener, INIT)];
const ECHOED: &[(End, Carries)] = &[(Opener, INIT), (Other, INIT_ACK), (Opener, ECHO)];
const ASSOCIATED: &[(End, Carries)] = &[
    (Opener, INIT),
    (Other, INIT_ACK),
    (Opener, ECHO),
    (Other, COOKIE_ACK),
];
const IN_USE: &[(End, Carries)] = &[
    (Opener, INIT),
    (Other, INIT_ACK),
    (Opener, ECHO),
    (Other, COOKIE_ACK),
    (Opener, DATA),
];
const ABORTED: &[(End, Carries)] = &[
    (Opener, INIT),
    (Other, INIT_ACK),
    (Opener, ECHO),
    (Other, COOKIE_ACK),
    (Opener, DATA),
    (Other, ABORT),
];
const PINGED: &[(End, Carries)] = &[(Opener, EchoRequest)];

pub(super) const TCP_STATES: &[Before] = &[
    masqueraded("nothing", &[]),
    masqueraded("opening", OPENED),
    masqueraded("answered", ANSWERED),
    masqueraded("established", SHAKEN),
    masqueraded("closing", CLOSED),
    masqueraded("broken", BROKEN),
    after(8000, masqueraded("over", SHAKEN)),
    after(8001, masqueraded("gone", SHAKEN)),
    published("nothing", &[]),
    published("half-open", OPENED),
    published("answered", ANSWERED),
    published("refused", REFUSED),
    after(60, published("half over", ANSWERED)),
    published("established", SHAKEN),
    published("closing", CLOSED),
    published("broken", BROKEN),
    after(8000, published("over", SHAKEN)),
    after(8001, published("gone", SHAKEN)),
    published("answer first", CALLED),
    published("answer first, answered", ACCEPTED),
    published("answer first, established", TAKEN),
    after(60, published("answer first, half over", CALLED)),
    after(8000, published("answer first, over", TAKEN)),
];
pub(super) const TCP_KINDS: &[Carries] = &[SYN, SYN_ACK, ACK, FIN, RST, RST_ACK, Tcp(0)];

pub(super) const UDP_STATES: &[Before] = &[
    masqueraded("nothing", &[]),
    masqueraded("unanswered", ASKED),
    masqueraded("answered", REPLIED),
    after(300, masqueraded("over", REPLIED)),
    after(301, masqueraded("gone", REPLIED)),
    published("nothing", &[]),
    published("half-open", ASKED),
    published("half answered", REPLIED),
    after(30, published("half over", REPLIED)),
    published("answered", TALKED),
    after(300, published("over", TALKED)),
    after(301, published("gone", TALKED)),
    published("answer first", LISTENED),
    published("answer first, answered", HAILED),
    published("answer first, confirmed", AGREED),
    after(30, published("answer first, half over", LISTENED)),
    after(300, published("answer first, over", AGREED)),
];
pub(super) const UDP_KINDS: &[Carries] = &[Udp, UdpUnchecked, Protocol(47)];

pub(super) const SCTP_STATES: &[Before] = &[
    masqueraded("nothing", &[]),
    masqueraded("opening", INITIATED),
    masqueraded("established", ASSOCIATED),
    masqueraded("broken", ABORTED),
    after(8000, masqueraded("over", ASSOCIATED)),
    published("nothing", &[]),
    published("half-open", INITIATED),
    published("half answered", ECHOED),
    published("half established", ASSOCIATED),
    after(60, published("half over", ASSOCIATED)),
    published("established", IN_USE),
    published("broken", ABORTED),
    after(8000, published("over", IN_USE)),
    published("answer first, answered", &[(Other, DATA), (Opener, DATA)]),
];
pub(super) const SCTP_KINDS: &[Carries] = &[INIT, INIT_ACK, ECHO, COOKIE_ACK, DATA, ABORT];

pub(super) const PING_STATES: &[Before] = &[
    masqueraded("nothing", &[]),
    masqueraded("query", PINGED),
    after(60, masqueraded("over", PINGED)),
    after(61, masqueraded("gone", PINGED)),
];
pub(super) const PING_KINDS: &[Carries] = &[EchoRequest, EchoReply];
