//! `portnat port`

use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::bail;

use crate::control::{Client, SocketArg};
use crate::flows::Transport;
use crate::report::PortSides;
use crate::spec::Protocol;

/// Print where a target's ports are published, as `docker port` does.
///
/// With PORT only the addresses and ports of the host are printed. If there are none the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The target's address, or the name of a container where Docker is followed.
    #[arg(value_name = "TARGET")]
    target: String,

    /// A port of the target, of TCP unless it says otherwise.
    #[arg(value_name = "PORT[/PROTO]")]
    port: Option<TargetPort>,

    /// Print JSON, an array with an object for each published port.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArg,
}

/// A port of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TargetPort {
    port: u16,
    protocol: Transport,
}

impl FromStr for TargetPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let protocol = known
            .into_iter()
            .find(|known| known.to_string().eq_ignore_ascii_case(protocol))
            .ok_or_else(|| format!("invalid proto: {protocol}"))?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port @ 1..) if digits => Ok(TargetPort {
                port,
                protocol: Transport(protocol.number()),
            }),
            _ => Err(format!("invalid port: {port}")),
        }
    }
}

/// Prints the ports.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = Client::new(&args.socket.socket).ports()?;
    let target = &args.target;
    let address = target.parse::<IpAddr>().ok().map(|it| it.to_canonical());
    let is_meant = |port: &PortSides| match address {
        Some(address) => port.target == address,
        None => port.container.as_ref() == Some(target),
    };
    let ports = report.ports.into_iter().map(|port| port.sides);
    let ports: Vec<_> = ports.filter(is_meant).collect();
    let ports: Vec<_> = match args.port {
        None if ports.is_empty() => bail!("nothing is published for {target}"),
        None => ports,
        Some(wanted) => {
            let of_protocol = ports
                .into_iter()
                .filter(|port| port.protocol == wanted.protocol);
            let ports: Vec<_> = of_protocol
                .filter_map(|port| port.leading_to(wanted.port))
                .collect();
            if ports.is_empty() {
                let TargetPort { port, protocol } = wanted;
                bail!("no public port '{port}/{protocol}' published for {target}");
            }
            ports
        }
    };
    if args.json {
        super::print(serde_json::to_string_pretty(&ports)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(ports, args.port.is_none()) {
        super::print(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of `docker port`, with the target's side or without, in the order of the numbers.
fn lines(mut ports: Vec<PortSides>, with_target: bool) -> Vec<String> {
    ports.sort_by_key(|port| (port.target_port, port.protocol.0, port.address, port.port));
    let line = |port: &PortSides| match with_target {
        true => format!(
            "{}/{} -> {}",
            port.target_ports(),
            port.protocol,
            port.host()
        ),
        false => port.host(),
    };
    ports.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Origin;

    fn port(address: &str, port: u16, protocol: &str, target_port: u16) -> PortSides {
        PortSides {
            address: address.parse().expect("an address"),
            port,
            protocol: protocol.parse().expect("a protocol"),
            target: "172.17.0.2".parse().expect("an address"),
            target_port,
            target_port_end: target_port,
            port_end: port,
            origin: Origin::Run,
            container: None,
            network: None,
        }
    }

    #[test]
    fn the_words_of_docker_port() {
        let ports = vec![
            port("::", 8080, "tcp", 80),
            port("0.0.0.0", 5353, "udp", 53),
            port("0.0.0.0", 8080, "tcp", 80),
        ];
        assert_eq!(
            lines(ports.clone(), true),
            [
                "53/udp -> 0.0.0.0:5353",
                "80/tcp -> 0.0.0.0:8080",
                "80/tcp -> [::]:8080"
            ]
        );
        assert_eq!(
            lines(ports, false),
            ["0.0.0.0:5353", "0.0.0.0:8080", "[::]:8080"]
        );
    }

    #[test]
    fn a_range_is_a_line_and_each_of_its_ports_is_found() {
        let range = PortSides {
            port_end: 8009,
            target_port_end: 89,
            ..port("0.0.0.0", 8000, "tcp", 80)
        };
        assert_eq!(
            lines(vec![range.clone()], true),
            ["80-89/tcp -> 0.0.0.0:8000-8009"]
        );
        let found = range.clone().leading_to(85).expect("one of them");
        assert_eq!(lines(vec![found], false), ["0.0.0.0:8005"]);
        assert_eq!(range.clone().leading_to(90), None);
        assert_eq!(range.leading_to(79), None);
    }

    #[test]
    fn a_targets_port_is_of_tcp_unless_it_says_otherwise() {
        for (text, wanted) in [("80", (80, 6)), ("53/udp", (53, 17)), ("9/SCTP", (9, 132))] {
            let port: TargetPort = text.parse().expect(text);
            assert_eq!((port.port, port.protocol.0), wanted, "{text}");
        }
        for (text, words) in [
            ("80/icmp", "invalid proto: icmp"),
            ("0", "invalid port: 0"),
            ("+80", "invalid port: +80"),
            ("http", "invalid port: http"),
        ] {
            assert_eq!(text.parse::<TargetPort>(), Err(words.to_owned()));
        }
    }
}
