//! What was measured.

use serde::Serialize;
use statrs::statistics::{Data, Max, Min, OrderStatistics};

use crate::peers::Peer;

/// What a figure is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Subject {
    /// The work's letter.
    pub(crate) work: char,
    /// What is measured, such as "packets a second".
    pub(crate) metric: &'static str,
    /// Under which circumstances, such as "64 flows".
    pub(crate) case: String,
    pub(crate) unit: Unit,
}

impl Subject {
    /// Whether two differ in their cases only.
    pub(crate) fn is_figured_with(&self, other: &Self) -> bool {
        (self.work, self.metric) == (other.work, other.metric)
    }
}

/// In what a figure is told, and whether more of it is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// So many a second; more is better.
    PerSecond,
    /// Gbit a second; more is better.
    GbitPerSecond,
    /// Parts of one; more is better.
    Share,
    /// Seconds; less is better.
    Seconds,
    /// Microseconds; less is better.
    Microseconds,
    /// Nanoseconds; less is better.
    Nanoseconds,
    /// Seconds of CPU time for each Gbit; less is better.
    CpuSecondsPerGbit,
    /// Bytes; less is better.
    Bytes,
}

impl Unit {
    /// As it stands behind the figure.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Share => "",
            Unit::GbitPerSecond => "Gbit/s",
            Unit::Seconds => "s",
            Unit::Microseconds => "µs",
            Unit::Nanoseconds => "ns",
            Unit::CpuSecondsPerGbit => "CPU s/Gbit",
            Unit::Bytes => "B",
        }
    }

    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Unit::PerSecond | Unit::GbitPerSecond | Unit::Share)
    }
}

/// One peer's figures about one subject, a figure a round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    #[serde(flatten)]
    pub(crate) subject: Subject,
    pub(crate) peer: Peer,
    pub(crate) rounds: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// The quartiles.
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

/// All figures, and what is missing among them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) series: Vec<Series>,
    /// What was skipped, and why.
    pub(crate) skipped: Vec<String>,
}

impl Results {
    /// Adds a round's figure.
    pub(crate) fn add(&mut self, subject: &Subject, peer: Peer, value: f64) {
        let known = self
            .series
            .iter_mut()
            .find(|series| series.peer == peer && series.subject == *subject);
        match known {
            Some(series) => series.add(value),
            None => {
                let mut series = Series {
                    subject: subject.clone(),
                    peer,
                    rounds: Vec::new(),
                    median: value,
                    least: value,
                    most: value,
                    lower: value,
                    upper: value,
                };
                series.add(value);
                self.series.push(series);
            }
        }
    }

    /// Says aloud, and notes, what is not measured.
    pub(crate) fn skip(&mut self, what: String) {
        crate::say(&format!("SKIPPED: {what}"));
        self.skipped.push(what);
    }

    /// The subjects in the order in which they came, those together that differ in their cases
    /// only.
    pub(crate) fn subjects(&self) -> Vec<&Subject> {
        let mut subjects: Vec<&Subject> = Vec::new();
        for Series { subject, .. } in &self.series {
            if subjects.contains(&subject) {
                continue;
            }
            let last = subjects
                .iter()
                .rposition(|other| other.is_figured_with(subject));
            subjects.insert(last.map_or(subjects.len(), |last| last + 1), subject);
        }
        subjects
    }

    /// All peers' figures about a subject.
    pub(crate) fn about(&self, subject: &Subject) -> Vec<&Series> {
        let mut about: Vec<_> = self
            .series
            .iter()
            .filter(|series| series.subject == *subject)
            .collect();
        about.sort_by_key(|series| series.peer);
        about
    }
}

impl Series {
    fn add(&mut self, value: f64) {
        self.rounds.push(value);
        let mut data = Data::new(self.rounds.clone());
        self.median = data.median();
        self.lower = data.lower_quartile();
        self.upper = data.upper_quartile();
        self.least = data.min();
        self.most = data.max();
    }

    /// How much better than another series, as a factor: 2 is twice as good.
    pub(crate) fn times_better_than(&self, other: &Self) -> f64 {
        if self.subject.unit.more_is_better() {
            self.median / other.median
        } else {
            other.median / self.median
        }
    }
}
