//! What the NAT promises, said as simply as possible: a list of flows, each looked for by going
//! through all of them. Nothing here knows how the NAT does it.

use portnat_common::DropReason;
use portnat_common::wire::tcp;

use super::flow::{Flow, Life, Pair, Side};
use super::ground::{Ground, Said};

/// What the NAT should do with a packet.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Pass,
    Drop(DropReason),
    /// It becomes this.
    Becomes(Pair),
    /// It begins this flow, but chance has a say about the source port.
    Chance(Flow),
}

/// All that the NAT remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) flows: Vec<Flow>,
}

impl Model {
    /// The flow of which a packet is, and its direction.
    fn find(&self, confirmed: bool, protocol: u8, key: (Side, Pair)) -> Option<(usize, usize)> {
        self.flows.iter().enumerate().find_map(|(number, flow)| {
            let direction = (0..2).find(|direction| flow.key(*direction) == key)?;
            (flow.confirmed == confirmed && flow.protocol == protocol)
                .then_some((number, direction))
        })
    }

    /// Flows whose time is over for a second are forgotten.
    pub(crate) fn sweep(&mut self, now: u64) {
        self.flows
            .retain(|flow| !flow.confirmed || flow.life(now) != Life::Gone);
    }

    /// What becomes of a packet.
    pub(crate) fn meet(&mut self, said: &Said, ground: &Ground) -> Verdict {
        if said.is_nonsense {
            return Verdict::Pass;
        }
        if let Some(reason) = said.untranslatable {
            return match said.side {
                Side::In => ground.leave(said),
                Side::Out if said.towards_bridge.is_none() && ground.masquerades(said.pair.src) => {
                    Verdict::Drop(reason)
                }
                Side::Out => Verdict::Pass,
            };
        }
        let is_published = ground.publishes_anywhere(said.protocol, said.pair.dst.port());
        let inbound = said.side == Side::In;
        if inbound && !is_published && !ground.pool(said.pair.dst.port()) {
            return ground.leave(said);
        }
        let key = (said.side, said.pair);
        for confirmed in [true, false] {
            // Outsiders have half-open flows by published ports only.
            if !confirmed && inbound && !is_published && ground.bridge(said.pair.src).is_none() {
                return ground.leave(said);
            }
            if let Some((number, direction)) = self.find(confirmed, said.protocol, key)
                && let Some(verdict) = self.belongs(number, direction, said, ground.now)
            {
                return verdict;
            }
        }
        self.open(said, ground)
    }

    /// A packet has the addresses and ports of a flow.
    fn belongs(
        &mut self,
        number: usize,
        direction: usize,
        said: &Said,
        now: u64,
    ) -> Option<Verdict> {
        let flow = &mut self.flows[number];
        let lives = flow.life(now) == Life::Live;
        if !lives {
            return None;
        }
        flow.follow(direction, said, now);
        let becomes = flow.becomes(direction);
        if !flow.confirmed && direction == 1 {
            if !said.has(tcp::RST) {
                flow.seen[1].ends_at = said.ends_at;
            }
        } else if !flow.confirmed {
            let answered = flow.seen[1].heard && !flow.seen[1].rst;
            let shown = match said.flags {
                Some(flags) => {
                    flags & (tcp::ACK | tcp::RST) == tcp::ACK
                        && said.acknowledges == flow.seen[1].ends_at
                }
                None => true,
            };
            if answered && shown {
                self.confirm(number, now);
            }
        }
        Some(Verdict::Becomes(becomes))
    }

    fn confirm(&mut self, number: usize, now: u64) {
        let flow = &self.flows[number];
        let (protocol, keys) = (flow.protocol, [flow.key(0), flow.key(1)]);
        if keys
            .iter()
            .all(|key| self.find(true, protocol, *key).is_none())
        {
            let flow = &mut self.flows[number];
            flow.confirmed = true;
            flow.last = [now; 2];
        }
    }

