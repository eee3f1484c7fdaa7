//! portnat's benchmark: `cargo xtask bench`.
//!
//! Each work is done by portnat and by its peers, in rounds that are interleaved: what else the
//! machine does at the time hits all of them. Absolute figures are never asserted.
//!
//! The rooms: [`works`] are what is measured, [`peers`] who. [`ground`] is the lab of each; the
//! [`generator`] makes packets and a [`sink`] counts them, both by the programs in [`kernel`], whose
//! layouts are in [`plan`]; a [`road`] is a ground with them. [`talk`] are real sockets, and
//! [`flood`] what is in their way. [`results`] collects figures, which [`report`] and [`plot`] tell.

mod flood;
mod generator;
mod ground;
mod kernel;
mod machine;
mod options;
mod peers;
mod plot;
mod report;
mod results;
mod road;
mod sink;
mod talk;
mod tools;
mod works;

#[path = "../../../portnat-ebpf/src/bench/plan.rs"]
#[expect(dead_code, reason = "some of it only the programs need")]
mod plan;

#[path = "../../tests/e2e/daemon.rs"]
#[expect(dead_code, reason = "some of it only the tests need")]
mod daemon;

#[path = "../../tests/e2e/docker/ground.rs"]
#[expect(dead_code, reason = "some of it only the tests need")]
mod dockerd;

#[path = "../../tests/e2e/survival/event.rs"]
mod event;

#[path = "../../tests/e2e/patience.rs"]
mod patience;

/// What the daemon's room and Docker's need of the tests' support.
mod support {
    pub(crate) use crate::patience::{INTERVAL, eventually, patience};
}

use std::fs;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;

use machine::Machine;
use options::Options;
use report::Report;
use results::Results;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let folder = options.output();
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    generator::handle_signal()?;
    // Asked for once, by a thread that is not pinned.
    machine::cpus();
    let machine = Machine::here();
    let mut results = Results::default();
    let mut failed = false;
    for work in options.works() {
        say(&format!("({}) {}", work.letter, work.title));
        if let Err(error) = (work.run)(options, &mut results) {
            results.skip(format!("({}): {error:#}", work.letter));
            failed = true;
        }
        // What there is is told, whatever becomes of later works.
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            machine: &machine,
            rounds: options.rounds,
            seconds: options.seconds,
            results: &results,
        };
        report.write(&folder)?;
        fs::write(folder.join("bench.md"), report.text())?;
        plot::draw(&results, &folder)?;
    }
    print!("{}", fs::read_to_string(folder.join("bench.md"))?);
    say(&format!(
        "table, JSON and plots are in {}",
        folder.display()
    ));
    ensure!(!failed, "not all works could be done");
    Ok(())
}

/// Says something beside the figures.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
