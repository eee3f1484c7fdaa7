//! What Docker publishes is published, on the addresses and for the containers that it says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use portnat::lab::{Lab, Namespace, Server, probe};

use super::ground::{Dockerd, WITHOUT_RULES, Which, sleeping};
use crate::daemon::Daemon;
use crate::support::{at, echo_at_once, eventually, tcp_server, udp_server};

pub(super) fn lab() -> Lab {
    let lab = Lab::builder()
        .containers(0)
        .ipv6(true)
        .client_routes_via_host(true);
    lab.build().expect("a lab")
}

/// What comes back.
pub(super) fn echo(from: &Namespace, to: SocketAddr) -> io::Result<()> {
    let heard = probe::tcp_echo(from, to, b"hello")?;
    match heard == b"hello" {
        true => Ok(()),
        false => Err(io::Error::other(format!("{heard:?}"))),
    }
}

#[track_caller]
pub(super) fn answers(from: &Namespace, to: SocketAddr) {
    eventually(&format!("{to} answers"), || echo(from, to));
}

/// Nothing is published there, so the host itself refuses.
#[track_caller]
pub(super) fn refused(from: &Namespace, to: SocketAddr) {
    eventually(&format!("{to} is refused"), || match echo(from, to) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(other),
    });
}

/// Of both Dockers: the ports that run already when portnat starts, and those that come later.
#[test]
fn containers_are_published_as_they_come_and_go() {
    for which in [Which::Stable, Which::Newest] {
        let lab = lab();
        let Some(docker) = Dockerd::start(&lab.host, which, &WITHOUT_RULES) else {
            return;
        };
        let first = docker.run("first", &["-p", "8080:80", "-p", "9000-9039:9000-9039"]);
        let _http = tcp_server(&first, docker.address("first", "bridge"), 80);
        let last = tcp_server(&first, docker.address("first", "bridge"), 9039);
        let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
        for to in [at(Lab::HOST, 8080), at(Lab::HOST_V6, 8080)] {
            answers(&lab.client, to);
        }
        answers(&lab.client, at(Lab::HOST, 9039));
        assert_eq!(last.peers()[0].ip(), Lab::CLIENT, "as itself");

        docker.docker(&["network", "create", "other"]);
        let second = docker.run(
            "second",
            &["--network", "other", "-p", "53:53/udp", "-p", "81"],
        );
        let dns = udp_server(&second, docker.address("second", "other"), 53);
        let _any = tcp_server(&second, docker.address("second", "other"), 81);
        echo_at_once(100, || {
            probe::udp_connect(&lab.client, None, at(Lab::HOST, 53))
        });
        assert_eq!(dns.peers()[0].ip(), Lab::CLIENT);
        let published = docker.docker(&["port", "second", "81/tcp"]);
        let port = published
            .lines()
            .find_map(|line| line.strip_prefix("0.0.0.0:"));
        let port = port.expect("a port").parse().expect("a number");
        answers(&lab.client, at(Lab::HOST, port));

        // The one that listens outside sees the host.
        let outside = tcp_server(&lab.client, Lab::CLIENT, 7);
        answers(&second, at(Lab::CLIENT, 7));
        assert_eq!(outside.peers()[0].ip(), Lab::HOST, "masqueraded");

        docker.docker(&["rm", "-f", "first"]);
        refused(&lab.client, at(Lab::HOST, 8080));
        let table = portnat.stop();
        assert!(!table.contains(":8080"), "{table}");
    }
}

/// What Docker's networks say of themselves: another's masquerade, and who reaches containers directly.
#[test]
fn networks_are_as_their_options_say() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Newest, &WITHOUT_RULES) else {
        return;
    };
    let bridge = |option: &str| format!("com.docker.network.bridge.{option}");
    for (name, option) in [
        ("plain", bridge("enable_ip_masquerade=false")),
        ("routed", bridge("gateway_mode_ipv4=routed")),
        ("open", bridge("gateway_mode_ipv4=nat-unprotected")),
    ] {
        docker.docker(&["network", "create", "-o", &option, name]);
    }
    docker.docker(&["network", "create", "--internal", "inner"]);
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    let outside = tcp_server(&lab.client, Lab::CLIENT, 7);
    let reach = |name: &str, is_open: bool| {
        let inside = docker.run(name, &["--network", name, "-p", "80"]);
        let address = docker.address(name, name);
        let _servers = [80, 81].map(|port| tcp_server(&inside, address, port));
        // Docker's word is on its way.
        if is_open {
            answers(&lab.client, at(address, 80));
        }
        let direct = [80, 81].map(|port| lab.client.run(|| connects(at(address, port))));
        let seen = outside.peers().len();
        let asked = echo(&inside, at(Lab::CLIENT, 7)).is_ok();
        let peers = outside.peers();
        (direct, asked.then(|| peers[seen].ip() == address))
    };
    // Which of a published and another port answers directly; and, if it gets an answer from outside,
    // whether it is seen with its own address there.
    assert_eq!(reach("open", true), ([true, true], Some(false)));
    assert_eq!(reach("routed", true), ([true, false], Some(true)));
    assert_eq!(reach("plain", false), ([false, false], Some(true)));
    assert_eq!(reach("inner", false), ([false, false], None));
    portnat.stop();
}

