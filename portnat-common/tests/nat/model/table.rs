//! Every state of a flow, met by every kind of packet from either end: what becomes of the packet, and
//! the state after it. Not random: nothing is left undefined.

use std::fmt::Write as _;

use portnat_common::conntrack::State;
use portnat_common::flow::{Direction, HALF_OPEN};
use portnat_common::nat::{self, Hook, Sight};
use portnat_common::{Bytes, DropReason, FlowRecord, V4, V6, Verdict};

use super::states::{
    Before, End, End::Opener, End::Other, PING_KINDS, PING_STATES, SCTP_KINDS, SCTP_STATES,
    TCP_KINDS, TCP_STATES, UDP_KINDS, UDP_STATES,
};
use crate::support::packet::{Carries, Packet, packet};
use crate::support::world::{HZ, Hosts, TestFamily};

/// Of each cell the first letter says what becomes of the packet:
///
/// `T` is translated; `P` passes; `E` dropped, flow-ending; `N` dropped, no-flow; `U` dropped,
/// unsupported-protocol; `F` dropped, fragment; `H` held, until its datagram's first fragment comes
///
/// and the second what is in the tables after it:
///
/// `h` a half-open flow; `o` one of TCP or SCTP that opens, `e` is established, `c` closes; `u` of UDP
/// without an answer, `a` with one; `q` a ping; `-` none. The dead are there until they are removed.
///
/// In front of the bar speaks the client of a published port or who is masqueraded, behind it the
/// target or the remote; "answer first" is a flow that the target has begun. Each first says every
/// kind of packet ([`TCP_KINDS`] and so on), then a first fragment of the first kind and, of a datagram
/// that nothing is known of, a later one.
const TABLE: &str = "\
TCP masqueraded nothing: To N- To Tc N- N- To To H- | P- P- P- P- P- P- P- P- H-
TCP masqueraded opening: To To To Tc Tc Tc To To Ho | To To To Tc Tc Tc To To Ho
TCP masqueraded answered: To Te Te Tc Tc Tc To To Ho | To To To Tc Tc Tc To To Ho
TCP masqueraded established: Te Te Te Tc Tc Tc Te Te He | Te Te Te Tc Tc Tc Te Te He
TCP masqueraded closing: To Tc Tc Tc Tc Tc Tc To Hc | Tc Tc Tc Tc Tc Tc Tc Tc Hc
TCP masqueraded broken: To Tc Tc Tc Tc Tc Tc To Hc | Tc Tc Tc Tc Tc Tc Tc Tc Hc
TCP masqueraded over: To Ne To Tc Ne Ne To To He | Pe Pe Pe Pe Pe Pe Pe Pe He
TCP masqueraded gone: To Ne To Tc Ne Ne To To He | Pe Pe Pe Pe Pe Pe Pe Pe He
TCP published nothing: Th P- Th Th P- P- Th Th H- | Th N- Th Th N- N- Th Th H-
TCP published half-open: Th Th Th Th Th Th Th Th Hh | Th Th Th Th Th Th Th Th Hh
TCP published answered: Th Te Te Tc Th Th Th Th Hh | Th Th Th Th Th Th Th Th Hh
TCP published refused: Th Th Th Th Th Th Th Th Hh | Th Th Th Th Th Th Th Th Hh
TCP published half over: Th Ph Th Th Ph Ph Th Th Hh | Th Nh Th Th Nh Nh Th Th Hh
TCP published established: Te Te Te Tc Tc Tc Te Te He | Te Te Te Tc Tc Tc Te Te He
TCP published closing: To Tc Tc Tc Tc Tc Tc To Hc | Tc Tc Tc Tc Tc Tc Tc Tc Hc
TCP published broken: To Tc Tc Tc Tc Tc Tc To Hc | Tc Tc Tc Tc Tc Tc Tc Tc Hc
TCP published over: To Pe To Tc Pe Pe To To He | Ee Ne Ee Ee Ne Ne Ee Ee He
TCP published gone: To Pe To Tc Pe Pe To To He | Th Ne Th Th Ne Ne Th Th He
TCP published answer first: Th Th Th Th Th Th Th Th Hh | Th Th Th Th Th Th Th Th Hh
TCP published answer first, answered: Th Th Th Th Th Th Th Th Hh | Th Te Te Tc Th Th Th Th Hh
TCP published answer first, established: Te Te Te Tc Tc Tc Te Te He | Te Te Te Tc Tc Tc Te Te He
TCP published answer first, half over: Th Ph Th Th Ph Ph Th Th Hh | Th Nh Th Th Nh Nh Th Th Hh
TCP published answer first, over: Ee Pe Ee Ee Pe Pe Ee Ee He | To Ne To Tc Ne Ne To To He
UDP masqueraded nothing: Tu Tu U- Tu H- | P- P- P- P- H-
UDP masqueraded unanswered: Tu Tu Uu Tu Hu | Ta Ta Pu Ta Hu
UDP masqueraded answered: Ta Ta Ua Ta Ha | Ta Ta Pa Ta Ha
UDP masqueraded over: Tu Tu Ua Tu Ha | Pa Pa Pa Pa Ha
UDP masqueraded gone: Tu Tu Ua Tu Ha | Pa Pa Pa Pa Ha
UDP published nothing: Th Th P- Th H- | Th Th U- Th H-
UDP published half-open: Th Th Ph Th Hh | Th Th Uh Th Hh
UDP published half answered: Ta Ta Ph Ta Hh | Th Th Uh Th Hh
UDP published half over: Th Th Ph Th Hh | Th Th Uh Th Hh
UDP published answered: Ta Ta Pa Ta Ha | Ta Ta Ua Ta Ha
UDP published over: Tu Tu Pa Tu Ha | Ea Ea Ua Ea Ha
UDP published gone: Tu Tu Pa Tu Ha | Th Th Ua Th Ha
UDP published answer first: Th Th Ph Th Hh | Th Th Uh Th Hh
UDP published answer first, answered: Th Th Ph Th Hh | Ta Ta Uh Ta Hh
UDP published answer first, confirmed: Ta Ta Pa Ta Ha | Ta Ta Ua Ta Ha
UDP published answer first, half over: Th Th Ph Th Hh | Th Th Uh Th Hh
UDP published answer first, over: Ea Ea Pa Ea Ha | Tu Tu Ua Tu Ha
SCTP masqueraded nothing: To N- To N- To N- F- F- | P- P- P- P- P- P- P- P-
SCTP masqueraded opening: To To To To To Tc Fo Fo | To To To To To Tc Fo Po
SCTP masqueraded established: Te Te Te Te Te Tc Fe Fe | Te Te Te Te Te Tc Fe Pe
SCTP masqueraded broken: To Tc Tc Tc Tc Tc Fc Fc | Tc Tc Tc Tc Tc Tc Fc Pc
SCTP masqueraded over: To Ne To Ne To Ne Fe Fe | Pe Pe Pe Pe Pe Pe Fe Pe
SCTP published nothing: Th P- Th P- Th P- F- P- | Th N- Th N- Th N- F- F-
SCTP published half-open: Th Th Th Th Th Th Fh Ph | Th Th Th Th Th Th Fh Fh
SCTP published half answered: Th Th Th Th Th Th Fh Ph | Th Th Th Th Th Th Fh Fh
SCTP published half established: Te Te Te Te Te Tc Fh Ph | Th Th Th Th Th Th Fh Fh
SCTP published half over: Th Ph Th Ph Th Ph Fh Ph | Th Nh Th Nh Th Nh Fh Fh
SCTP published established: Te Te Te Te Te Tc Fe Pe | Te Te Te Te Te Tc Fe Fe
SCTP published broken: To Tc Tc Tc Tc Tc Fc Pc | Tc Tc Tc Tc Tc Tc Fc Fc
SCTP published over: To Pe To Pe To Pe Fe Pe | Ee Ne Ee Ne Ee Ne Fe Fe
SCTP published answer first, answered: Th Th Th Th Th Th Fh Ph | Te Te Te Te Te Tc Fh Fh
ping masqueraded nothing: Tq N- Tq H- | P- P- P- H-
ping masqueraded query: Tq Nq Tq Hq | Pq Tq Pq Hq
ping masqueraded over: Tq Nq Tq Hq | Pq Pq Pq Hq
ping masqueraded gone: Tq Nq Tq Hq | Pq Pq Pq Hq
";

