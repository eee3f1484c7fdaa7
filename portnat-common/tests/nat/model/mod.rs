//! The NAT against a naive model of it: any packets in any order, with any time in between.
//!
//! Packets are whole: what becomes of fragments, in any order, is for `fragments` to say (the table
//! here has what each state makes of one). And UDP is masqueraded without endpoint-independent
//! mappings, which have properties of their own, in `mappings`.

mod flow;
mod garbage;
mod ground;
mod naive;
mod oracles;
mod run;
mod states;
mod table;

use std::cell::Cell;

use portnat_common::{V4, V6};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::traffic::step;
use crate::support::world::TestFamily;
use run::{Counts, Run};

fn any_steps<F: TestFamily>(what: &str, ipv6: bool) {
    let total = Cell::new(Counts::default());
    let strategy = prop::collection::vec(step(ipv6), 1..128);
    let result = TestRunner::new(config(512)).run(&strategy, |steps| {
        let mut run = Run::<F>::new();
        steps.iter().for_each(|step| run.step(step));
        total.set(total.get() + run.counts);
        Ok(())
    });
    println!("{what}, compared with the model: {:?}", total.get());
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// At least so many cases; PROPTEST_CASES asks for more.
fn config(cases: u32) -> ProptestConfig {
    let standard = ProptestConfig::default();
    ProptestConfig {
        cases: standard.cases.max(cases),
        failure_persistence: None,
        ..standard
    }
}

#[test]
fn any_steps_in_ipv4_do_what_the_model_says() {
    any_steps::<V4>("IPv4", false);
}

#[test]
fn any_steps_in_ipv6_do_what_the_model_says() {
    any_steps::<V6>("IPv6", true);
}
