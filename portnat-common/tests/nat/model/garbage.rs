//! Bytes that no sane sender sends, among flows that live.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::{Bytes, V4, V6, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{Run, config};
use crate::support::traffic::{Step, step};
use crate::support::world::TestFamily;

/// Packets of flows with some bytes of something else, cut short or not; and bytes that never were a
/// packet.
fn bytes(ipv6: bool) -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let mutated = (step(ipv6), mutations, prop::option::of(0usize..120)).prop_filter_map(
        "a packet",
        |(step, mutations, length)| {
            let Step::Say { packet, .. } = step else {
                return None;
            };
            let mut frame = packet.frame();
            for (at, byte) in mutations {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            frame.truncate(length.unwrap_or(usize::MAX));
            Some(frame)
        },
    );
    let random = prop::collection::vec(any::<u8>(), 0..160).prop_map(move |mut frame| {
        // Mostly of the right version, or it is refused at the first look.
        if let Some(version) = frame.get_mut(14) {
            *version = if ipv6 { 0x60 } else { 0x45 };
        }
        frame
    });
    prop_oneof![4 => mutated, 1 => random]
}

fn no_bytes_make_it_panic<F: TestFamily>(ipv6: bool) {
    let steps = prop::collection::vec(step(ipv6), 0..16);
    let frames = prop::collection::vec(bytes(ipv6), 1..16);
    let result = TestRunner::new(config(512)).run(&(steps, frames), |(steps, frames)| {
        let mut run = Run::<F>::new();
        steps.iter().for_each(|step| run.step(step));
        for (frame, hook) in frames
            .iter()
            .flat_map(|frame| [Hook::In, Hook::Outside, Hook::Inside].map(|hook| (frame, hook)))
        {
            for l3 in [14, 0] {
                let sight = Sight {
                    hook,
                    l3,
                    forwarded: true,
                };
                let mut out = frame.clone();
                let verdict = nat::process::<F, _, _>(&mut Bytes(&mut out), sight, &run.world);
                // Any bytes may be a later fragment, which waits as it came.
                if matches!(verdict, Verdict::Pass | Verdict::Held) {
                    prop_assert_eq!(frame, &out, "what passes or waits is not touched");
                }
            }
        }
        run.world.assert_tidy("any bytes");
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn no_bytes_of_ipv4_make_it_panic() {
    no_bytes_make_it_panic::<V4>(false);
}

#[test]
fn no_bytes_of_ipv6_make_it_panic() {
    no_bytes_make_it_panic::<V6>(true);
}
