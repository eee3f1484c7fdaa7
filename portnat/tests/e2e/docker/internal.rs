//! Networks that lead nowhere (`docker network create --internal`).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use portnat::lab::{Lab, Namespace, Server, probe};

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::serving::{answers, echo, lab};
use crate::daemon::Daemon;
use crate::doctor::doctor;
use crate::support::{SILENCE, at, eventually, net, tcp_server, udp_server};
use crate::survival::place::{Place, kill};

const SUBNET: &str = "fd00:20::/64";
const GATEWAY: &str = "fd00:20::1";
/// Addresses that a container gives itself: nobody's, and another network's.
const FORGED: [&str; 4] = [
    "10.9.9.9/32",
    "172.17.0.77/32",
    "2001:db8:a::9/128",
    "fd00:17::77/128",
];

/// Nothing comes back, in the time that a probe waits.
#[track_caller]
pub(super) fn is_silent<T: std::fmt::Debug>(result: io::Result<T>, what: &str) {
    let error = result.expect_err(what);
    let silent = [ErrorKind::TimedOut, ErrorKind::WouldBlock];
    assert!(silent.contains(&error.kind()), "{what}: {error}");
}

fn gateway(docker: &Dockerd) -> IpAddr {
    let format = "{{range .IPAM.Config}}{{println .Gateway}}{{end}}";
    let gateways = docker.docker(&["network", "inspect", "-f", format, "inner"]);
    let mut gateways = gateways.lines().filter_map(|line| line.parse().ok());
    gateways.find(IpAddr::is_ipv4).expect("it has one of IPv4")
}

/// What a container tells somebody outside from an address comes to nothing.
#[track_caller]
fn is_not_heard(outside: &Server, from: &Namespace, source: IpAddr) {
    let to = outside.address();
    let source = SocketAddr::new(source, 0);
    is_silent(
        hello(from, Some(source), to),
        &format!("{source} says something to {to}"),
    );
    assert_eq!(outside.peers(), [], "{source} is heard by {to}");
}

/// What is answered to a datagram within the time of silence.
pub(super) fn hello(
    from: &Namespace,
    source: Option<SocketAddr>,
    to: SocketAddr,
) -> io::Result<usize> {
    let socket = probe::udp_connect(from, source, to)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(b"hello")?;
    socket.recv(&mut [0; 16])
}

/// Whatever routes and addresses its containers give themselves; and Docker's own rules say the same.
#[test]
fn an_internal_network_leads_nowhere() {
    for own_rules in [false, true] {
        let lab = lab();
        let arguments: &[&str] = if own_rules { &[] } else { &WITHOUT_RULES };
        let Some(docker) = Dockerd::start(&lab.host, Which::Newest, arguments) else {
            return;
        };
        let inner = [
            "network",
            "create",
            "--internal",
            "--ipv6",
            "--subnet",
            SUBNET,
        ];
        docker.docker(&[&inner[..], &["inner"]].concat());
        let web = docker.run("web", &["-p", "8080:80"]);
        let _web = tcp_server(&web, docker.address("web", "bridge"), 80);
        let [one, two] = ["one", "two"].map(|name| docker.run(name, &["--network", "inner"]));
        let (own, neighbour) = (
            docker.address("one", "inner"),
            docker.address("two", "inner"),
        );
        let portnat = (!own_rules).then(|| Daemon::run(&lab, &["--docker", &docker.socket()]));
        answers(&lab.client, at(Lab::HOST, 8080));

        let links = one.links();
        let gateways = [gateway(&docker), GATEWAY.parse().expect("an address")];
        for gateway in gateways {
            links.add_default_route(gateway).expect("a route");
        }
        for address in FORGED {
            links.add_address("eth0", net(address)).expect("an address");
        }

        // Among themselves, and with the host.
        let _servers = [(&one, own), (&two, neighbour), (&lab.host, gateways[0])]
            .map(|(place, address)| tcp_server(place, address, 7));
        for (from, to) in [(&one, neighbour), (&one, gateways[0]), (&lab.host, own)] {
            answers(from, at(to, 7));
        }
        // Nobody else comes in.
        for from in [&web, &lab.client] {
            is_silent(echo(from, at(own, 7)), "somebody comes in");
        }
        // Nothing goes out, as whomever.
        let outside = [IpAddr::from(Lab::CLIENT), Lab::CLIENT_V6.into()]
            .map(|address| udp_server(&lab.client, address, 53));
        let own_v6 = docker.docker(&[
            "inspect",
            "-f",
            "{{.NetworkSettings.Networks.inner.GlobalIPv6Address}}",
            "one",
        ]);
        let own_v6 = own_v6.trim().parse().expect("an address");
        let forged = FORGED.map(|address| net(address).addr());
        for source in [own, own_v6].into_iter().chain(forged) {
            let to = &outside[usize::from(source.is_ipv6())];
            is_not_heard(to, &one, source);
        }
        let heard = probe::udp_echo(&web, outside[0].address(), b"hello");
        assert_eq!(heard.expect("another network is heard"), b"hello");
        // Nor to what is published by others, by any address of the host's.
        for host in [IpAddr::from(Lab::HOST), gateways[0]] {
            for source in [own, forged[0], forged[1]] {
                let source = SocketAddr::new(source, 0);
                let asked = probe::tcp_echo_from(&one, source, at(host, 8080), b"hello");
                is_silent(asked, &format!("{source} asks {host}"));
            }
        }
        if let Some(portnat) = portnat {
            let table = portnat.stop();
            assert!(table.contains("(isolated)"), "{table}");
        }
    }
}

/// A network that is made later is one from its first container on, and a published port that leads into it
/// is complained of.
#[test]
fn who_publishes_into_an_internal_network_is_told() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Newest, &WITHOUT_RULES) else {
        return;
    };
    let (place, socket) = (Place::new(), docker.socket());
    let arguments = ["--persist", "--docker", &socket];
    let mut portnat = place.run(&lab, &arguments);
    docker.docker(&["network", "create", "--internal", "inner"]);
    let one = docker.run("one", &["--network", "inner"]);
    let address = docker.address("one", "inner");
    let _server = tcp_server(&one, address, 80);
    eventually("it is known", || {
        let status = doctor(&lab.host, &place.socket(), &[]).stdout;
        match status.contains("; internal: br-") {
            true => Ok(()),
            false => Err(status),
        }
    });
    place.told(&["publish", &address.to_string(), "-p", "8080:80"]);
    let told = format!("nobody comes by 0.0.0.0:8080/tcp to {address}, whose network is internal");
    portnat.wait_for_line(&told);
    // Which is no reason not to start.
    kill(portnat);
    let portnat = place.run(&lab, &arguments);
    portnat.line(&told);
    is_silent(echo(&lab.client, at(Lab::HOST, 8080)), "it is reached");
    answers(&lab.host, at(address, 80));
    portnat.stop();
}
