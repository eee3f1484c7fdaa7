//! From one of Docker's networks to another, and ports that somebody has.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use portnat::lab::{Lab, Namespace, Server};

use super::ground::{Dockerd, WITHOUT_RULES, Which, sleeping};
use super::serving::{answers, echo, lab};
use crate::daemon::Daemon;
use crate::support::{at, tcp_server};

/// More than the second after which a SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(2500);

/// A network in one of Docker's gateway modes, with a container that publishes its port 80, and not 81.
struct Place {
    inside: Namespace,
    address: IpAddr,
    _servers: [Server; 2],
}

fn place(docker: &Dockerd, mode: &str) -> Place {
    let option = format!("com.docker.network.bridge.gateway_mode_ipv4={mode}");
    docker.docker(&["network", "create", "-o", &option, mode]);
    let inside = docker.run(mode, &["--network", mode, "-p", "80"]);
    let address = docker.address(mode, mode);
    let servers = [80, 81].map(|port| tcp_server(&inside, address, port));
    Place {
        inside,
        address,
        _servers: servers,
    }
}

/// Whether there is an answer, and from which port: the published one and another.
fn reach(from: &Namespace, to: IpAddr) -> [bool; 2] {
    [80, 81].map(|port| {
        let to = SocketAddr::new(to, port);
        from.run(|| TcpStream::connect_timeout(&to, PATIENCE))
            .is_ok()
    })
}

/// What each gateway mode says of who comes from another network; and Docker's own rules say the same.
#[test]
fn networks_reach_each_other_as_their_gateway_modes_say() {
    const MODES: [&str; 3] = ["nat", "nat-unprotected", "routed"];
    for own_rules in [false, true] {
        let lab = lab();
        let arguments: &[&str] = if own_rules { &[] } else { &WITHOUT_RULES };
        let Some(docker) = Dockerd::start(&lab.host, Which::Newest, arguments) else {
            return;
        };
        let portnat = (!own_rules).then(|| Daemon::run(&lab, &["--docker", &docker.socket()]));
        let other = docker.run("other", &[]);
        let places = MODES.map(|mode| place(&docker, mode));
        let [nat, open, routed] = &places;
        for from in [&other, &lab.client] {
            answers(from, at(routed.address, 80));
            assert_eq!(reach(from, nat.address), [false, false]);
            assert_eq!(reach(from, routed.address), [true, false]);
        }
        for from in [&other, &nat.inside, &routed.inside] {
            // What is unprotected is reached from outside, and from no other network.
            assert_eq!(reach(from, open.address), [false; 2]);
        }
        assert_eq!(reach(&lab.client, open.address), [true, true]);
        assert_eq!(reach(&routed.inside, nat.address), [false, false]);
        assert_eq!(reach(&open.inside, nat.address), [false, false]);
        if let Some(portnat) = portnat {
            portnat.stop();
        }
    }
}

/// Docker itself looks whether a port is free, portnat's among them.
#[test]
fn a_port_that_somebody_has_is_refused_by_docker() {
    let lab = lab();
    for which in [Which::Stable, Which::Newest] {
        let Some(docker) = Dockerd::start(&lab.host, which, &WITHOUT_RULES) else {
            return;
        };
        let portnat = Daemon::run(
            &lab,
            &["-p", "8081:80@192.0.2.10", "--docker", &docker.socket()],
        );
        let taken = lab.host.run(|| TcpListener::bind(("0.0.0.0", 8080)));
        let taken = taken.expect("nobody has it");
        for port in ["8080:80", "8081:80"] {
            let run = ["run", "--rm", "-d", "--name", "web", "-p", port];
            let why = docker.try_docker(&[&run[..], &sleeping()].concat());
            let why = why.expect_err("somebody has it");
            assert!(why.contains("address already in use"), "{which:?}: {why}");
        }
        let table = portnat.told(&["ls"]);
        assert!(!table.contains("8080"), "{table}");
        drop(taken);
        let web = docker.run("again", &["-p", "8080:80"]);
        let _server = tcp_server(&web, docker.address("again", "bridge"), 80);
        answers(&lab.client, at(Lab::HOST, 8080));
        echo(&lab.client, at(Lab::HOST, 8082)).expect_err("nobody serves");
        portnat.stop();
    }
}
