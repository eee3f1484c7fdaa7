//! A packet meets a half-open flow: one that an outsider has opened and not confirmed.
//!
//! A flood of first packets turns these over and never touches the confirmed ones. TCP is confirmed
//! by the acknowledgement of the very last byte that the target sent: containers answer spoofed SYNs
//! too, and whoever spoofs does not see the answer (RFC 5961 has the argument). Anything else is
//! confirmed by a packet of the client's after an answer.

use crate::conntrack::{self, EXPECTED, HEARD};
use crate::family::{Family, Fragment, Network};
use crate::flow::{ASKED, Direction, Flow, FlowRecord, HALF_OPEN};
use crate::fragment::{First, Told};
use crate::headers::{Transport, tuple};
use crate::packet::Packet;
use crate::settings::Ticks;
use crate::tables::{Queued, Refusal, Table, Tables};
use crate::tuple::Tuple;
use crate::verdict::Verdict;
use crate::wire::{protocol, tcp};

use super::between::is_between;
use super::fast::note_port;
use super::life::{Life, life, state, twin_of};
use super::opening::{CONFIRMS, Opening};
use super::{Hook, Sight, is_hairpin, translate};

/// A packet of a half-open flow gets its translation, one that cannot begin a flow passes; `None`
/// for any other. What it confirms is for [`confirm`].
#[inline(always)]
pub fn half_open<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    first: &First,
    room: &mut Opening<F::Address>,
) -> Option<Verdict> {
    let mut network = F::network(packet, sight.l3)?;
    let transport = if network.fragment == Fragment::Later {
        let told = Told::unpack(first.told)?;
        network.protocol = told.protocol;
        Transport::elsewhere(told.src_port, told.dst_port)
    } else {
        Transport::read::<F, P>(packet, &network).ok()?
    };
    room.wishes = 0;
    let settings = tables.settings()?;
    let tuple = tuple(&network, &transport, sight.hook.side());
    if let Some(flow) = tables.flow(Table::HalfOpen, &tuple)
        && !transport.lacks_length(network.fragment)
    {
        let now = tables.now();
        let twin = twin_of::<F, T>(tables, Table::HalfOpen, &tuple, flow);
        if let Some(twin) = twin
            && life(settings, tuple.protocol, flow, Some(twin), now) == Life::Live
            && !is_asked_again(&tuple, &transport, flow, twin)
        {
            let bytes = (network.end - sight.l3) as u64;
            follow(&tuple, &transport, flow, twin, now, bytes);
            if sight.hook == Hook::Outside {
                note_port::<F, T>(tables, settings, &tuple, flow);
            }
            tables.add_to_total(flow.port_id, flow.is_inbound(tuple.side), 1, bytes);
            let evidence = Evidence::read(packet, &network);
            if let Direction::Reply = flow.direction() {
                evidence.expect_acknowledgement(flow);
            } else if evidence.confirm(twin) {
                room.tuple = tuple;
                room.wishes = CONFIRMS;
            }
            return Some(translate::<F, P>(
                packet, sight, &network, &tuple, &transport, flow,
            ));
        }
    }
    let may_open = match sight.hook {
        Hook::In | Hook::Local => true,
        Hook::Outside => tables.subnet(&tuple.src).is_some(),
        Hook::Inside => is_between::<F, T>(tables) || is_hairpin::<F, T>(tables, &tuple),
    };
    (!may_open).then_some(Verdict::Pass)
}

/// Whether a packet begins a closing flow anew whose opener is asked each time. For such a packet there
/// is no flow; [`super::make`] removes it.
#[inline(always)]
fn is_asked_again<A>(tuple: &Tuple<A>, transport: &Transport, flow: &Flow, twin: &Flow) -> bool {
    transport.signals.opens()
        && flow.flags & ASKED != 0
        && flow.direction() == Direction::Original
        && state(tuple.protocol, flow, Some(twin)).is_closing()
}

/// As `track` does with confirmed flows.
#[inline(always)]
pub(super) fn follow<A>(
    tuple: &Tuple<A>,
    transport: &Transport,
    flow: &Flow,
    twin: &Flow,
    now: Ticks,
    bytes: u64,
) {
    if flow.direction() == Direction::Original
        && transport.signals.opens()
        && state(tuple.protocol, flow, Some(twin)).is_closing()
    {
        flow.seen.set(0);
        twin.seen.set(0);
    }
    let seen = flow.seen.get();
    if !transport.signals.resets() || seen & conntrack::RST == 0 {
        flow.last_seen.set(now.0);
    }
    flow.seen.set(seen | transport.signals.observed());
    flow.count(bytes);
}

