//! How the datapath fares, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use portnat_common::{Ip4, Ip6};
use serde::{Deserialize, Serialize};

use super::Look;
use crate::datapath::DatapathError;
use crate::flows::{FlowFilter, ListedFlow};

/// How the datapath fares. Its fields are those of the JSON, see `docs/api.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// How many ports are published.
    pub published_ports: u64,
    /// The flows.
    pub flows: FlowStats,
    /// How many source ports were lent since the start, by how many of the pool were tried for each:
    /// none, for the sender's own was free, one, two, and so on.
    pub probes: Vec<u64>,
    /// Dropped packets by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// How many flows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStats {
    /// All of them.
    pub total: u64,
    /// How many of each family there can be.
    pub max_per_family: u64,
    /// Those that outsiders have opened and not confirmed.
    pub half_open: u64,
    /// Those whose packets go past the host's stack.
    pub fast: u64,
    /// By protocol and state.
    pub states: BTreeMap<String, BTreeMap<String, u64>>,
}

impl FlowStats {
    fn count(&mut self, flow: &ListedFlow) {
        self.total += 1;
        self.half_open += u64::from(flow.half_open);
        self.fast += u64::from(flow.path == "fast");
        let states = self.states.entry(flow.protocol.to_string()).or_default();
        *states.entry(flow.state.to_string()).or_default() += 1;
    }
}

impl Look {
    /// The numbers, for which all flows are read.
    pub(super) fn stats(&self, go_on: impl Fn() -> bool) -> Result<Stats, DatapathError> {
        let mut flows = FlowStats {
            max_per_family: self.max_flows.into(),
            ..FlowStats::default()
        };
        let all = FlowFilter::default();
        self.sift::<Ip4>(&all, &go_on, |_, flow| {
            flows.count(&flow);
            true
        })?;
        self.sift::<Ip6>(&all, &go_on, |_, flow| {
            flows.count(&flow);
            true
        })?;
        let dropped = self.drops.iter();
        Ok(Stats {
            published_ports: self.published.len() as u64,
            flows,
            probes: self.probes.clone(),
            dropped: dropped
                .map(|(reason, packets)| (reason.to_string(), *packets))
                .collect(),
        })
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut row = |what: String, number: u64| {
            table.add_row([what, number.to_string()]);
        };
        row("published ports".to_owned(), self.published_ports);
        row("flows".to_owned(), self.flows.total);
        row(
            "  at most, of each family".to_owned(),
            self.flows.max_per_family,
        );
        row("  half-open".to_owned(), self.flows.half_open);
        row("  past the host's stack".to_owned(), self.flows.fast);
        for (protocol, states) in &self.flows.states {
            for (state, number) in states {
                row(format!("  {protocol} {state}"), *number);
            }
        }
        row("source ports lent".to_owned(), self.probes.iter().sum());
        let counts = self.probes.iter().enumerate();
        for (tried, number) in counts.filter(|(_, number)| **number > 0) {
            let how = match tried {
                0 => "  the sender's own".to_owned(),
                tried => format!("  at attempt {tried}"),
            };
            row(how, *number);
        }
        for (reason, packets) in &self.dropped {
            row(format!("dropped ({reason})"), *packets);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
            if column.index > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        f.write_str(&table.trim_fmt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts rely on it: a field may come, none may go.
    #[test]
    fn the_fields_that_are_documented() {
        let stats = Stats {
            published_ports: 1,
            flows: FlowStats {
                total: 2,
                max_per_family: 1024,
                half_open: 1,
                fast: 1,
                states: [("tcp".to_owned(), [("opening".to_owned(), 2)].into())].into(),
            },
            probes: vec![3, 0, 1],
            dropped: [("fragment".to_owned(), 4)].into(),
        };
        let json = serde_json::to_string(&stats).expect("JSON");
        assert_eq!(
            json,
            r#"{"published_ports":1,"flows":{"total":2,"max_per_family":1024,"half_open":1,"#
                .to_owned()
                + r#""fast":1,"states":{"tcp":{"opening":2}}},"probes":[3,0,1],"#
                + r#""dropped":{"fragment":4}}"#
        );
        let read: Stats = serde_json::from_str(&json).expect("our own JSON");
        assert_eq!(read, stats);
        let text = stats.to_string();
        let words: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(words.contains(&vec!["tcp", "opening", "2"]), "{text}");
        assert!(words.contains(&vec!["at", "attempt", "2", "1"]), "{text}");
        assert!(
            words.contains(&vec!["dropped", "(fragment)", "4"]),
            "{text}"
        );
    }
}
