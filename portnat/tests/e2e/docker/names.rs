//! Containers that are told by their names, whose ports Docker itself does not publish.

use std::fs;
use std::io::ErrorKind;

use portnat::lab::Lab;

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::serving::{answers, echo, lab, refused};
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
    docker.docker(&["network", "create", "--internal", "inner"]);
    docker.run("inmate", &["--network", "inner"]);
    let portnat = Daemon::run(&lab, &["-p", "8080:80@wob", "--docker", &docker.socket()]);
    let line = portnat.line("8080:80/tcp@wob: Docker has no running container of this name");
    assert!(
        line.contains("ERROR") && line.contains("docker ps"),
        "{line}"
    );
    for (name, words) in [
        ("wob", "Docker has no running container of this name"),
        ("hosts", "no address in a network"),
        ("inmate", "network inner of this container is --internal"),
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

    // Who is not there is not waited for any more.
    let part = portnat.ask(&["unpublish", "8080/udp"]);
    assert_eq!(part.status.code(), Some(1), "{part:#?}");
    let told = portnat.told(&["unpublish", "8080"]);
    let line = "unpublished 8080:80/tcp@wob, whose container is not there\n";
    assert_eq!(told, line);
    let again = portnat.ask(&["unpublish", "8080"]);
    assert_eq!(again.status.code(), Some(1), "{again:#?}");
    docker.docker(&["rename", "web", "wob"]);
    eventually("it has its name again", || {
        let ended = portnat.ask(&["publish", "wob", "-p", "8081:80"]);
        ended.status.success().then_some(()).ok_or(ended)
    });
    answers(&lab.client, at(Lab::HOST, 8081));
    assert!(!portnat.told(&["ls"]).contains("8080"));
    portnat.stop();
}

/// Labels are the container's, whoever publishes it, and however it is told which it is.
#[test]
fn labels_count_for_what_others_publish_of_a_container() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let deny = ["--label", "portnat.deny.80=192.0.2.10"];
    let web = docker.run("web", &deny);
    let address = docker.address("web", "bridge");
    let _servers = [80, 81].map(|port| tcp_server(&web, address, port));
    let by_address = format!("8080:80@{address}");
    let socket = docker.socket();
    let named = ["-p", "8081:80@web", "-p", "8083:81@web"];
    let mut portnat = Daemon::run(
        &lab,
        &[&["-p", &by_address, "--docker", &socket], &named[..]].concat(),
    );
    portnat.told(&["publish", "web", "-p", "8082:80"]);
    let denied = |port| {
        let why = echo(&lab.client, at(Lab::HOST, port)).expect_err("it is denied");
        assert_eq!(why.kind(), ErrorKind::TimedOut, "{port}");
        answers(&lab.host, at([127, 0, 0, 1], port));
    };
    for port in 8080..=8082 {
        denied(port);
    }
    answers(&lab.client, at(Lab::HOST, 8083));

    // Another container has the address, of which it is not known whom it lets in.
    docker.docker(&["rm", "-f", "web"]);
    let misspelt = ["--label", "portnat.alow=198.51.100.0/24"];
    let other = docker.run("other", &misspelt);
    assert_eq!(docker.address("other", "bridge"), address);
    let line = portnat.wait_for_line("nobody but the host is let in by 0.0.0.0:8080/tcp");
    assert!(
        line.contains("container other: label portnat.alow"),
        "{line}"
    );
    let _servers = [80, 81].map(|port| tcp_server(&other, address, port));
    denied(8080);
    for target in ["other".to_owned(), address.to_string()] {
        let refused = portnat.ask(&["publish", &target, "-p", "8084:80"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        assert!(
            refused.stderr[0].contains("label portnat.alow"),
            "{refused:#?}"
        );
    }

    // And one that lets in whom it likes.
    docker.docker(&["rm", "-f", "other"]);
    let open = docker.run("open", &[]);
    assert_eq!(docker.address("open", "bridge"), address);
    let _server = tcp_server(&open, address, 80);
    answers(&lab.client, at(Lab::HOST, 8080));
    portnat.stop();
}
