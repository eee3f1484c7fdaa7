//! Containers that are told by their names, whose ports Docker itself does not publish.

use std::fs;

use portnat::lab::Lab;

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::serving::{answers, lab, refused};
use crate::daemon::Daemon;
use crate::support::{at, eventually, tcp_server};

#[test]
fn ports_follow_a_container_that_is_told_by_its_name() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let web = docker.run("web", &[]);
    let old = docker.address("web", "bridge");
    let _server = tcp_server(&web, old, 80);
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("portnat.toml");
    fs::write(&file, "publish = ['8081:80@web']\n").expect("written");
    let file = file.to_str().expect("is text");
    let socket = docker.socket();
    let arguments = ["-p", "8080:80@web", "--config", file, "--docker", &socket];
    let mut portnat = Daemon::run(&lab, &arguments);
    portnat.told(&["publish", "web", "-p", "8082:80"]);
    let all = [8080, 8081, 8082];
    for port in all {
        answers(&lab.client, at(Lab::HOST, port));
    }
    let ports = || portnat.ask(&["port", "web"]).stdout;
    assert_eq!(ports().matches("0.0.0.0:808").count(), 3, "{}", ports());

    // It comes back elsewhere, where somebody else has its place.
    docker.docker(&["stop", "-t", "0", "web"]);
    for port in all {
        refused(&lab.client, at(Lab::HOST, port));
    }
    drop(web);
    let other = docker.run("other", &[]);
    assert_eq!(docker.address("other", "bridge"), old);
    let wrong = tcp_server(&other, old, 80);
    docker.docker(&["start", "web"]);
    let (web, new) = (docker.namespace("web"), docker.address("web", "bridge"));
    assert_ne!(old, new);
    let right = tcp_server(&web, new, 80);
    for port in all {
        answers(&lab.client, at(Lab::HOST, port));
    }
    assert_eq!((right.peers().len(), wrong.peers().len()), (3, 0));

    // What is unpublished does not come back, what the file does not say any more goes.
    portnat.told(&["unpublish", "8082"]);
    fs::write(file, "publish = ['8083:80@web', '8084:80@late']\n").expect("written");
    let reloaded = portnat.ask(&["reload"]);
    assert_eq!(reloaded.status.code(), Some(0), "{reloaded:#?}");
    let late = "8084:80/tcp@late: Docker has no running container of this name";
    assert!(
        reloaded.stderr.iter().any(|line| line.contains(late)),
        "{reloaded:#?}"
    );
    docker.docker(&[
        "run",
        "-d",
        "--name",
        "late",
        "busybox",
        "/bin/busybox",
        "sleep",
        "1000",
    ]);
    portnat.wait_for_line("published 0.0.0.0:8084/tcp");
    for port in [8080, 8083] {
        answers(&lab.client, at(Lab::HOST, port));
    }
    for port in [8081, 8082] {
        refused(&lab.client, at(Lab::HOST, port));
    }
    portnat.stop();
}

#[test]
fn a_name_that_nobody_has_is_an_error() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    docker.run("hosts", &["--network", "host"]);
    let portnat = Daemon::run(&lab, &["-p", "8080:80@wob", "--docker", &docker.socket()]);
    let line = portnat.line("8080:80/tcp@wob: Docker has no running container of this name");
    assert!(
        line.contains("ERROR") && line.contains("docker ps"),
        "{line}"
    );
    for (name, words) in [
        ("wob", "Docker has no running container of this name"),
        ("hosts", "no address in a network"),
    ] {
        let ended = portnat.ask(&["publish", name, "-p", "8081:80"]);
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        assert!(ended.stderr[0].contains(words), "{ended:#?}");
    }
    // As soon as there is one.
    let wob = docker.run("wob", &[]);
    let _server = tcp_server(&wob, docker.address("wob", "bridge"), 80);
    answers(&lab.client, at(Lab::HOST, 8080));
    docker.docker(&["rename", "wob", "web"]);
    eventually("it is another's", || {
        match portnat.told(&["ls"]).contains("8080") {
            true => Err("it is published"),
            false => Ok(()),
        }
    });
    portnat.stop();
}
