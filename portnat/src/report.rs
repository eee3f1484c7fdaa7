//! The table of published ports and what came through them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use comfy_table::{CellAlignment, Table, presets};
use portnat_common::DropReason;
use serde::{Deserialize, Serialize};

use crate::datapath::PortTotals;
use crate::docker::Named;
use crate::flows::Transport;
use crate::model::{Origin, PublishedPort};

/// The published ports, what came through each, and what was dropped. Its fields are those of the
/// JSON, see `docs/api.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The published ports.
    pub ports: Vec<PortReport>,
    /// Dropped packets by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Packets that went to their containers before the host's stack had them (XDP).
    #[serde(default)]
    pub accelerated: u64,
}

/// A published port, or a range of them, and what came through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// The port.
    #[serde(flatten)]
    pub sides: PortSides,
    /// What came through.
    #[serde(flatten)]
    pub totals: PortTotals,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSides {
    /// The host's address; the unspecified one stands for all.
    pub address: IpAddr,
    /// The host's port, of a range the first.
    pub port: u16,
    /// The last port of the host's range.
    pub port_end: u16,
    /// The transport protocol of both ports.
    pub protocol: Transport,
    /// The target's address.
    pub target: IpAddr,
    /// The target's port, of a range the first.
    pub target_port: u16,
    /// The last port of the target's range.
    pub target_port_end: u16,
    /// On whose word it is published.
    pub origin: Origin,
    /// The name of the container whose address the target's is, if Docker is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The name of the network that it has the address in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl PortSides {
    /// A port that is published on the word of `origin`.
    #[must_use]
    pub fn new(port: &PublishedPort, origin: Origin) -> Self {
        PortSides {
            address: port.address,
            port: port.ports.first().get(),
            port_end: port.ports.last().get(),
            protocol: Transport(port.protocol.number()),
            target: port.target.ip(),
            target_port: port.target.port(),
            target_port_end: port.target_end(),
            origin,
            container: None,
            network: None,
        }
    }

    /// That of these which leads to a port of the target.
    #[must_use]
    pub fn leading_to(mut self, target_port: u16) -> Option<Self> {
        if !(self.target_port..=self.target_port_end).contains(&target_port) {
            return None;
        }
        self.port += target_port - self.target_port;
        (self.port_end, self.target_port, self.target_port_end) =
            (self.port, target_port, target_port);
        Some(self)
    }

    /// The host's side without the protocol, as `0.0.0.0:8080` or `0.0.0.0:8000-8099`.
    #[must_use]
    pub fn host(&self) -> String {
        side(self.address, self.port, self.port_end)
    }

    /// The target's ports, as `80` or `80-89`.
    #[must_use]
    pub fn target_ports(&self) -> String {
        match self.target_port == self.target_port_end {
            true => self.target_port.to_string(),
            false => format!("{}-{}", self.target_port, self.target_port_end),
        }
    }

    /// The target's side, alike.
    fn target(&self) -> String {
        side(self.target, self.target_port, self.target_port_end)
    }
}

/// Both sides, as `0.0.0.0:8080/tcp -> 172.17.0.2:80`.
impl fmt::Display for PortSides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -> {}", self.host(), self.protocol, self.target())
    }
}

impl Report {
    /// A report of these ports, whose totals are found by their ids.
    #[must_use]
    pub fn new(
        published: &[(PublishedPort, Origin)],
        totals: &BTreeMap<u32, PortTotals>,
        drops: &[(DropReason, u64)],
        accelerated: u64,
    ) -> Self {
        let port = |(port, origin): &(PublishedPort, Origin)| PortReport {
            sides: PortSides::new(port, *origin),
            totals: totals.get(&port.id).copied().unwrap_or_default(),
        };
        Report {
            ports: published.iter().map(port).collect(),
            dropped: drops
                .iter()
                .map(|(reason, packets)| (reason.to_string(), *packets))
                .collect(),
            accelerated,
        }
    }