/// What the packets of a row look like.
#[derive(Clone, Copy)]
enum Shape {
    Whole,
    FirstFragment,
    LaterFragment,
}

/// Who is at the ends, as each sees the other: the client, the published port and its target, then the
/// container, its outside and the remote.
struct Ends([&'static str; 6]);

const ENDS_V4: Ends = Ends([
    "198.51.100.7:40000",
    "192.0.2.1:8080",
    "172.17.0.2:80",
    "172.17.0.2:5353",
    "192.0.2.1:5353",
    "203.0.113.5:53",
]);
const ENDS_V6: Ends = Ends([
    "[2001:db8:9::7]:40000",
    "[2001:db8:1::1]:8080",
    "[fd00:17::2]:80",
    "[fd00:17::2]:5353",
    "[2001:db8:1::1]:5353",
    "[2001:db8:5::5]:53",
]);

impl Ends {
    /// What an end says, and where it is seen.
    fn packet(&self, published: bool, from: End, carries: Carries) -> (Hook, Packet) {
        let [client, port, target, container, outside, remote] = self.0;
        let (hook, src, dst) = match (published, from) {
            (true, Opener) => (Hook::In, client, port),
            (true, Other) => (Hook::Outside, target, client),
            (false, Opener) => (Hook::Outside, container, remote),
            (false, Other) => (Hook::In, remote, outside),
        };
        (hook, packet(carries, src, dst))
    }
}

fn process<F: TestFamily>(world: &Hosts<F>, (hook, packet): &(Hook, Packet)) -> Verdict {
    let sight = Sight {
        hook: *hook,
        l3: 14,
        forwarded: true,
    };
    nat::process::<F, _, _>(&mut Bytes(&mut packet.frame()), sight, world)
}

/// A row's cells.
fn row<F: TestFamily>(
    ends: &Ends,
    before: &Before,
    from: End,
    kinds: &[Carries],
    shape: Shape,
) -> String {
    let mut cells = String::new();
    for kind in kinds {
        let [any, target] = match F::OWN[0].is_ipv4() {
            true => ["0.0.0.0", ends.0[2]],
            false => ["::", ends.0[2]],
        };
        let world = Hosts::<F>::new()
            .publish(6, any, 8080, target)
            .publish(17, any, 8080, target)
            .publish(132, any, 8080, target);
        for (from, carries) in before.said {
            let verdict = process(&world, &ends.packet(before.published, *from, *carries));
            assert_eq!(verdict, Verdict::Translated, "{}", before.name);
        }
        if let Some(seconds) = before.silent {
            world.pass_ticks(seconds * HZ + 1);
        }
        let (hook, packet) = ends.packet(before.published, from, *kind);
        let packet = match shape {
            Shape::Whole => packet,
            Shape::FirstFragment => packet.fragment(0, true),
            Shape::LaterFragment => packet.fragment(9, false),
        };
        let becomes = match process(&world, &(hook, packet)) {
            Verdict::Translated => "T",
            Verdict::Pass => "P",
            Verdict::Redirect => "R",
            Verdict::Held => "H",
            Verdict::Convert => "C",
            Verdict::Deliver | Verdict::Send => "S",
            Verdict::Drop(DropReason::FlowEnding) => "E",
            Verdict::Drop(DropReason::NoFlow) => "N",
            Verdict::Drop(DropReason::UnsupportedProtocol) => "U",
            Verdict::Drop(DropReason::Fragment) => "F",
            Verdict::Drop(other) => other.name(),
        };
        let records = world.records();
        let mut flows: Vec<_> = records
            .iter()
            .filter(|(_, flow)| flow.direction() == Direction::Original)
            .map(|(key, flow)| letter(key.protocol, flow, &records[&flow.twin(key)]))
            .collect();
        if flows.is_empty() {
            flows.push("-");
        }
        write!(cells, " {becomes}{}", flows.concat()).expect("writing to memory");
    }
    cells
}

fn letter(protocol: u8, original: &FlowRecord, reply: &FlowRecord) -> &'static str {
    if original.flags & HALF_OPEN != 0 {
        return "h";
    }
    match State::of(protocol, original.seen, reply.seen) {
        State::TCP_OPENING | State::SCTP_OPENING => "o",
        State::TCP_ESTABLISHED | State::SCTP_ESTABLISHED => "e",
        State::TCP_CLOSING | State::SCTP_CLOSING => "c",
        State::UDP_UNANSWERED => "u",
        State::UDP_ANSWERED => "a",
        State::QUERY => "q",
        other => panic!("{other:?} is not a state of a confirmed flow"),
    }
}

fn table<F: TestFamily>(ends: &Ends) -> String {
    let mut lines = String::new();
    let parts = [
        ("TCP", TCP_STATES, TCP_KINDS),
        ("UDP", UDP_STATES, UDP_KINDS),
        ("SCTP", SCTP_STATES, SCTP_KINDS),
        ("ping", PING_STATES, PING_KINDS),
    ];
    for (protocol, states, kinds) in parts {
        for before in states {
            let whose = if before.published {
                "published"
            } else {
                "masqueraded"
            };
            write!(lines, "{protocol} {whose} {}:", before.name).expect("writing to memory");
            for from in [Opener, Other] {
                for shape in [Shape::Whole, Shape::FirstFragment, Shape::LaterFragment] {
                    // Of fragments one kind is as good as another.
                    let kinds = match shape {
                        Shape::Whole => kinds,
                        _ => &kinds[..1],
                    };
                    lines += &row::<F>(ends, before, from, kinds, shape);
                }
                lines += if from == Opener { " |" } else { "\n" };
            }
        }
    }
    lines
}

#[test]
fn every_state_and_kind_of_packet_and_direction_in_ipv4() {
    let table = table::<V4>(&ENDS_V4);
    assert_eq!(table, TABLE, "as it is:\n{table}");
}

#[test]
fn every_state_and_kind_of_packet_and_direction_in_ipv6() {
    let table = table::<V6>(&ENDS_V6);
    assert_eq!(table, TABLE, "as it is:\n{table}");
}
