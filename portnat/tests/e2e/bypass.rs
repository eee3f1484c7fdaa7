//! Prefixes to which containers speak as themselves, and addresses as which subnets are masqueraded.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use portnat::lab::{Lab, Server, probe};

use crate::daemon::Daemon;
use crate::icmp::{Distance, NARROW, heard_mtu};
use crate::support::{MEGABYTE, at, eventually, net, payload, seen_by, tcp_server, udp_server};

/// Another address of the client's.
const OTHER_CLIENT: [&str; 2] = ["192.0.2.20", "2001:db8:1::20"];
/// Another one of the host's.
const OTHER_HOST: [&str; 2] = ["192.0.2.77", "2001:db8:1::77"];
/// That of the host's addresses which its uplink lends: of IPv4 the first, of IPv6 the last that came.
const LENT: [&str; 2] = ["192.0.2.1", "2001:db8:1::77"];
/// And the other one.
const NAMED: [&str; 2] = ["192.0.2.77", "2001:db8:1::1"];
const BYPASS: [&str; 4] = [
    "--bypass",
    "192.0.2.10/32",
    "--bypass",
    "2001:db8:1::10/128",
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn with_length(address: &str) -> ipnet::IpNet {
    let length = if address.contains(':') { 64 } else { 24 };
    net(&format!("{address}/{length}"))
}

/// A lab of both families, whose client knows the way to containers and has two addresses, as has the
/// host.
struct Scene {
    lab: Lab,
    /// Of each family, at the first address and at the other; TCP and UDP.
    servers: Vec<[Server; 4]>,
}

impl Scene {
    fn new() -> Self {
        let other = "172.18.0.0/16".parse().expect("a subnet");
        let lab = Lab::builder()
            .bridge("br1", other, 1)
            .client_routes_via_host(true)
            .ipv6(true)
            .build()
            .expect("a lab");
        let servers = [0, 1].map(|family| {
            let (client, host) = (lab.client.links(), lab.host.links());
            client
                .add_address(Lab::UPLINK, with_length(OTHER_CLIENT[family]))
                .expect("an address");
            host.add_address(Lab::UPLINK, with_length(OTHER_HOST[family]))
                .expect("an address");
            let links: [IpAddr; 2] = [CLIENT[family], ip(OTHER_CLIENT[family])];
            lab.client
                .links()
                .wait_until_up(&[Lab::UPLINK])
                .expect("up");
            lab.host.links().wait_until_up(&[Lab::UPLINK]).expect("up");
            [
                tcp_server(&lab.client, links[0], 80),
                udp_server(&lab.client, links[0], 53),
                tcp_server(&lab.client, links[1], 80),
                udp_server(&lab.client, links[1], 53),
            ]
        });
        Scene {
            lab,
            servers: servers.into(),
        }
    }

    /// The container's own address on a bridge.
    fn container(&self, bridge: usize, family: usize) -> IpAddr {
        let container = &self.lab.containers[bridge];
        [container.address.into(), container.address_v6.into()][family]
    }

    /// As whom a container is seen by the client's first address, and by its other one. By TCP, UDP and
    /// by a ping that is answered.
    #[track_caller]
    fn seen(&self, bridge: usize, family: usize) -> [IpAddr; 2] {
        let inside = &self.lab.containers[bridge].namespace;
        let [first, second] = [0, 2].map(|at| {
            let (tcp, udp) = (&self.servers[family][at], &self.servers[family][at + 1]);
            let sent = payload(100_000);
            let answer = probe::tcp_echo(inside, tcp.address(), &sent).expect("an answer");
            assert!(answer == sent, "something else");
            // More than one packet takes, so that it comes and goes in fragments.
            let sent = payload(5_000);
            let answer = probe::udp_echo(inside, udp.address(), &sent).expect("an answer");
            assert!(answer == sent, "something else");
            probe::ping(inside, tcp.address().ip(), 7, 1).expect("an answer");
            let seen = [tcp, udp].map(|server| *seen_by(server).last().expect("somebody"));
            assert_eq!(seen[0], seen[1]);
            seen[0]
        });
        [first, second]
    }
}

const CLIENT: [IpAddr; 2] = [IpAddr::V4(Lab::CLIENT), IpAddr::V6(Lab::CLIENT_V6)];
const HOST: [IpAddr; 2] = [IpAddr::V4(Lab::HOST), IpAddr::V6(Lab::HOST_V6)];

#[test]
fn a_container_is_seen_as_itself_where_it_is_not_masqueraded_to() {
    for fast_path in ["auto", "off"] {
        let scene = Scene::new();
        let arguments = [&BYPASS[..], &["--fast-path", fast_path]].concat();
        let daemon = Daemon::run(&scene.lab, &arguments);
        for family in [0, 1] {
            for bridge in [0, 1] {
                let own = scene.container(bridge, family);
                assert_eq!(scene.seen(bridge, family), [own, ip(LENT[family])]);
            }
            // Nobody outside begins, whether containers speak to it as themselves or not.
            let target = scene.container(0, family);
            let inside = &scene.lab.containers[0].namespace;
            let _server = tcp_server(inside, target, 80);
            let patience = Duration::from_millis(300);
            let asked = scene
                .lab
                .client
                .run(|| TcpStream::connect_timeout(&at(target, 80), patience));
            assert_eq!(asked.expect_err("is closed").kind(), ErrorKind::TimedOut);
        }
        let table = daemon.stop();
        let mut dropped = table.lines().filter(|line| line.starts_with("dropped"));
        assert!(
            dropped.all(|line| line.ends_with("(direct-access)") || line.ends_with("(redirect)")),
            "{table}"
        );
    }
}

/// Ports that are published are reached, and answer, as before.
#[test]
fn published_ports_are_reached_from_there() {
    let scene = Scene::new();
    let publish = ["-p", "8080:80@172.17.0.2", "-p", "8080:80@fd00:17::2"];
    let daemon = Daemon::run(&scene.lab, &[&BYPASS[..], &publish].concat());
    let inside = &scene.lab.containers[0].namespace;
    for family in [0, 1] {
        let server = tcp_server(inside, scene.container(0, family), 80);
        let answer = probe::tcp_echo(&scene.lab.client, at(HOST[family], 8080), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
        assert_eq!(seen_by(&server).len(), 1);
    }
    daemon.stop();
}

/// A router's error is about the container's own packet, and goes to it.
#[test]
fn errors_about_what_is_not_masqueraded_reach_the_container() {
    let distance = Distance::new(1);
    let container = &distance.lab.containers[0];
    let own = [
        IpAddr::from(container.address),
        IpAddr::from(container.address_v6),
    ];
    for (subnet, host) in [("172.17.0.0/16", HOST[0]), ("fd00:17::/64", HOST[1])] {
        let links = distance.lab.client.links();
        links.add_route(net(subnet), host).expect("a route");
    }
    let [v4, v6] = Distance::FAR_SUBNET;
    let daemon = Daemon::run(&distance.lab, &["--bypass", v4, "--bypass", v6]);
    let sent = payload(MEGABYTE);
    for family in [0, 1] {
        let far = ip(Distance::FAR[family]);
        let server = tcp_server(&distance.far, far, 80);
        let answer = probe::tcp_echo(&container.namespace, server.address(), &sent);
        assert!(answer.expect("all of it") == sent, "something else");
        assert_eq!(heard_mtu(&container.namespace, far), Some(NARROW));
        assert_eq!(heard_mtu(&distance.lab.host, far), None);
        assert_eq!(seen_by(&server), [own[family]]);
        // Nobody serves it: the far end says so to the container.
        let refusal = probe::udp_echo(&container.namespace, at(far, 9), b"?");
        let refusal = refusal.expect_err("nobody answers");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
    }
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}

#[test]
fn a_subnet_is_masqueraded_as_the_address_that_is_said_of_it() {
    let scene = Scene::new();
    let named = [
        "172.17.0.0/16,to=192.0.2.77",
        "fd00:17::/64,to=2001:db8:1::1",
    ];
    let mut arguments = vec![
        "--masquerade",
        "172.18.0.0/16",
        "--masquerade",
        "fd00:17:1::/64",
    ];
    arguments.extend(named.iter().flat_map(|one| ["--masquerade", one]));
    let mut daemon = Daemon::run(&scene.lab, &arguments);
    for family in [0, 1] {
        assert_eq!(scene.seen(0, family), [ip(NAMED[family]); 2]);
        assert_eq!(scene.seen(1, family), [ip(LENT[family]); 2]);
    }
    // The host loses the address: nothing goes out as another one, until it is back.
    let links = scene.lab.host.links();
    let address = with_length(OTHER_HOST[0]);
    links.delete_address(Lab::UPLINK, address).expect("deleted");
    daemon.wait_for_line("dropped until this host has the address 192.0.2.77");
    let inside = &scene.lab.containers[0].namespace;
    let to = at(CLIENT[0], 80);
    let asks = || inside.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
    eventually("that nothing is sent", || match asks() {
        Err(error) if error.kind() != ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(scene.seen(1, 0), [HOST[0]; 2]);
    links.add_address(Lab::UPLINK, address).expect("added");
    eventually("the address again", || {
        asks().map_err(|error| error.to_string())
    });
    assert_eq!(scene.seen(0, 0), [ip(OTHER_HOST[0]); 2]);
    daemon.stop();
}

#[test]
fn an_address_that_the_host_has_not_is_refused() {
    let lab = Lab::builder().build().expect("a lab");
    for (argument, words, code) in [
        ("172.17.0.0/16,to=192.0.2.99", "no address of this host", 1),
        ("172.17.0.0/16,to=::1", "not of one family", 2),
        ("172.17.0.0/16,as=192.0.2.1", "no option of a prefix", 2),
    ] {
        let ended = Daemon::start(&lab.host, &["--masquerade", argument]).wait();
        assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
        assert!(
            ended.stderr.iter().any(|line| line.contains(words)),
            "{ended:#?}"
        );
    }
}

/// What has begun goes on as it began, whichever way the file is changed.
#[test]
fn flows_go_on_when_the_file_says_otherwise() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("portnat.toml");
    let write = |text: &str| fs::write(&path, text).expect("written");
    write("");
    let config = ["--config", path.to_str().expect("text")];
    let daemon = Daemon::run(&scene.lab, &config);
    let inside = &scene.lab.containers[0].namespace;
    let talk = |stream: &mut TcpStream| {
        stream.write_all(b"more").expect("sent");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"more");
    };
    let mut streams = Vec::new();
    let bypass = "bypass = ['192.0.2.0/24']\n";
    let named = "masquerade = ['172.17.0.0/16,to=192.0.2.77']\n";
    for (text, seen) in [
        ("", HOST[0]),
        (bypass, scene.container(0, 0)),
        (named, ip(OTHER_HOST[0])),
        ("", HOST[0]),
    ] {
        write(text);
        daemon.told(&["reload"]);
        assert_eq!(scene.seen(0, 0), [seen; 2], "{text}");
        let stream = probe::tcp_connect(inside, None, at(CLIENT[0], 80));
        streams.push(stream.expect("a connection"));
        streams.iter_mut().for_each(talk);
    }
    // Once more after the second in which nothing of them is looked at.
    std::thread::sleep(Duration::from_millis(1_200));
    streams.iter_mut().for_each(talk);
    daemon.stop();
}
