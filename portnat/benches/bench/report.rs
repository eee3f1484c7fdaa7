//! What is told: a table, and JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::machine::Machine;
use crate::peers::Peer;
use crate::results::{Results, Series, Subject, Unit};
use crate::works::Work;

/// The whole run, as JSON has it.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) version: &'static str,
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) machine: &'a Machine,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) results: &'a Results,
}

impl Report<'_> {
    /// Writes `bench.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join("bench.json");
        let json = serde_json::to_string_pretty(self)?;
        fs::write(&path, json).with_context(|| format!("writing {}", path.display()))
    }

    /// The run in words and tables, as Markdown.
    pub(crate) fn text(&self) -> String {
        let Machine {
            processor,
            cpus,
            memory_gib,
            kernel,
            bridge_nf,
            conntrack_max,
            load,
        } = self.machine;
        let conntrack = conntrack_max.map_or("none".to_owned(), |max| max.to_string());
        let mut text = format!(
            "portnat {}, Linux {kernel}, {processor}, {cpus} CPUs, {memory_gib} GiB; \
             bridge-nf-call-iptables {}, nf_conntrack_max {conntrack}, load before {load}; \
             {} rounds of {} s, interleaved.\n",
            self.version,
            u8::from(*bridge_nf),
            self.rounds,
            self.seconds,
        );
        for subject in self.results.subjects() {
            text += &section(subject, &self.results.about(subject));
        }
        for skipped in &self.results.skipped {
            text += &format!("\nSkipped: {skipped}.");
        }
        text + "\n"
    }
}

/// A subject's table.
fn section(subject: &Subject, series: &[&Series]) -> String {
    let title = Work::title_of(subject.work);
    let of = |peer| series.iter().find(|series| series.peer == peer);
    let (plain, portnat) = (of(Peer::Plain), of(Peer::Portnat));
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header([
        "peer",
        "median",
        "least … most",
        "× plain",
        "portnat is × as good",
    ]);
    for one in series {
        let ratio = |other: Option<&&Series>, better: fn(&Series, &Series) -> f64| {
            other.map_or("–".to_owned(), |other| {
                format!("{:.2}", better(one, other))
            })
        };
        table.add_row([
            one.peer.name(),
            figure(one.median, subject.unit),
            format!(
                "{} … {}",
                figure(one.least, subject.unit),
                figure(one.most, subject.unit)
            ),
            ratio(plain, Series::times_better_than),
            ratio(portnat, |one, portnat| portnat.times_better_than(one)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!(
        "\n### ({}) {title}: {}, {}\n\n{table}\n",
        subject.work, subject.metric, subject.case
    )
}

/// A figure with three digits that mean something.
pub(crate) fn figure(value: f64, unit: Unit) -> String {
    let (value, prefix) = match unit {
        Unit::PerSecond if value >= 1e6 => (value / 1e6, " M"),
        Unit::PerSecond if value >= 1e3 => (value / 1e3, " k"),
        Unit::Bytes if value >= 1024.0 * 1024.0 => (value / 1024.0 / 1024.0, " Mi"),
        _ => (value, " "),
    };
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}{prefix}{}", unit.symbol())
        .trim_end()
        .to_owned()
}
