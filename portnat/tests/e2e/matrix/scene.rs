//! A host with everything published, and who is around it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portnat::lab::{Container, Lab, Namespace, Server, probe};

use crate::daemon::{Daemon, Row, row};
use crate::support::{MEGABYTE, at, payload, seen_by, tcp_server, udp_server};

/// The TCP and the UDP port that are published of the first container, in both families.
pub(super) const PORTS: [u16; 2] = [8080, 5353];
/// Those that nobody serves there.
pub(super) const UNSERVED: [u16; 2] = [8081, 5354];
/// Those that lead from IPv6 to the first container's IPv4 address.
pub(super) const ACROSS: [u16; 2] = [8180, 5453];
/// Those that nobody serves there.
pub(super) const UNSERVED_ACROSS: [u16; 2] = [8181, 5454];
/// The TCP port that is published of the container behind the narrow bridge, in both families.
pub(super) const BEHIND_NARROW: u16 = 8280;

/// A lab, a daemon and servers.
pub(super) struct Scene<'a> {
    pub(super) lab: &'a Lab,
    pub(super) daemon: Daemon,
    /// IPv4's and IPv6's.
    pub(super) sides: [Side; 2],
    /// On the first bridge; everything but one port is published of it.
    pub(super) target: &'a Container,
    /// On the same bridge.
    pub(super) neighbour: &'a Container,
    /// On the other.
    pub(super) stranger: &'a Container,
}

/// Where everybody is, in one family.
pub(super) struct Side {
    pub(super) client: IpAddr,
    pub(super) host: IpAddr,
    pub(super) loopback: IpAddr,
    /// The host's address on the first bridge.
    pub(super) gateway: IpAddr,
    /// And on the other.
    pub(super) other_gateway: IpAddr,
    pub(super) target: IpAddr,
    pub(super) neighbour: IpAddr,
    pub(super) stranger: IpAddr,
    /// The target's TCP server, on port 80.
    pub(super) web: Witness,
    /// Its UDP server, on port 53.
    pub(super) dns: Witness,
    /// The stranger's TCP server.
    pub(super) behind_narrow: Witness,
}

/// A server that is asked again and again whom it has seen.
pub(super) struct Witness {
    server: Server,
    told: Cell<usize>,
}

impl Witness {
    pub(super) fn new(server: Server) -> Self {
        let told = Cell::new(0);
        Witness { server, told }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Whom it has seen since it was last asked.
    pub(super) fn news(&self) -> Vec<IpAddr> {
        let seen = seen_by(&self.server);
        seen[self.told.replace(seen.len())..].to_vec()
    }
}

impl Side {
    fn v4(lab: &Lab) -> Self {
        let address = |number: usize| lab.containers[number].address.into();
        let gateway = |number: usize| lab.bridges[number].gateway.into();
        let (host, client) = (Lab::HOST.into(), Lab::CLIENT.into());
        let loopback = Ipv4Addr::LOCALHOST.into();
        Self::new(lab, [client, host, loopback], gateway, address)
    }

    fn v6(lab: &Lab) -> Self {
        let address = |number: usize| lab.containers[number].address_v6.into();
        let gateway = |number: usize| lab.bridges[number].gateway_v6.into();
        let (host, client) = (Lab::HOST_V6.into(), Lab::CLIENT_V6.into());
        let loopback = Ipv6Addr::LOCALHOST.into();
        Self::new(lab, [client, host, loopback], gateway, address)
    }

    fn new(
        lab: &Lab,
        [client, host, loopback]: [IpAddr; 3],
        gateway: impl Fn(usize) -> IpAddr,
        address: impl Fn(usize) -> IpAddr,
    ) -> Self {
        let [target, neighbour, stranger] = [0, 1, 2].map(address);
        let [inside, _, elsewhere] = [0, 1, 2].map(|number| &lab.containers[number].namespace);
        Side {
            client,
            host,
            loopback,
            gateway: gateway(0),
            other_gateway: gateway(1),
            target,
            neighbour,
            stranger,
            web: Witness::new(tcp_server(inside, target, 80)),
            dns: Witness::new(udp_server(inside, target, 53)),
            behind_narrow: Witness::new(tcp_server(elsewhere, stranger, 80)),
        }
    }

