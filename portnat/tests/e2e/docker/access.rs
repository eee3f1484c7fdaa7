//! By which addresses published ports are reached, and for whom.

use std::io::ErrorKind;

use portnat::lab::Lab;

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::internal::{hello, is_silent};
use super::serving::{answers, echo, lab, refused};
use crate::daemon::Daemon;
use crate::support::{at, eventually, net, tcp_server, udp_server};

/// A further address of the host.
const SECOND: [u8; 4] = [192, 0, 2, 3];

#[test]
fn a_port_at_a_loopback_address_is_the_hosts_alone() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let web = docker.run("web", &["-p", "127.0.0.1:8080:80", "-p", "[::1]:8081:80"]);
    let _server = tcp_server(&web, docker.address("web", "bridge"), 80);
    let other = docker.run("other", &[]);
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    answers(&lab.host, at([127, 0, 0, 1], 8080));
    for from in [&lab.host, &lab.client, &other, &web] {
        refused(from, at(Lab::HOST, 8080));
        refused(from, at(Lab::HOST, 8081));
    }
    refused(&lab.host, at([127, 0, 0, 1], 80));
    portnat.stop();
}

#[test]
fn one_port_at_several_addresses_is_several_containers() {
    let lab = lab();
    lab.host
        .links()
        .add_address(Lab::UPLINK, net("192.0.2.3/24"))
        .expect("an address");
    let Some(docker) = Dockerd::start(&lab.host, Which::Newest, &WITHOUT_RULES) else {
        return;
    };
    let one = docker.run("one", &["-p", "192.0.2.1:8080:80"]);
    let two = docker.run("two", &["-p", "192.0.2.3:8080:80"]);
    let one = tcp_server(&one, docker.address("one", "bridge"), 80);
    let two = tcp_server(&two, docker.address("two", "bridge"), 80);
    let mut portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    answers(&lab.client, at(SECOND, 8080));
    assert_eq!((one.peers().len(), two.peers().len()), (0, 1));
    answers(&lab.client, at(Lab::HOST, 8080));
    assert_eq!((one.peers().len(), two.peers().len()), (1, 1));
    // Docker itself has such a one not begin.
    let all = ["run", "-d", "--name", "all", "-p", "8080:80"];
    let all = [&all[..], &super::ground::sleeping()].concat();
    let why = docker.try_docker(&all).expect_err("others have it");
    assert!(why.contains("already"), "{why}");
    docker.docker(&["rm", "-f", "one", "two"]);
    docker.docker(&["start", "all"]);
    portnat.wait_for_line("published 0.0.0.0:8080/tcp");
    let (all, address) = (docker.namespace("all"), docker.address("all", "bridge"));
    let _all = tcp_server(&all, address, 80);
    answers(&lab.client, at(SECOND, 8080));
    portnat.stop();
}

#[test]
fn labels_say_who_may_come_in() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Stable, &WITHOUT_RULES) else {
        return;
    };
    let options = ["-p", "8080:80", "-p", "8081:81"];
    let label = ["--label", "portnat.deny.80=192.0.2.10"];
    let web = docker.run("web", &[&options[..], &label].concat());
    let address = docker.address("web", "bridge");
    let _servers = [80, 81].map(|port| tcp_server(&web, address, port));
    let mut portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    answers(&lab.client, at(Lab::HOST, 8081));
    let denied = echo(&lab.client, at(Lab::HOST, 8080)).expect_err("it is denied");
    assert_eq!(denied.kind(), ErrorKind::TimedOut);
    answers(&lab.host, at([127, 0, 0, 1], 8080));

    // The same ports and the same address, without the label.
    docker.docker(&["rm", "-f", "web"]);
    portnat.wait_for_line("no longer published");
    let web = docker.run("web", &options);
    assert_eq!(docker.address("web", "bridge"), address);
    let _servers = [80, 81].map(|port| tcp_server(&web, address, port));
    answers(&lab.client, at(Lab::HOST, 8080));

    let misspelt = ["-p", "8082:80", "--label", "portnat.alow=10.0.0.0/8"];
    docker.run("other", &misspelt);
    let line = portnat.wait_for_line("container other is not published");
    assert!(
        line.contains("label portnat.alow: there are allow, deny and limit"),
        "{line}"
    );
    let none = || portnat.ask(&["port", "other"]).stdout;
    eventually("no port of it", || match none().is_empty() {
        true => Ok(()),
        false => Err(none()),
    });
    portnat.stop();
}

/// A network without inter-container communication (`enable_icc=false`).
#[test]
fn containers_of_one_network_can_be_kept_apart() {
    let lab = lab();
    let Some(docker) = Dockerd::start(&lab.host, Which::Newest, &WITHOUT_RULES) else {
        return;
    };
    let option = "com.docker.network.bridge.enable_icc=false";
    docker.docker(&["network", "create", "-o", option, "apart"]);
    let web = docker.run("web", &["--network", "apart", "-p", "8080:80"]);
    let address = docker.address("web", "apart");
    let _server = tcp_server(&web, address, 80);
    let portnat = Daemon::run(&lab, &["--docker", &docker.socket()]);
    let other = docker.run("other", &["--network", "apart"]);
    eventually("they are apart", || match echo(&other, at(address, 80)) {
        Err(_) => Ok(()),
        Ok(()) => Err("they are not"),
    });
    // Nor by the host, which would forward from one to the other.
    let gateway = "{{.NetworkSettings.Networks.apart.Gateway}}";
    let gateway = docker.docker(&["inspect", "-f", gateway, "other"]);
    let by_host = [&address.to_string(), "via", gateway.trim()];
    let route = [&["route", "add"], &by_host[..]].concat();
    let status = other.command("ip").args(route).status();
    assert!(status.expect("ip is installed").success());
    let dns = udp_server(&web, address, 53);
    is_silent(hello(&other, None, dns.address()), "they are not");
    assert_eq!(dns.peers(), [], "one hears the other");
    // By what is published they reach each other, as by Docker's proxy.
    answers(&other, at(Lab::HOST, 8080));
    answers(&lab.client, at(Lab::HOST, 8080));
    portnat.stop();
    answers(&other, at(address, 80));
}
