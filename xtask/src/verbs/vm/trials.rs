//! What is tried in a guest: tests of the e2e suite, and which kernels they are for.

/// Some tests that show one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// A word for the table.
    pub(super) name: String,
    /// The names of the tests.
    pub(super) tests: Vec<String>,
    /// Whether these are whole names, all of which there must be; else what names contain.
    pub(super) exact: bool,
}

/// What portnat does on each kernel, or on those that have what it takes.
struct Feature {
    name: &'static str,
    /// The first kernel with that.
    since: (u32, u32),
    /// The first kernel that is tried with something else instead.
    until: (u32, u32),
    /// Whether it belongs to the short form.
    short: bool,
    /// Few, as each loads the programs anew, which takes most of a minute here.
    tests: &'static [&'static str],
}

/// The oldest that portnat is for, and none.
const ANY: (u32, u32) = (5, 10);
const NEVER: (u32, u32) = (u32::MAX, 0);

/// TCX links: commit e420bed02507.
const TCX: (u32, u32) = (6, 6);

const FEATURES: [Feature; 10] = [
    // Every program in every form, some traffic, and after kill -9 the next portnat; how many
    // instructions the verifier looked at is for the table.
    Feature {
        name: "programs",
        since: ANY,
        until: NEVER,
        short: true,
        tests: &["survival::programs::all_are_loaded"],
    },
    // Published ports, answers, masquerade, hairpin, the host itself, both families and from one to the
    // other, fragments and ICMP errors.
    Feature {
        name: "clsact",
        since: ANY,
        until: NEVER,
        short: false,
        tests: &["matrix::clsact_with_bridge_nf_and_firewall"],
    },
    Feature {
        name: "tcx",
        since: TCX,
        until: NEVER,
        short: false,
        tests: &["matrix::tcx_alone"],
    },
    // The next one goes on, with what it would attach by itself.
    Feature {
        name: "kill -9",
        since: ANY,
        until: TCX,
        short: false,
        tests: &["survival::nothing_is_lost_by_sigkill_with_clsact"],
    },
    Feature {
        name: "kill -9",
        since: TCX,
        until: NEVER,
        short: false,
        tests: &["survival::nothing_is_lost_by_sigkill_with_tcx"],
    },
    // The guest's own clock, which is set; and each time the next daemon takes over.
    Feature {
        name: "clock",
        since: ANY,
        until: NEVER,
        short: false,
        tests: &["survival::clock::a_clock_that_jumps_ends_nothing"],
    },
    // bpf_check_mtu: commit 34b2021cc616.
    Feature {
        name: "fast path",
        since: (5, 12),
        until: NEVER,
        short: false,
        tests: &["fast_path::a_containers_own_connections_go_past_the_stack"],
    },
    // Devices say whether they take frames: commits d3d854fd6a1d and fccca038f300.
    Feature {
        name: "xdp",
        since: (6, 3),
        until: NEVER,
        short: false,
        tests: &["xdp::large_transfers_are_accelerated_by_the_driver"],
    },
    // Network namespaces' cookies: commit e8b9eab99232.
    Feature {
        name: "bind hook",
        since: (5, 14),
        until: NEVER,
        short: false,
        tests: &["reserve::a_large_range_is_refused_to_the_host_and_not_to_containers"],
    },
    Feature {
        name: "sctp",
        since: ANY,
        until: NEVER,
        short: false,
        tests: &["sctp_sockets::associations_are_published_and_masqueraded"],
    },
];

/// The names of all trials, in order.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = FEATURES.iter().map(|feature| feature.name).collect();
    names.dedup();
    names
}

/// What a kernel of this version is tried with.
pub(super) fn of(version: (u32, u32), short: bool) -> Vec<Trial> {
    let there = FEATURES.iter().filter(|feature| {
        (feature.since..feature.until).contains(&version) && (feature.short || !short)
    });
    there
        .map(|feature| Trial {
            name: feature.name.to_owned(),
            tests: feature.tests.iter().map(|&test| test.to_owned()).collect(),
            exact: true,
        })
        .collect()
}

/// What somebody asks for by parts of names.
pub(super) fn named(filters: &[String]) -> Vec<Trial> {
    vec![Trial {
        name: "named".to_owned(),
        tests: filters.to_vec(),
        exact: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(version: (u32, u32), short: bool) -> Vec<String> {
        let trials = of(version, short).into_iter();
        trials.map(|trial| trial.name).collect()
    }

    #[test]
    fn a_kernel_is_tried_with_what_it_has() {
        let old = names_of((5, 10), false);
        assert!(old.contains(&"clsact".to_owned()), "{old:?}");
        for later in ["tcx", "fast path", "xdp", "bind hook"] {
            assert!(!old.contains(&later.to_owned()), "{old:?}");
        }
        assert_eq!(names_of((6, 12), false), names());
    }

    #[test]
    fn the_short_form_is_a_part() {
        let (short, long) = (names_of((6, 12), true), names_of((6, 12), false));
        assert!(short.len() < long.len() && short.iter().all(|name| long.contains(name)));
    }
}