fn connects(to: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok()
}

/// Of several networks that of the highest priority, or the first by name.
#[test]
fn of_several_networks_ports_lead_to_the_one_that_docker_takes() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Newest, &WITHOUT_RULES) else {
        return;
    };
    for name in ["aa", "bb", "cc"] {
        docker.docker(&["network", "create", name]);
    }
    docker.docker(
        &[
            &[
                "create",
                "--name",
                "web",
                "--network",
                "bb",
                "-p",
                "8080:80",
            ],
            &sleeping()[..],
        ]
        .concat(),
    );
    docker.docker(&["network", "connect", "cc", "web"]);
    docker.docker(&["start", "web"]);
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    let leads_to = |network: &str| {
        let web = docker.namespace("web");
        let address = docker.address("web", network);
        let server = tcp_server(&web, address, 80);
        answers(&lab.client, at(Lab::HOST, 8080));
        assert!(!server.peers().is_empty());
    };
    leads_to("bb");
    docker.docker(&["network", "connect", "aa", "web"]);
    leads_to("aa");
    docker.docker(&["network", "disconnect", "aa", "web"]);
    leads_to("bb");
    docker.docker(&["network", "connect", "--gw-priority", "7", "aa", "web"]);
    leads_to("aa");
    portnat.stop();
}

/// Whoever was first has a port; the other is told of, and has it when the first has gone.
#[test]
fn a_port_of_somebody_else_is_an_error_line_and_no_more() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let web = docker.run("web", &["-p", "8080:80", "-p", "8081:81"]);
    let address = docker.address("web", "bridge");
    let _servers = [80, 81].map(|port| tcp_server(&web, address, port));
    let elsewhere = "8080:80@192.0.2.10";
    let _outside = tcp_server(&lab.client, Lab::CLIENT, 80);
    let mut portnat = Daemon::run(&lab, &["-p", elsewhere, "--docker", &docker.socket()]);
    let line =
        portnat.line("container web: Bind for 0.0.0.0:8080 failed: port is already allocated");
    assert!(line.contains("ERROR"), "{line}");
    answers(&lab.client, at(Lab::HOST, 8081));
    // A change at Docker's is a reason to look again.
    portnat.told(&["unpublish", "8080"]);
    docker.run("other", &["-p", "8082:82"]);
    portnat.wait_for_line("published 0.0.0.0:8080/tcp -> 172.17.0.2:80");
    answers(&lab.client, at(Lab::HOST, 8080));
    portnat.stop();
}

/// A server of another address does not get what an old one has left.
#[test]
fn a_container_that_comes_back_elsewhere_keeps_its_ports() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let web = docker.run("web", &["-p", "53:53/udp"]);
    let old = docker.address("web", "bridge");
    let first = udp_server(&web, old, 53);
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 53)).expect("a socket");
    echo_at_once(100, || socket.try_clone());
    docker.docker(&["stop", "-t", "0", "web"]);
    drop((first, web));
    docker.run("other", &[]);
    docker.docker(&["start", "web"]);
    let (web, new) = (docker.namespace("web"), docker.address("web", "bridge"));
    assert_ne!(old, new);
    let second: Server = udp_server(&web, new, 53);
    // By the same socket, whose flow led to the old address.
    echo_at_once(100, || socket.try_clone());
    assert_eq!(second.peers()[0].ip(), Lab::CLIENT);
    portnat.stop();
}

/// Lists say whose a port is.
#[test]
fn containers_are_called_by_their_names() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    docker.run("web", &["-p", "127.0.0.1:8080:80"]);
    let mut portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    eventually("its name is known", || match portnat.told(&["ls"]) {
        table if table.contains("web (bridge)") => Ok(()),
        table => Err(table),
    });
    let ports = || portnat.ask(&["port", "web"]).stdout;
    assert_eq!(ports(), "80/tcp -> 127.0.0.1:8080\n");
    docker.docker(&["rename", "web", "www"]);
    eventually("the new name", || {
        match portnat.ask(&["port", "www", "80"]).stdout.as_str() {
            "127.0.0.1:8080\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert_eq!(ports(), "");
    docker.docker(&["pause", "www"]);
    docker.docker(&["unpause", "www"]);
    docker.docker(&["rm", "-f", "www"]);
    // Nothing was unpublished before.
    let line = portnat.wait_for_line("no longer published");
    assert!(line.contains("127.0.0.1:8080/tcp"), "{line}");
    assert_eq!(portnat.told(&["ls", "--json"]).matches("target").count(), 0);
    portnat.stop();
}
