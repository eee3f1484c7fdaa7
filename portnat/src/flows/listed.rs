//! A flow as it is told.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use portnat_common::conntrack::State;
use portnat_common::{Address, Ip4, Ip6, Tuple};
use serde::{Deserialize, Serialize};

use super::joined::{JoinedFlow, Traffic};
use super::transport::Transport;
use crate::model::PublishedPort;

/// A flow as it is told. Its fields are those of the JSON, see `docs/api.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFlow {
    /// The transport protocol.
    pub protocol: Transport,
    /// The state: `opening`, `established` or `closing` for TCP and SCTP, `unanswered` or `answered` for UDP,
    /// `query` for ICMP.
    pub state: Cow<'static, str>,
    /// Whether an outsider has opened it and not shown yet that it gets the answers.
    pub half_open: bool,
    /// Whether its packets go past the host's stack (`fast`) or through it (`stack`).
    pub path: Cow<'static, str>,
    /// Seconds since the flow was opened.
    pub age_seconds: u64,
    /// Seconds since the last packet of either direction.
    pub idle_seconds: u64,
    /// The published port that it came through, as `0.0.0.0:8080/tcp`.
    pub published: Option<String>,
    /// What the client's packets say where they come to us.
    pub original: Ends,
    /// What they say afterwards.
    pub translated: Ends,
    /// What it has carried.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Source address.
    pub source: IpAddr,
    /// Source port, or the identifier of an ICMP query.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port, or the identifier of an ICMP query.
    pub destination_port: u16,
}

impl ListedFlow {
    /// What is to be told of `flow` of this age, which has been silent for `idle`, is `fast` or not and
    /// came through `published`.
    #[must_use]
    pub fn new<A: Address>(
        flow: &JoinedFlow<A>,
        age: Duration,
        idle: Duration,
        fast: bool,
        published: Option<&PublishedPort>,
    ) -> Self {
        let (original, translated) = flow.way();
        // Of a range it is this port.
        let published = published.map(|port| port.host_at(original.dst_port));
        ListedFlow {
            protocol: Transport(original.protocol),
            state: name(flow.state()).into(),
            half_open: flow.is_half_open(),
            path: if fast { "fast" } else { "stack" }.into(),
            age_seconds: age.as_secs(),
            idle_seconds: idle.as_secs(),
            published,
            original: Ends::of(&original),
            translated: Ends::of(&translated),
            traffic: flow.traffic(),
        }
    }

    fn state_in_words(&self) -> String {
        let half_open = if self.half_open { " (half-open)" } else { "" };
        format!("{}{half_open}", self.state)
    }
}

impl Ends {
    fn of<A: Address>(tuple: &Tuple<A>) -> Self {
        Ends {
            source: address(&tuple.src),
            source_port: tuple.src_port,
            destination: address(&tuple.dst),
            destination_port: tuple.dst_port,
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = SocketAddr::new(self.source, self.source_port);
        let destination = SocketAddr::new(self.destination, self.destination_port);
        write!(f, "{source} -> {destination}")
    }
}

/// An address of either family; each has as many words as its family's.
fn address<A: Address>(address: &A) -> IpAddr {
    let wide = address.widen();
    match address.words() {
        [_] => Ipv4Addr::from(Ip4::narrow(&wide)).into(),
        // The IPv4 end of an IPv6 client's flow is held as an IPv4-mapped address.
        _ => IpAddr::from(Ipv6Addr::from(Ip6::narrow(&wide))).to_canonical(),
    }
}

/// A state's name, which scripts rely on.
const fn name(state: State) -> &'static str {
    match state {
        State::TCP_OPENING | State::SCTP_OPENING => "opening",
        State::TCP_ESTABLISHED | State::SCTP_ESTABLISHED => "established",
        State::TCP_CLOSING | State::SCTP_CLOSING => "closing",
        State::UDP_UNANSWERED => "unanswered",
        State::UDP_ANSWERED => "answered",
        _ => "query",
    }
}

/// The table of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowList(pub Vec<ListedFlow>);

