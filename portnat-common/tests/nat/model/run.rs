//! A world and the model of it, step by step.

use std::ops::Add;

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::{Bytes, Tables as _, Verdict};

use super::flow::{Flow, Life, Side};
use super::ground::{Ground, Said};
use super::naive::{self, Model};
use super::oracles::{
    a_reserved_port_is_never_handed_out, no_two_live_flows_share_an_outside_end_towards_one_remote,
    the_incremental_checksum_equals_the_full_recomputation,
};
use crate::support::packet::Packet;
use crate::support::talk::{Talk, falsified, reread};
use crate::support::traffic::{HOSTS_OWN_PORT, Lie, PUBLISHED_AT_FIRST, Step};
use crate::support::world::{Hosts, TestFamily, World};

/// What has happened, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    packets: usize,
    translated: usize,
    dropped: usize,
    chosen: usize,
    confirmed: usize,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Counts {
            packets: self.packets + more.packets,
            translated: self.translated + more.translated,
            dropped: self.dropped + more.dropped,
            chosen: self.chosen + more.chosen,
            confirmed: self.confirmed + more.confirmed,
        }
    }
}

/// A world and what the model thinks of it.
pub(crate) struct Run<F: TestFamily> {
    pub(crate) world: Hosts<F>,
    ground: Ground,
    pub(super) model: Model,
    talk: Talk,
    pub(crate) counts: Counts,
}

impl<F: TestFamily> Run<F> {
    pub(crate) fn new() -> Self {
        let mut world = Hosts::new().without_mappings();
        world.sockets.insert((17, HOSTS_OWN_PORT));
        let mut run = Run {
            world,
            ground: Ground::new(F::OWN[0].is_ipv6()),
            model: Model::default(),
            talk: Talk::default(),
            counts: Counts::default(),
        };
        (0..PUBLISHED_AT_FIRST).for_each(|slot| run.toggle(slot));
        run
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(ticks) => self.world.pass_ticks(*ticks),
            Step::Toggle(slot) => self.toggle(*slot),
            Step::Sweep => {
                self.world.sweep();
                self.model.sweep(self.world.now().0);
            }
            _ => {
                if let Some((inbound, packet, lie)) = self.talk.packet(step) {
                    self.meet(inbound, packet, lie);
                }
            }
        }
        self.the_tables_hold_what_the_model_says();
        no_two_live_flows_share_an_outside_end_towards_one_remote(
            &self.model.flows,
            self.world.now().0,
        );
        self.world.assert_tidy("a step");
    }

    fn toggle(&mut self, slot: usize) {
        let (port, published) = self.ground.toggle(slot);
        if published {
            self.world
                .publish_as(port.id, port.protocol, port.at, port.target);
        } else {
            // While one lives, a container may be given its outside end: what is confirmed is not
            // looked for among the half-open.
            let lives = |flow: &Flow| {
                !flow.confirmed
                    && flow.port == Some(port.id)
                    && flow.life(self.world.now().0) == Life::Live
            };
            if self.model.flows.iter().any(lives) {
                self.world.pass(61);
            }
            self.world.unpublish(port.protocol, port.at);
        }
    }

    /// A packet is seen by both.
    fn meet(&mut self, inbound: bool, packet: Packet, lie: Option<Lie>) {
        let said = Said::new(inbound, &packet, lie);
        self.ground.now = self.world.now().0;
        let confirmed_before = self.confirmed();
        let expected = self.model.meet(&said, &self.ground);
        let sent = falsified(&packet, lie);
        let (verdict, frame) = self.process(&said, &sent);
        let what = || format!("{said:?}\n{packet:?}");
        self.counts.packets += 1;
        let becomes = match expected {
            naive::Verdict::Pass => {
                assert_eq!(verdict, Verdict::Pass, "{}", what());
                assert_eq!(frame, sent, "what passes is not touched: {}", what());
                return;
            }
            naive::Verdict::Drop(reason) => {
                assert_eq!(verdict, Verdict::Drop(reason), "{}", what());
                self.counts.dropped += 1;
                return;
            }
            naive::Verdict::Becomes(becomes) => {
                assert_eq!(verdict, Verdict::Translated, "{}", what());
                becomes
            }
            naive::Verdict::Chance(flow) => {
                assert_eq!(verdict, Verdict::Translated, "{}", what());
                let port = reread(&packet, &frame).src.port();
                a_reserved_port_is_never_handed_out(&self.ground, &flow, port);
                self.counts.chosen += 1;
                self.model.adopt(flow, port)
            }
        };
        self.counts.translated += 1;
        self.counts.confirmed += self.confirmed().saturating_sub(confirmed_before);
        let after = Packet {
            src: becomes.src,
            dst: becomes.dst,
            ..packet.clone()
        };
        the_incremental_checksum_equals_the_full_recomputation(&frame, &after);
        self.reverse_of_translate_is_the_packet_itself(&said, becomes);
        self.talk.remember(inbound, packet, after);
    }

    fn confirmed(&self) -> usize {
        let flows = self.model.flows.iter();
        flows.filter(|flow| flow.confirmed).count()
    }

    fn process(&self, said: &Said, sent: &[u8]) -> (Verdict, Vec<u8>) {
        let (hook, interface) = match (said.side, said.towards_bridge) {
            (Side::In, _) if said.from_uplink => (Hook::In, World::UPLINK),
            (Side::In, _) => (Hook::In, World::PORT),
            (Side::Out, None) => (Hook::Outside, World::UPLINK),
            (Side::Out, Some(17)) => (Hook::Inside, World::BRIDGE),
            (Side::Out, Some(_)) => (Hook::Inside, World::OTHER_BRIDGE),
        };
        self.world.interface.set(interface);
        // Each is a packet of its own, that has not come from another hook.
        self.world.number.set(0);
        let sight = Sight {
            hook,
            l3: 14,
            forwarded: true,
        };
        let mut frame = sent.to_vec();
        let verdict = nat::process::<F, _, _>(&mut Bytes(&mut frame), sight, &self.world);
        (verdict, frame)
    }
}