    /// A packet may begin a flow.
    fn open(&mut self, said: &Said, ground: &Ground) -> Verdict {
        let src = said.pair.src;
        let mut to = said.pair;
        let mut port = None;
        // Whether the port that it has is tried first.
        let mut keeps = true;
        let mut is_lent = false;
        match (said.side, said.towards_bridge) {
            (Side::In, _) => {
                let Some(published) = ground.published_for(said) else {
                    return ground.leave(said);
                };
                if said.pair.dst.ip().is_loopback() {
                    return Verdict::Drop(DropReason::Loopback);
                }
                to.dst = published.target;
                port = Some(published.id);
                if said.from_uplink && ground.bridge(src).is_some() {
                    return Verdict::Drop(DropReason::InsideSource);
                }
            }
            (Side::Out, bridge) => {
                let wanted = match bridge {
                    Some(bridge) => ground.bridge(src) == Some(bridge) && self.is_hairpin(said),
                    None => ground.masquerades(src),
                };
                if !wanted {
                    return Verdict::Pass;
                }
                to.src.set_ip(ground.lends(bridge));
                match ground.speaks_for(said.protocol, src) {
                    Some(published) if bridge.is_none() => {
                        to.src = ground.outside_of(published, to.src.ip());
                        port = Some(published.id);
                    }
                    _ => {
                        is_lent = true;
                        keeps = ground.may_lend(said.protocol, src.port());
                    }
                }
            }
        }
        if said.is_answer() {
            return match said.side {
                Side::In => Verdict::Pass,
                Side::Out => Verdict::Drop(DropReason::NoFlow),
            };
        }
        let flow = Flow {
            protocol: said.protocol,
            // Who is outside has shown nothing yet, be it that it opens or that it is spoken to first.
            confirmed: port.is_none(),
            side: said.side,
            from: said.pair,
            to,
            port,
            seen: Default::default(),
            last: [ground.now; 2],
        };
        if let Some(verdict) = self.settle(&flow, said, ground) {
            return verdict;
        }
        let taken = is_lent && ground.uses(said.protocol, to.src.port());
        self.place(flow, said, keeps && !taken, ground.now)
    }

    /// Whether a packet to a bridge has come through a published port: its answers are expected.
    fn is_hairpin(&self, said: &Said) -> bool {
        let answers = (Side::Out, said.pair.back());
        [true, false].iter().any(|confirmed| {
            self.find(*confirmed, said.protocol, answers)
                .is_some_and(|(number, _)| self.flows[number].port.is_some())
        })
    }

    /// An earlier flow of the same packets goes out of the way, is begun anew, or takes a moment.
    fn settle(&mut self, flow: &Flow, said: &Said, ground: &Ground) -> Option<Verdict> {
        let (key, now) = (flow.key(0), ground.now);
        if let Some((number, direction)) = self.find(true, flow.protocol, key) {
            let old = &mut self.flows[number];
            let leads_there = old.to.src.ip() == flow.to.src.ip()
                && old.to.dst == flow.to.dst
                && old.port == flow.port;
            let lent = old.to.src.port();
            let is_still_lent = flow.port.is_some()
                || !ground.publishes_anywhere(flow.protocol, lent)
                    && !ground.uses(flow.protocol, lent);
            if direction == 0 && leads_there && is_still_lent {
                old.seen = Default::default();
                old.seen[0].add(said);
                old.last = [now; 2];
                return Some(Verdict::Becomes(old.to));
            }
            if old.life(now) != Life::Gone {
                return Some(Verdict::Drop(DropReason::FlowEnding));
            }
            self.flows.remove(number);
        }
        if !flow.confirmed
            && let Some((number, _)) = self.find(false, flow.protocol, key)
        {
            self.flows.remove(number);
        }
        None
    }

    /// A flow gets its place, with the source port that it has if that is free.
    fn place(&mut self, mut flow: Flow, said: &Said, keeps: bool, now: u64) -> Verdict {
        flow.seen[0].add(said);
        // What a target says first comes from its port or not at all.
        let chance = |flow: Flow| match (flow.side, flow.port) {
            (Side::Out, Some(_)) => Verdict::Drop(DropReason::NoFlow),
            _ => Verdict::Chance(flow),
        };
        if !keeps {
            return chance(flow);
        }
        let answers = flow.key(1);
        if let Some((number, _)) = self.find(true, flow.protocol, answers) {
            if self.flows[number].life(now) != Life::Gone {
                return chance(flow);
            }
            self.flows.remove(number);
            if !flow.confirmed && self.find(false, flow.protocol, answers).is_some() {
                // One predecessor a packet.
                return Verdict::Drop(DropReason::FlowEnding);
            }
        }
        if !flow.confirmed
            && let Some((number, _)) = self.find(false, flow.protocol, answers)
        {
            if self.flows[number].life(now) == Life::Live {
                return chance(flow);
            }
            self.flows.remove(number);
        }
        let becomes = flow.to;
        self.flows.push(flow);
        Verdict::Becomes(becomes)
    }

    /// A flow has got the source port that chance has chosen, which must not be another's.
    #[track_caller]
    pub(crate) fn adopt(&mut self, mut flow: Flow, port: u16) -> Pair {
        flow.to.src.set_port(port);
        for confirmed in [true, false] {
            let holder = self.find(confirmed, flow.protocol, flow.key(1));
            assert_eq!(holder, None, "another has port {port}: {flow:?}");
        }
        let becomes = flow.to;
        self.flows.push(flow);
        becomes
    }
}
