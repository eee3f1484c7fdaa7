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
        let subjects = self.results.subjects();
        for cases in subjects.chunk_by(|one, next| one.is_figured_with(next)) {
            text += &self.section(cases);
        }
        for skipped in &self.results.skipped {
            text += &format!("\nSkipped: {skipped}.");
        }
        text + "\n"
    }

    /// The table of subjects that differ in their cases only.
    fn section(&self, cases: &[&Subject]) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN).set_header([
            "case",
            "peer",
            "median",
            "least … most",
            "× plain",
            "portnat is × as good",
        ]);
        for subject in cases {
            let series = self.results.about(subject);
            for (index, one) in series.iter().enumerate() {
                // Each case once, as a heading of its rows.
                let case = if index == 0 {
                    subject.case.as_str()
                } else {
                    ""
                };
                table.add_row(row(case, one, &series));
            }
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        cases.first().map_or(String::new(), |subject| {
            let title = Work::title_of(subject.work);
            format!(
                "\n### ({}) {title}: {}\n\n{table}\n",
                subject.work, subject.metric
            )
        })
    }
}

/// One peer's row, among all peers' series.
fn row(case: &str, one: &Series, series: &[&Series]) -> [String; 6] {
    let unit = one.subject.unit;
    let ratio = |peer, better: fn(&Series, &Series) -> f64| {
        let other = series.iter().find(|series| series.peer == peer);
        other.map_or("–".to_owned(), |other| {
            format!("{:.2}", better(one, other))
        })
    };
    let [least, most] = [one.least, one.most].map(|value| figure(value, unit));
    [
        case.to_owned(),
        one.peer.name(),
        figure(one.median, unit),
        format!("{least} … {most}"),
        ratio(Peer::Plain, Series::times_better_than),
        ratio(Peer::Portnat, |one, portnat| portnat.times_better_than(one)),
    ]
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
