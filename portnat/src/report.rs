//! The table of published ports and what came through them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use comfy_table::{CellAlignment, Table, presets};
use portnat_common::DropReason;

use crate::datapath::PortTotals;
use crate::model::PublishedPort;

/// The published ports, what came through each, and what was dropped.
#[derive(Clone, Debug)]
pub struct Report {
    /// The published ports.
    pub published: Vec<PublishedPort>,
    /// What came through them, by their ids.
    pub totals: BTreeMap<u32, PortTotals>,
    /// Dropped packets by reason.
    pub drops: Vec<(DropReason, u64)>,
}

impl Report {
    /// What came through a port.
    #[must_use]
    pub fn of(&self, port: &PublishedPort) -> PortTotals {
        self.totals.get(&port.id).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header([
            "HOST",
            "TARGET",
            "FLOWS",
            "PACKETS IN",
            "BYTES IN",
            "PACKETS OUT",
            "BYTES OUT",
        ]);
        for port in &self.published {
            let totals = self.of(port);
            let mut row = vec![
                format!(
                    "{}/{}",
                    SocketAddr::new(port.address, port.port.get()),
                    port.protocol
                ),
                port.target.to_string(),
            ];
            let numbers = [
                totals.flows,
                totals.packets_in,
                totals.bytes_in,
                totals.packets_out,
                totals.bytes_out,
            ];
            row.extend(numbers.map(|number| number.to_string()));
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
            if column.index > 1 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        f.write_str(&table.trim_fmt())?;
        for (reason, packets) in &self.drops {
            write!(f, "\ndropped {packets} ({reason})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Protocol;
    use std::num::NonZeroU16;

    #[test]
    fn numbers_stand_under_their_headings() {
        let port = PublishedPort {
            id: 1,
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            port: NonZeroU16::new(8080).expect("not 0"),
            protocol: Protocol::Tcp,
            target: "172.17.0.2:80".parse().expect("an address"),
        };
        let totals = PortTotals {
            flows: 1,
            packets_in: 6,
            bytes_in: 400,
            ..Default::default()
        };
        let report = Report {
            published: vec![port],
            totals: [(1, totals)].into(),
            drops: vec![(DropReason::Fragment, 3)],
        };
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("0.0.0.0:8080/tcp   172.17.0.2:80 "),
            "{text}"
        );
        let end = lines[0].find("PACKETS IN").expect("a heading") + "PACKETS IN".len();
        assert_eq!(&lines[1][end - 1..end], "6", "{text}");
        assert_eq!(lines[2], "dropped 3 (fragment)");
    }
}
