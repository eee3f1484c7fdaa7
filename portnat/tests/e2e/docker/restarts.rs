//! Containers, Docker and portnat are restarted, one after the other and together: no port is lost, and none
//! is left over.

use std::io::ErrorKind;
use std::net::IpAddr;

use portnat::lab::{Lab, Server};

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::internal::{hello, is_silent};
use super::serving::{echo, refused};
use crate::daemon::Daemon;
use crate::support::{at, eventually, payload, tcp_server, udp_server};
use crate::survival::place::{Place, kill};
use portnat::lab::probe;

fn lab() -> Lab {
    Lab::builder().containers(0).build().expect("a lab")
}

fn web(docker: &Dockerd) -> Server {
    let (web, address) = (docker.namespace("web"), docker.address("web", "bridge"));
    tcp_server(&web, address, 80)
}

#[track_caller]
fn answers(lab: &Lab) {
    eventually("8080 answers", || {
        probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), &payload(100))
    });
}

#[test]
fn docker_is_killed_and_its_containers_go_on() {
    let lab = lab();
    let live = [&WITHOUT_RULES[..], &["--live-restore"]].concat();
    let Some(mut docker) = Dockerd::start(&lab.host, Which::Stable, &live) else {
        return;
    };
    docker.run("web", &["-p", "8080:80"]);
    let _server = web(&docker);
    let mut portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    answers(&lab);
    docker.end("KILL");
    portnat.wait_for_line("Docker does not answer");
    answers(&lab);
    docker.start_again();
    portnat.wait_for_line("Docker answers again");
    answers(&lab);
    docker.docker(&["rm", "-f", "web"]);
    portnat.wait_for_line("no longer published: 0.0.0.0:8080/tcp");
    let table = portnat.stop();
    assert!(!table.contains("8080"), "{table}");
}

#[test]
fn docker_ends_and_comes_back_with_its_containers() {
    let lab = lab();
    let Some(mut docker) = Dockerd::start(&lab.host, Which::Newest, &WITHOUT_RULES) else {
        return;
    };
    docker.run("web", &["-p", "8080:80", "--restart", "always"]);
    docker.run("gone", &["-p", "8081:80"]);
    let mut portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    docker.end("TERM");
    portnat.wait_for_line("Docker does not answer");
    docker.start_again();
    portnat.wait_for_line("Docker answers again");
    refused(&lab.client, at(Lab::HOST, 8081));
    let _server = web(&docker);
    answers(&lab);
    let table = portnat.stop();
    assert!(!table.contains("8081"), "a ghost:\n{table}");
}

#[test]
fn portnat_starts_before_docker_and_once_more_after_it() {
    let lab = lab();
    let Some(mut docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    docker.end("TERM");
    let mut portnat = Daemon::run(&lab, &["-p", "8081:80@web", "--docker", &docker.socket()]);
    portnat.line("Docker does not answer");
    portnat.line("8081:80/tcp@web: Docker has not answered yet");
    docker.start_again();
    docker.run("web", &["-p", "8080:80"]);
    let _server = web(&docker);
    answers(&lab);
    portnat.wait_for_line("Docker answers again");
    portnat.stop();
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    answers(&lab);
    docker.docker(&["restart", "-t", "0", "web"]);
    let _server = web(&docker);
    answers(&lab);
    portnat.stop();
}

/// What it told the portnat before holds until it answers: ports, names, who may come in, and which networks
/// lead nowhere.
#[test]
fn portnat_is_killed_and_starts_again_while_docker_is_down() {
    let (lab, place) = (lab(), Place::new());
    let live = [&WITHOUT_RULES[..], &["--live-restore"]].concat();
    let Some(mut docker) = Dockerd::start(&lab.host, Which::Stable, &live) else {
        return;
    };
    docker.docker(&["network", "create", "--internal", "inner"]);
    // Docker 20.10 gives it a default route all the same.
    let one = docker.run("one", &["--network", "inner"]);
    let outside = udp_server(&lab.client, IpAddr::from(Lab::CLIENT), 53);
    docker.run("web", &["-p", "8080:80"]);
    let deny = ["-p", "8081:80", "--label", "portnat.deny=192.0.2.0/24"];
    docker.run("shut", &deny);
    let server = |name| {
        let address = docker.address(name, "bridge");
        tcp_server(&docker.namespace(name), address, 80)
    };
    let _shut = server("shut");
    let socket = docker.socket();
    let arguments = ["--persist", "--docker", &socket];
    let first = place.run(&lab, &arguments);
    place.told(&["publish", "web", "-p", "8082:80"]);
    place.told(&["publish", "web", "-p", "80"]);
    place.told(&["publish", "web", "-p", "8083:80"]);
    place.told(&["unpublish", "8083"]);
    // It comes back elsewhere, and somebody else has its place.
    let old = docker.address("web", "bridge");
    docker.docker(&["stop", "-t", "0", "web"]);
    docker.run("other", &[]);
    assert_eq!(docker.address("other", "bridge"), old);
    docker.docker(&["start", "web"]);
    let _web = server("web");
    eventually("8082 answers", || echo(&lab.client, at(Lab::HOST, 8082)));
    let listed = || place.told(&["port", "web"]);
    let stands = |how: &str| {
        for port in [8080, 8082] {
            let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), b"hello");
            assert_eq!(answer.expect(how), b"hello");
        }
        is_silent(echo(&lab.client, at(Lab::HOST, 8081)), how);
        is_silent(hello(&one, None, outside.address()), how);
        assert_eq!(outside.peers(), [], "{how}");
    };
    stands("at first");
    let ports = listed();
    assert_eq!(ports.lines().count(), 6, "in both families: {ports}");
    docker.end("KILL");
    kill(first);
    stands("without a daemon");

    let mut second = place.start(&lab, &arguments);
    second.wait_for_line("Docker does not answer");
    second.wait_for_line("ready");
    stands("while Docker is down");
    assert_eq!(listed(), ports);

    docker.start_again();
    second.wait_for_line("Docker answers again");
    stands("when Docker is back");
    assert_eq!(listed(), ports);
    docker.docker(&["rm", "-f", "web"]);
    second.wait_for_line("no longer published: 0.0.0.0:8080/tcp");
    eventually("8082 is refused", || {
        let asked = echo(&lab.client, at(Lab::HOST, 8082));
        let over = asked
            .as_ref()
            .is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused);
        over.then_some(()).ok_or(asked)
    });
    second.stop();
    assert_eq!(place.written("-docker").len(), 1);
    assert!(place.clean_up(&lab).status.success());
    assert_eq!(place.written("-docker").len(), 0);
}
