//! The protocol of `docs/flow-protocol.md` under shuttle: three CPUs at one flow, each with a few turns
//! one after the other, which change over before any access to a table, as shuttle's dice say. (In
//! [`crate::interleavings`] two have a turn each, and all of their interleavings are tried.)
//!
//! An element that is removed is another flow's at once, so nobody may write to one afterwards
//! ([`World::assert_tidy`]): a packet that is translated by one would be counted there.

use std::sync::Arc;

use shuttle::rand::Rng as _;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{Config, Runner, rand, thread};

use crate::interleavings::{KINDS, TURNS, Turn, assert_works, take};
use crate::support::racing::Racing;
use crate::support::world::World;

const CPUS: usize = 3;
/// How many turns each CPU has.
const TURNS_EACH: usize = 2;

/// How many are tried in each way.
const SCHEDULES: usize = 10_000;

/// What all CPUs share.
struct Shared {
    world: World,
    /// What shuttle watches: it changes over where this is touched.
    accesses: AtomicUsize,
}

// SAFETY: shuttle's threads take turns on a single thread of the system, and change over where one of its
// own primitives is used: never within one of the world's functions, which use none.
unsafe impl Send for Shared {}
// SAFETY: the same.
unsafe impl Sync for Shared {}

impl Shared {
    fn tables(&self) -> Racing<'_> {
        Racing::scheduled(&self.world, || {
            self.accesses.fetch_add(1, Ordering::Relaxed);
        })
    }
}

/// One schedule.
fn cpus_at_one_flow() {
    let mut dice = rand::thread_rng();
    let kind = KINDS[dice.gen_range(0..KINDS.len())];
    // Fresh; just over; over for a second, in which it may be removed; long gone.
    let lifetime = kind.lifetime();
    let ages = [0, 2, lifetime, lifetime + 1, lifetime + 2, lifetime + 100];
    let age = ages[dice.gen_range(0..ages.len())];
    let turns: [[Turn; TURNS_EACH]; CPUS] =
        [(); CPUS].map(|()| [(); TURNS_EACH].map(|()| TURNS[dice.gen_range(0..TURNS.len())]));

    let world = kind.world();
    world.pass(age);
    let shared = Arc::new(Shared {
        world,
        accesses: AtomicUsize::new(0),
    });
    let cpus = turns.map(|turns| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || turns.map(|turn| take(kind, turn, &shared.tables())))
    });
    for cpu in cpus {
        cpu.join().expect("it does not panic");
    }
    assert_works(
        kind,
        &shared.world,
        &format!("{kind:?} of {age} s, {turns:?}"),
    );
}

/// Tries schedules, of which a failure prints the one that fails.
fn check(scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    // Packets are built on it, without optimizations.
    config.stack_size = 1 << 20;
    Runner::new(scheduler, config).run(cpus_at_one_flow);
}

/// What the dice begin with: always the same, unless the environment says something else.
fn seed() -> u64 {
    let said = std::env::var("PORTNAT_SCHEDULE_SEED").ok();
    said.map_or(7, |seed| seed.parse().expect("a number"))
}

#[test]
fn three_cpus_change_over_anywhere() {
    check(RandomScheduler::new_from_seed(seed(), SCHEDULES));
}

/// Fewer changes, each at a place of its own: some races need only that.
#[test]
fn three_cpus_change_over_rarely() {
    check(PctScheduler::new_from_seed(seed(), 4, SCHEDULES));
}