    /// With the names that are known of the targets.
    #[must_use]
    pub fn named(mut self, names: &BTreeMap<IpAddr, Named>) -> Self {
        for PortReport { sides, .. } in &mut self.ports {
            let named = names.get(&sides.target).cloned();
            (sides.container, sides.network) = named.map(|it| (it.container, it.network)).unzip();
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        let mut header = vec![
            "HOST",
            "TARGET",
            "FLOWS",
            "PACKETS IN",
            "BYTES IN",
            "PACKETS OUT",
            "BYTES OUT",
        ];
        let numbers = 2..header.len();
        let named = self.ports.iter().any(|port| port.sides.container.is_some());
        header.extend(named.then_some("CONTAINER"));
        table.load_preset(presets::NOTHING).set_header(header);
        for port in &self.ports {
            let sides = &port.sides;
            let host = format!("{}/{}", sides.host(), sides.protocol);
            let mut row = vec![host, sides.target()];
            let traffic = &port.totals.traffic;
            let numbers = [
                port.totals.flows,
                traffic.packets_in,
                traffic.bytes_in,
                traffic.packets_out,
                traffic.bytes_out,
            ];
            row.extend(numbers.map(|number| number.to_string()));
            let PortSides {
                container, network, ..
            } = sides;
            row.extend(
                container
                    .iter()
                    .zip(network)
                    .map(|(it, of)| format!("{it} ({of})")),
            );
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
            if numbers.contains(&column.index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        f.write_str(&table.trim_fmt())?;
        for (reason, packets) in &self.dropped {
            write!(f, "\ndropped {packets} ({reason})")?;
        }
        if self.accelerated > 0 {
            write!(f, "\naccelerated {} (XDP)", self.accelerated)?;
        }
        Ok(())
    }
}

/// An address and its ports, as `172.17.0.2:80` or `172.17.0.2:80-90`.
fn side(address: IpAddr, first: u16, last: u16) -> String {
    let first = SocketAddr::new(address, first);
    if first.port() == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Traffic;
    use crate::spec::Protocol;
    use std::num::NonZeroU16;

    fn report() -> Report {
        let port = PublishedPort {
            id: 1,
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            ports: NonZeroU16::new(8080).expect("not 0").into(),
            protocol: Protocol::Tcp,
            target: "172.17.0.2:80".parse().expect("an address"),
        };
        let totals = PortTotals {
            flows: 1,
            traffic: Traffic {
                packets_in: 6,
                bytes_in: 400,
                ..Default::default()
            },
        };
        Report::new(
            &[(port, Origin::Run)],
            &[(1, totals)].into(),
            &[(DropReason::Fragment, 3)],
            2,
        )
    }

    #[test]
    fn numbers_stand_under_their_headings() {
        let text = report().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("0.0.0.0:8080/tcp   172.17.0.2:80 "),
            "{text}"
        );
        let end = lines[0].find("PACKETS IN").expect("a heading") + "PACKETS IN".len();
        assert_eq!(&lines[1][end - 1..end], "6", "{text}");
        assert_eq!(lines[2..], ["dropped 3 (fragment)", "accelerated 2 (XDP)"]);
    }

    #[test]
    fn a_range_is_one_row() {
        let mut report = report();
        report.ports[0].sides.port_end = 8089;
        report.ports[0].sides.target_port_end = 89;
        let text = report.to_string();
        let row = text.lines().nth(1).expect("a row");
        assert!(
            row.starts_with("0.0.0.0:8080-8089/tcp   172.17.0.2:80-89 "),
            "{text}"
        );
        let v6 = side("fd00::2".parse().expect("an address"), 80, 89);
        assert_eq!(v6, "[fd00::2]:80-89");
    }

    #[test]
    fn a_container_is_called_by_its_name() {
        let named = Named {
            container: "web".to_owned(),
            network: "bridge".to_owned(),
        };
        let target = "172.17.0.2".parse().expect("an address");
        let report = report().named(&[(target, named)].into());
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("BYTES OUT   CONTAINER"), "{text}");
        assert!(lines[1].ends_with("   web (bridge)"), "{text}");
        let json = serde_json::to_string(&report.ports[0]).expect("JSON");
        let names = r#""origin":"run","container":"web","network":"bridge","#;
        assert!(json.contains(names), "{json}");
    }

    /// Scripts rely on it: a field may come, none may go.
    #[test]
    fn the_fields_that_are_documented() {
        let json = serde_json::to_string(&report()).expect("JSON");
        assert_eq!(
            json,
            r#"{"ports":[{"address":"0.0.0.0","port":8080,"port_end":8080,"protocol":"tcp","#
                .to_owned()
                + r#""target":"172.17.0.2","target_port":80,"target_port_end":80,"origin":"run","flows":1,"packets_in":6,"#
                + r#""bytes_in":400,"packets_out":0,"bytes_out":0}],"dropped":{"fragment":3},"accelerated":2}"#
        );
        let read: Report = serde_json::from_str(&json).expect("our own JSON");
        assert_eq!(read, report());
    }
}
