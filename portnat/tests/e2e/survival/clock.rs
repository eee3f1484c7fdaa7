//! The machine's clock is set, by NTP or by hand: flows and daemons go by the time since the boot.

use std::env;

use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime, clock_settime};
use portnat::flows::FlowList;

use super::place::kill;
use super::{Scene, Talk, persist};

/// Says that the machine is the test's own, as in a virtual one (`cargo xtask vm`).
const OWN_MACHINE: &str = "PORTNAT_TEST_OWN_MACHINE";

const HOUR: u64 = 60 * 60;

const DAY: i64 = 24 * 60 * 60;

fn jump(seconds: i64) {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("there is one");
    let then = now + TimeSpec::seconds(seconds);
    clock_settime(ClockId::CLOCK_REALTIME, then).expect("it can be set");
}

#[test]
fn a_clock_that_jumps_ends_nothing() {
    if env::var_os(OWN_MACHINE).is_none() {
        eprintln!("SKIPPED: the clock is the machine's; `cargo xtask vm` sets one");
        return;
    }
    let scene = Scene::new();
    let arguments = persist("auto", &[]);
    let daemon = scene.place.run(&scene.lab, &arguments);
    let talks = scene.talks();
    for days in [1, -401, 400] {
        jump(days * DAY);
        talks.iter().for_each(Talk::goes_on);
        scene.assert_at_work();
        // Nor is anything of another age for it.
        let json = scene.place.told(&["flows", "--json"]);
        let FlowList(flows) = serde_json::from_str(&json).expect("JSON");
        assert!(flows.len() >= talks.len(), "{flows:?}");
        let mut ages = flows
            .iter()
            .flat_map(|flow| [flow.age_seconds, flow.idle_seconds]);
        assert!(ages.all(|age| age < HOUR), "{flows:?}");
    }
    // The next one takes them over, in another year.
    kill(daemon);
    jump(-400 * DAY);
    let daemon = scene.place.run(&scene.lab, &arguments);
    jump(400 * DAY);
    talks.iter().for_each(Talk::goes_on);
    talks.into_iter().for_each(Talk::end);
    kill(daemon);
}