    /// Where ports are listed that are published on all addresses.
    pub(super) fn any(&self) -> IpAddr {
        match self.host {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// What an ICMP echo's, or an unfragmented datagram's, network header has, in bytes.
    pub(super) fn network_header(&self) -> u64 {
        match self.host {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        }
    }

    /// What the target's servers have seen since they were last asked.
    pub(super) fn news(&self) -> [Vec<IpAddr>; 2] {
        [self.web.news(), self.dns.news()]
    }
}

impl<'a> Scene<'a> {
    /// Starts the servers and then the daemon.
    pub(super) fn new(lab: &'a Lab, attach: &str) -> Self {
        let [target, neighbour, stranger] = &lab.containers[..] else {
            panic!("three containers");
        };
        let mut publish = Vec::new();
        let [tcp, udp] = ACROSS;
        let [unserved_tcp, unserved_udp] = UNSERVED_ACROSS;
        let inside = target.address;
        publish.extend([
            format!("[::]:{tcp}:80@{inside}"),
            format!("[::]:{udp}:53/udp@{inside}"),
            format!("[::]:{unserved_tcp}:81@{inside}"),
            format!("[::]:{unserved_udp}:54/udp@{inside}"),
        ]);
        let sides = [Side::v4(lab), Side::v6(lab)];
        for side in &sides {
            let ([tcp, udp], inside) = (PORTS, side.target);
            let [unserved_tcp, unserved_udp] = UNSERVED;
            publish.extend([
                format!("{tcp}:80@{inside}"),
                format!("{udp}:53/udp@{inside}"),
                format!("{unserved_tcp}:81@{inside}"),
                format!("{unserved_udp}:54/udp@{inside}"),
                format!("{BEHIND_NARROW}:80@{}", side.stranger),
            ]);
        }
        // However slow the machine is, no flow ends, and is counted no more, before all is done.
        let mut arguments = vec!["--attach", attach];
        for state in [
            "tcp-closing=3600",
            "udp-unanswered=3600",
            "udp-answered=3600",
        ] {
            arguments.extend(["--timeout", state]);
        }
        arguments.extend(publish.iter().flat_map(|port| ["-p", port]));
        Scene {
            lab,
            daemon: Daemon::run(lab, &arguments),
            sides,
            target,
            neighbour,
            stranger,
        }
    }

    /// The table as it is now.
    pub(super) fn table(&self) -> String {
        self.daemon.told(&["ls"])
    }

    /// What has come by two published ports so far, TCP's and UDP's.
    #[track_caller]
    pub(super) fn rows(&self, any: IpAddr, [tcp, udp]: [u16; 2]) -> [Row; 2] {
        let table = self.table();
        let name = |port, protocol| format!("{}/{protocol}", at(any, port));
        [
            row(&table, &name(tcp, "tcp")),
            row(&table, &name(udp, "udp")),
        ]
    }

    /// What has come by two published ports while something happened, in which nothing was lost.
    #[track_caller]
    pub(super) fn during(
        &self,
        any: IpAddr,
        ports: [u16; 2],
        something: impl FnOnce(),
    ) -> [Row; 2] {
        let (before, dropped) = (self.rows(any, ports), self.dropped());
        something();
        assert_eq!(self.dropped(), dropped, "something was dropped");
        let after = self.rows(any, ports);
        [0, 1].map(|port| after[port].since(&before[port]))
    }

    /// What was dropped so far, but for what the host itself would have told containers about shorter
    /// ways.
    pub(super) fn dropped(&self) -> Vec<String> {
        self.table()
            .lines()
            .filter(|line| line.starts_with("dropped") && !line.ends_with("(redirect)"))
            .map(str::to_owned)
            .collect()
    }

    /// Stops the daemon, which must end well.
    #[track_caller]
    pub(super) fn stop(self) {
        self.daemon.stop();
    }
}

/// Published ports of the host at this address answer, with little and with much.
#[track_caller]
pub(super) fn answer(from: &Namespace, address: IpAddr, [tcp, udp]: [u16; 2]) {
    for length in [1, MEGABYTE] {
        let sent = payload(length);
        let answer = probe::tcp_echo(from, at(address, tcp), &sent);
        let answer = answer.unwrap_or_else(|error| panic!("TCP by {address}: {error}"));
        assert!(answer == sent, "TCP by {address} returns something else");
        let answer = probe::udp_echo(from, at(address, udp), &sent);
        let answer = answer.unwrap_or_else(|error| panic!("UDP by {address}: {error}"));
        assert!(answer == sent, "UDP by {address} returns something else");
    }
}