/// What confirms a flow.
pub(super) enum Evidence {
    /// The packet's header, and how far its data go: the sequence number that follows.
    Tcp {
        flags: u8,
        acknowledges: u32,
        next: u32,
    },
    /// That it came at all.
    Other,
    /// None: a fragment of TCP may have no header, and a first one does not know how far its data go.
    Nothing,
}

impl Evidence {
    #[inline(always)]
    pub(super) fn read<A, P: Packet>(packet: &P, network: &Network<A>) -> Self {
        if network.protocol != protocol::TCP {
            return Evidence::Other;
        }
        if network.fragment != Fragment::Whole {
            return Evidence::Nothing;
        }
        let Some(header) = packet.read::<tcp::Header>(network.l4) else {
            return Evidence::Nothing;
        };
        let data = network
            .end
            .wrapping_sub(network.l4)
            .wrapping_sub(header.len()) as u32;
        let marks =
            u32::from(header.flags & tcp::SYN != 0) + u32::from(header.flags & tcp::FIN != 0);
        Evidence::Tcp {
            flags: header.flags,
            acknowledges: header.acknowledgement(),
            next: header.sequence().wrapping_add(data).wrapping_add(marks),
        }
    }

    /// Remembers what the client has to acknowledge.
    #[inline(always)]
    pub(super) fn expect_acknowledgement(&self, flow: &Flow) {
        if let Evidence::Tcp { flags, next, .. } = *self
            && flags & tcp::RST == 0
        {
            let seen = flow.seen.get() & u64::from(u32::MAX);
            flow.seen.set(seen | u64::from(next) << EXPECTED);
        }
    }

    /// Whether this packet of the client's shows that it has had the target's answer.
    #[inline(always)]
    fn confirm(&self, answers: &Flow) -> bool {
        let seen = answers.seen.get();
        let answered = seen & (HEARD | conntrack::RST) == HEARD;
        match *self {
            Evidence::Tcp {
                flags,
                acknowledges,
                ..
            } => {
                answered
                    && flags & (tcp::ACK | tcp::RST) == tcp::ACK
                    && acknowledges == (seen >> EXPECTED) as u32
            }
            Evidence::Other => answered,
            Evidence::Nothing => false,
        }
    }
}

/// Moves the flow to the confirmed ones whose packet [`half_open`] has seen last and that this packet
/// confirms. Where there is no room it goes on as it is: its two ends have agreed on a connection, and
/// to refuse it now would leave one of them waiting. The next ones are refused for a second, at their
/// first packet.
#[inline(always)]
pub fn confirm<F: Family, T: Tables<F>>(tables: &T, room: &mut Opening<F::Address>) {
    if !room.wishes(CONFIRMS) {
        return;
    }
    let Some(flow) = tables.flow(Table::HalfOpen, &room.tuple) else {
        return;
    };
    let Some(twin) = twin_of::<F, T>(tables, Table::HalfOpen, &room.tuple, flow) else {
        return;
    };
    let now = tables.now();
    room.answers = flow.twin(&room.tuple);
    let (entry, tuple, twin_tuple) = (&mut room.entry, &room.tuple, &room.answers);
    copy(entry, twin, now);
    if let Err(refusal) = tables.insert_flow(Table::Confirmed, twin_tuple, entry) {
        // Where it exists, another CPU is doing the same.
        if refusal == Refusal::Full {
            tables.set_full(now);
        }
        return;
    }
    copy(entry, flow, now);
    if let Err(refusal) = tables.insert_flow(Table::Confirmed, tuple, entry) {
        tables.remove_flow(Table::Confirmed, twin_tuple);
        if refusal == Refusal::Full {
            tables.set_full(now);
        }
        return;
    }
    // What it has carried is counted with it from now on.
    for (tuple, flow) in [(tuple, flow), (twin_tuple, twin)] {
        tables.add_to_total(
            flow.port_id,
            flow.is_inbound(tuple.side),
            flow.packets.get().wrapping_neg(),
            flow.bytes.get().wrapping_neg(),
        );
    }
    tables.remove_flow(Table::HalfOpen, tuple);
    tables.remove_flow(Table::HalfOpen, twin_tuple);
    tables.queue(&Queued {
        opened: Ticks(entry.opened),
        original: *tuple,
    });
}

/// Field by field, see `insert`.
#[inline(always)]
fn copy(entry: &mut FlowRecord, flow: &Flow, now: Ticks) {
    entry.translation.become_as(&flow.translation);
    entry.port_id = flow.port_id;
    entry.flags = flow.flags & !HALF_OPEN;
    entry.interface = flow.interface;
    entry.opened = flow.opened;
    entry.seen = flow.seen.get() & u64::from(u32::MAX);
    entry.last_seen = now.0;
    entry.packets = flow.packets.get();
    entry.bytes = flow.bytes.get();
    entry.way.clear();
    entry.way.keep_port(&flow.way);
}
