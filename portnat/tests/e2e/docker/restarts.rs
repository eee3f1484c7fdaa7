//! Containers, Docker and portnat are restarted, one after the other and together: no port is lost, and none
//! is left over.

use portnat::lab::{Lab, Server};

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::serving::refused;
use crate::daemon::Daemon;
use crate::support::{at, eventually, payload, tcp_server};
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
    let mut portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    portnat.line("Docker does not answer");
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