impl fmt::Display for FlowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header([
            "PROTO",
            "STATE",
            "PATH",
            "AGE",
            "IDLE",
            "ORIGINAL",
            "TRANSLATED",
            "PUBLISHED",
            "PACKETS IN",
            "BYTES IN",
            "PACKETS OUT",
            "BYTES OUT",
        ]);
        for flow in &self.0 {
            let traffic = &flow.traffic;
            table.add_row([
                flow.protocol.to_string(),
                flow.state_in_words(),
                flow.path.to_string(),
                format!("{}s", flow.age_seconds),
                format!("{}s", flow.idle_seconds),
                flow.original.to_string(),
                flow.translated.to_string(),
                flow.published.clone().unwrap_or_else(|| "-".to_owned()),
                traffic.packets_in.to_string(),
                traffic.bytes_in.to_string(),
                traffic.packets_out.to_string(),
                traffic.bytes_out.to_string(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
            if column.index == 3 || column.index == 4 || column.index > 7 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        f.write_str(&table.trim_fmt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> ListedFlow {
        ListedFlow {
            protocol: Transport(6),
            state: "established".into(),
            half_open: false,
            path: "fast".into(),
            age_seconds: 61,
            idle_seconds: 3,
            published: Some("0.0.0.0:8080/tcp".to_owned()),
            original: ends("192.0.2.10:51000", "192.0.2.1:8080"),
            translated: ends("192.0.2.10:51000", "172.17.0.2:80"),
            traffic: Traffic {
                packets_in: 6,
                bytes_in: 400,
                packets_out: 5,
                bytes_out: 300,
            },
        }
    }

    fn ends(source: &str, destination: &str) -> Ends {
        let [source, destination]: [SocketAddr; 2] =
            [source, destination].map(|text| text.parse().expect("an address"));
        Ends {
            source: source.ip(),
            source_port: source.port(),
            destination: destination.ip(),
            destination_port: destination.port(),
        }
    }

    /// Scripts rely on it: a field may come, none may go.
    #[test]
    fn the_fields_that_are_documented() {
        let json = serde_json::to_string(&flow()).expect("JSON");
        assert_eq!(
            json,
            r#"{"protocol":"tcp","state":"established","half_open":false,"path":"fast","age_seconds":61,"#.to_owned()
                + r#""idle_seconds":3,"published":"0.0.0.0:8080/tcp","original":{"source":"192.0.2.10","#
                + r#""source_port":51000,"destination":"192.0.2.1","destination_port":8080},"#
                + r#""translated":{"source":"192.0.2.10","source_port":51000,"#
                + r#""destination":"172.17.0.2","destination_port":80},"#
                + r#""packets_in":6,"bytes_in":400,"packets_out":5,"bytes_out":300}"#
        );
        let read: ListedFlow = serde_json::from_str(&json).expect("our own JSON");
        assert_eq!(read, flow());
    }

    #[test]
    fn a_line_for_each_flow_under_its_headings() {
        let masqueraded = ListedFlow {
            published: None,
            original: ends("[fd00::2]:40000", "[2001:db8::10]:443"),
            ..flow()
        };
        let text = FlowList(vec![flow(), masqueraded]).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let under = |heading: &str, line: &str| {
            let at = lines[0].find(heading).expect("a heading");
            line[at..]
                .split("   ")
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            under("ORIGINAL", lines[1]),
            "192.0.2.10:51000 -> 192.0.2.1:8080"
        );
        assert_eq!(
            under("ORIGINAL", lines[2]),
            "[fd00::2]:40000 -> [2001:db8::10]:443"
        );
        assert_eq!(under("PUBLISHED", lines[1]), "0.0.0.0:8080/tcp");
        assert_eq!(under("PUBLISHED", lines[2]).trim(), "-");
        assert!(lines[1].ends_with("300"), "{text}");
        let end = lines[0].find("PACKETS IN").expect("a heading") + "PACKETS IN".len();
        assert_eq!(&lines[1][end - 1..end], "6", "{text}");
    }
}
