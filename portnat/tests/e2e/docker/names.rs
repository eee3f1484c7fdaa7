//! Containers that are told by their names, whose ports Docker itself does not publish.

use std::fs;
use std::io::ErrorKind;

use portnat::lab::Lab;

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::serving::{answers, echo, lab, refused};
use crate::daemon::Daemon;
use crate::support::{at, eventually, tcp_server};
use crate::survival::place::{Place, kill};

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
    let line = "unpublished 8080:80/tcp@wob, which waited for its container\n";
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

/// Whether it runs or not, also where it has no number yet on the host.
#[test]
fn what_was_published_of_a_name_is_unpublished_by_it() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    docker.run("web", &[]);
    docker.run("other", &[]);
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    let specs = ["-p", "8080:80", "-p", "8081:81/udp", "-p", "80"];
    portnat.told(&[&["publish", "web"], &specs[..]].concat());
    portnat.told(&["publish", "other", "-p", "8090:80"]);
    let told = portnat.told(&["unpublish", "web", "-p", "81/udp"]);
    assert!(
        told.contains("8081/udp") && !told.contains("8080"),
        "{told}"
    );
    // One of them is not published: nothing is changed.
    let wrong = ["unpublish", "web", "-p", "8080:80", "-p", "81/udp"];
    let wrong = portnat.ask(&wrong);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:#?}");
    assert_eq!(wrong.stderr, ["portnat: 81/udp@web is not published"]);

    docker.docker(&["stop", "-t", "0", "web"]);
    eventually("it is known that it has stopped", || {
        match portnat.ask(&["port", "web"]).stdout {
            ports if ports.is_empty() => Ok(()),
            ports => Err(ports),
        }
    });
    let told = portnat.told(&["unpublish", "web", "-p", "8080:80"]);
    assert_eq!(
        told,
        "unpublished 8080:80/tcp@web, which waited for its container\n"
    );
    let told = portnat.told(&["unpublish", "web"]);
    assert_eq!(
        told,
        "unpublished 80/tcp@web, which waited for its container\n"
    );
    let again = portnat.ask(&["unpublish", "web"]);
    assert_eq!(again.status.code(), Some(1), "{again:#?}");
    assert_eq!(again.stderr, ["portnat: no port of web is published"]);
    docker.docker(&["start", "web"]);
    portnat.told(&["unpublish", "other"]);
    let table = portnat.stop();
    assert!(!table.contains("80"), "{table}");
}

/// A free port that was chosen is the name's, whatever addresses containers come back with, with this portnat and
/// the next.
#[test]
fn names_keep_their_free_ports() {
    let (lab, place) = (lab(), Place::new());
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let names = ["web", "db"];
    let old = names.map(|name| {
        docker.run(name, &[]);
        docker.address(name, "bridge")
    });
    let socket = docker.socket();
    let arguments = ["--persist", "-p", "80@web", "--docker", &socket];
    let first = place.run(&lab, &arguments);
    place.told(&["publish", "db", "-p", "80"]);
    let listed = |name| place.try_told(&["port", name]).stdout;
    let ports = || names.map(|name| String::from_utf8(listed(name)).expect("text"));
    let before = ports();
    assert_ne!(before[0], before[1]);
    let back = || {
        eventually("both are published", || match ports() {
            now if now.contains(&String::new()) => Err(now),
            now => Ok(now),
        })
    };
    let swap = |order: [&str; 2]| {
        docker.docker(&["stop", "-t", "0", "web", "db"]);
        for name in order {
            docker.docker(&["start", name]);
        }
    };
    swap(["db", "web"]);
    assert_eq!(docker.address("db", "bridge"), old[0]);
    assert_eq!(back(), before);
    kill(first);
    swap(["web", "db"]);
    assert_eq!(docker.address("web", "bridge"), old[0]);
    let second = place.run(&lab, &arguments);
    assert_eq!(back(), before);
    // Nobody is given what a name has.
    docker.docker(&["stop", "-t", "0", "web"]);
    docker.run("squat", &[]);
    assert_eq!(docker.address("squat", "bridge"), old[0]);
    eventually("squat is known", || {
        let told = place.try_told(&["publish", "squat", "-p", "80"]);
        told.status.success().then_some(()).ok_or(told)
    });
    docker.docker(&["start", "web"]);
    assert_eq!(back(), before);
    kill(second);
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
