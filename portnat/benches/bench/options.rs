//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::peers::Peer;
use crate::works::{WORKS, Work};

/// Measures portnat beside its peers, in network namespaces of its own.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
pub(crate) struct Options {
    /// The works, by their letters; all of them if none is named.
    #[arg(value_parser = letter)]
    works: Vec<char>,
    /// How often each peer does each work.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each of those takes.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Who is measured; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// How many flows; each work has numbers of its own.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    flows: Vec<u32>,
    /// Where table, JSON and plots go; target/bench if not given.
    #[arg(long)]
    output: Option<PathBuf>,
    /// What cargo says to each benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn works(&self) -> impl Iterator<Item = &'static Work> + '_ {
        WORKS
            .iter()
            .filter(|work| self.works.is_empty() || self.works.contains(&work.letter))
    }

    /// Those of some peers that are asked for.
    pub(crate) fn peers(&self, among: &[Peer]) -> Vec<Peer> {
        among
            .iter()
            .copied()
            .filter(|peer| self.peers.is_empty() || self.peers.contains(peer))
            .collect()
    }

    /// The numbers of flows, unless others are asked for.
    pub(crate) fn flows(&self, unless: &[u32]) -> Vec<u32> {
        if self.flows.is_empty() {
            unless.to_vec()
        } else {
            self.flows.clone()
        }
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The same, with one round.
    pub(crate) fn once(&self) -> Self {
        Self {
            rounds: 1,
            ..self.clone()
        }
    }

    /// How long each round runs before it counts.
    pub(crate) fn warm_up(&self) -> Duration {
        self.time() / 5
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.output
            .clone()
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench"))
    }
}

fn letter(text: &str) -> Result<char, String> {
    WORKS
        .iter()
        .map(|work| work.letter)
        .find(|letter| text.chars().eq([*letter]))
        .ok_or_else(|| {
            let works: Vec<_> = WORKS
                .iter()
                .map(|work| format!("{} ({})", work.letter, work.title))
                .collect();
            format!("there are {}", works.join(", "))
        })
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.01 to 3600".to_owned()),
    }
}
