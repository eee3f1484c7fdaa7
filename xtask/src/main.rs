//! `cargo xtask`: portnat's build, run, test, benchmark and lint, from a bare machine.
//!
//! The rooms: [`toolchain`] chooses the compiler for eBPF among what [`probe`] sees and [`provide`]
//! can add, [`linker`] brings `bpf-linker`, [`ebpf`] puts them together; [`verbs`] are what one
//! types; [`apt`], [`cargo`] and [`exec`] are the tools underneath.

mod apt;
mod cargo;
mod docker;
mod ebpf;
mod exec;
mod linker;
mod privilege;
mod probe;
mod provide;
mod toolchain;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use verbs::test::Suite;

/// Builds, runs, tests, measures and lints portnat.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the eBPF object, then portnat around it.
    Build {
        /// Build portnat with optimizations (the eBPF object always has them).
        #[arg(long)]
        release: bool,
    },
    /// Build portnat and run it as root; its exit code is the exit code.
    Run {
        /// Build portnat with optimizations (the eBPF object always has them).
        #[arg(long)]
        release: bool,
        /// What portnat is told; `demo` if nothing.
        #[arg(last = true, default_value = "demo")]
        arguments: Vec<String>,
    },
    /// Run the tests: one suite, or all of them in order.
    Test {
        /// The suite to run; all of them if none is named.
        suite: Option<Suite>,
        /// Passed on to the test binaries: a filter, --nocapture, …
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure portnat beside its peers; tables, JSON and plots go to target/bench.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmark: --help, --rounds, --seconds, --peers, letters of works, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Have all that can happen to a host happen at random, under a load that must not break. It is one of
    /// the e2e tests, which takes half a minute there.
    Chaos {
        /// How long, in seconds.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// What it begins with, as an earlier run has said it.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run the fuzzers, with libFuzzer and the stable compiler.
    Fuzz(verbs::fuzz::Options),
    /// Run the unit tests of the pure crate under Miri, if there is a nightly that has it.
    Miri,
    /// Build portnat and have it write its man pages to target/man.
    Man,
    /// Build portnat as a static binary, and make a Debian package and an archive of it in target/dist;
    /// the package is tried.
    Dist,
    /// Run the tests on Debian's other kernels, in QEMU; a table and JSON go to target/vm.
    Vm(verbs::vm::Options),
    /// Check the formatting, the dependencies, and clippy on every crate, the eBPF crate as bpfel code.
    Lint,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Build { release } => verbs::build(release),
        Verb::Run { release, arguments } => verbs::run(release, &arguments),
        Verb::Test { suite, arguments } => verbs::test::run(suite, &arguments),
        Verb::Bench { arguments } => verbs::bench::run(&arguments),
        Verb::Chaos { seconds, seed } => verbs::test::chaos(seconds, seed),
        Verb::Fuzz(options) => verbs::fuzz::run(&options),
        Verb::Miri => verbs::miri::run(),
        Verb::Man => verbs::man(),
        Verb::Dist => verbs::dist::run(),
        Verb::Vm(options) => verbs::vm::run(&options),
        Verb::Lint => verbs::lint::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Verb {
        Arguments::try_parse_from(line.split_whitespace())
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .verb
    }

    #[test]
    fn run_alone_is_the_demo() {
        let Verb::Run { release, arguments } = parse("xtask run") else {
            panic!("`run` is another verb");
        };
        assert!(!release);
        assert_eq!(arguments, ["demo"]);
    }

    #[test]
    fn what_follows_the_dashes_is_passed_on() {
        let Verb::Run { release, arguments } = parse("xtask run --release -- show --json") else {
            panic!("`run` is another verb");
        };
        assert!(release);
        assert_eq!(arguments, ["show", "--json"]);

        let Verb::Test { suite, arguments } = parse("xtask test e2e -- published --nocapture")
        else {
            panic!("`test` is another verb");
        };
        assert_eq!(suite, Some(Suite::E2e));
        assert_eq!(arguments, ["published", "--nocapture"]);

        let Verb::Fuzz(_) = parse("xtask fuzz --seconds 9 --asan nat spec") else {
            panic!("`fuzz` is another verb");
        };

        let Verb::Bench { arguments } = parse("xtask bench --rounds 3 a") else {
            panic!("`bench` is another verb");
        };
        assert_eq!(arguments, ["--rounds", "3", "a"]);
    }
}
