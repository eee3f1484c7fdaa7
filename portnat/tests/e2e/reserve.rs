//! Whose a port is: portnat's while it is published, or somebody's who is named.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use portnat::lab::{Lab, probe};
use portnat::net::{Choice, MOST_SOCKETS, local_reserved_ports};
use portnat::spec::Protocol;

use crate::daemon::{Daemon, row};
use crate::support::{at, eventually, tcp_server};
use crate::tenant::{Cgroup, Tenant, ports, reserver};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// In the kernel's words.
const IN_USE: &str = "Address already in use (os error 98)";

fn lab() -> Lab {
    Lab::builder().ipv6(true).build().expect("a lab")
}

/// An address and a port that stand in a text.
fn to(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn a_large_range_is_refused_to_the_host_and_not_to_containers() {
    let lab = lab();
    let cgroup = Cgroup::new();
    lab.host.sysctl(RESERVED, "7000,8900-9100").expect("set");
    let mut host = Tenant::start(&lab.host, "host");
    let mut container = Tenant::start(&lab.containers[0].namespace, "container");
    host.join(&cgroup);
    container.join(&cgroup);

    let reserve = || reserver(cgroup.path()).reserve(ports(8000, 8999), Choice::Theirs, false);
    let reservation = lab.host.run(reserve).expect("all are free");
    assert_eq!(
        lab.host.sysctl_get(RESERVED).expect("text"),
        "7000,8000-9100"
    );
    for taken in [
        "0.0.0.0:8000",
        "127.0.0.1:8999",
        "192.0.2.1:8500",
        "[::]:8501",
    ] {
        let answer = host.bind(Protocol::Tcp, to(taken));
        assert_eq!(answer.as_deref(), Some(IN_USE), "{taken}");
        let any = at(Ipv4Addr::UNSPECIFIED, to(taken).port());
        assert_eq!(container.bind(Protocol::Tcp, any), None, "{taken}");
    }
    for other in ["0.0.0.0:7999", "0.0.0.0:9000", "[::1]:8502"] {
        assert_eq!(host.bind(Protocol::Tcp, to(other)), None, "{other}");
    }
    assert_eq!(host.bind(Protocol::Udp, to("0.0.0.0:8500")), None);
    // Nobody has a socket for them.
    let listed = lab
        .host
        .run(|| std::fs::read_to_string("/proc/thread-self/net/tcp"));
    assert!(
        !listed.expect("text").contains(":2134 "),
        "a socket at 8500"
    );

    drop(reservation);
    assert_eq!(
        lab.host.sysctl_get(RESERVED).expect("text"),
        "7000,8900-9100"
    );
    assert_eq!(host.bind(Protocol::Tcp, to("0.0.0.0:8500")), None);
}

#[test]
fn what_the_host_does_not_name_is_never_one_of_a_large_range() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let server = tcp_server(&lab.client, Lab::CLIENT, 80);
    let local_ports = "net/ipv4/ip_local_port_range";
    lab.host.sysctl(local_ports, "40000 40399").expect("set");
    let free = 40_398;
    let below = lab
        .host
        .run(|| reserver(cgroup.path()).reserve(ports(40_000, 40_397), Choice::Theirs, false));
    let _below = below.expect("all are free");
    assert!(usize::from(free - 40_000_u16) > MOST_SOCKETS);
    lab.host.run(|| {
        let one = TcpStream::connect(server.address()).expect("a connection");
        let two = TcpStream::connect(server.address()).expect("a connection");
        let mut locals = [&one, &two].map(|one| one.local_addr().expect("is bound").port());
        locals.sort_unstable();
        assert_eq!(locals, [free, free + 1]);
        let none = TcpStream::connect(server.address()).expect_err("no port is left");
        assert_eq!(none.kind(), ErrorKind::AddrNotAvailable);
        drop((one, two));
        let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        assert!(any.local_addr().expect("is bound").port() >= free);
    });
}

#[test]
fn who_has_a_port_of_a_large_range_is_named_and_dockers_are_left_to_it() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let reserve = |force| {
        lab.host
            .run(|| reserver(cgroup.path()).reserve(ports(8000, 8999), Choice::Theirs, force))
    };
    let mut docker = Tenant::start(&lab.host, "docker-proxy");
    assert_eq!(docker.bind(Protocol::Tcp, to("0.0.0.0:8100")), None);
    drop(reserve(false).expect("the others are free"));

    let mut nginx = Tenant::start(&lab.host, "nginx");
    assert_eq!(nginx.bind(Protocol::Tcp, to("127.0.0.1:8200")), None);
    let refusal = reserve(false).expect_err("it has one");
    let holder = format!("nginx (pid {}) holds 127.0.0.1:8200", nginx.pid());
    assert_eq!(
        refusal.to_string(),
        format!("failed to bind host port 0.0.0.0:8200/tcp: address already in use: {holder}")
    );
    assert_eq!(lab.host.sysctl_get(RESERVED).expect("text"), "");
    drop(reserve(true).expect("is forced"));
}

/// The kernel gives what fits the first reading, and nothing at a second.
#[test]
fn a_long_list_of_reserved_ports_is_read_to_its_end() {
    let lab = lab();
    let odd: Vec<u16> = (1..1000).step_by(2).collect();
    let text: Vec<_> = odd.iter().map(u16::to_string).collect();
    lab.host.sysctl(RESERVED, &text.join(",")).expect("set");
    let read = lab.host.run(local_reserved_ports).expect("ports");
    assert_eq!(
        read,
        odd.iter().map(|port| (*port, *port)).collect::<Vec<_>>()
    );
}

/// Nobody is left who could remove it.
#[test]
fn the_bind_hook_ends_with_its_process() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut host = Tenant::start(&lab.host, "host");
    host.join(&cgroup);
    let mut keeper = Tenant::start(&lab.host, "keeper");
    keeper.reserve(&cgroup, 8000, 8999);
    let answer = host.bind(Protocol::Tcp, to("0.0.0.0:8500"));
    assert_eq!(answer.as_deref(), Some(IN_USE));
    keeper.kill();
    eventually("the hook is gone", || {
        host.bind(Protocol::Tcp, to("0.0.0.0:8500"))
            .map_or(Ok(()), Err)
    });
}

#[test]
fn who_has_a_port_is_named_unless_it_is_published_by_force() {
    let lab = lab();
    let container = &lab.containers[0];
    let server = tcp_server(&container.namespace, container.address, 80);
    let mut nginx = Tenant::start(&lab.host, "nginx");
    assert_eq!(nginx.bind(Protocol::Tcp, to("0.0.0.0:8080")), None);
    let publish = ["-p", "8080:80@172.17.0.2"];
    let ended = Daemon::start(&lab.host, &publish).wait();
    let holder = format!("nginx (pid {}) holds it", nginx.pid());
    assert_eq!(
        ended.stderr,
        [format!(
            "portnat: publishing 8080:80/tcp@172.17.0.2: failed to bind host port \
             0.0.0.0:8080/tcp: address already in use: {holder}"
        )]
    );

    let daemon = Daemon::run(&lab, &[&publish[..], &["--force"]].concat());
    let warning = daemon.line("by force");
    assert!(
        warning.contains("WARN") && warning.contains(&holder),
        "{warning}"
    );
    probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello").expect("an answer");
    assert_eq!(server.peers().len(), 1);
    assert_eq!(row(&daemon.stop(), "0.0.0.0:8080/tcp").flows, 1);
}

#[test]
fn a_port_that_docker_holds_is_published_beside_it() {
    let lab = lab();
    let container = &lab.containers[0];
    let server = tcp_server(&container.namespace, container.address, 80);
    let mut docker = Tenant::start(&lab.host, "docker-proxy");
    assert_eq!(docker.bind(Protocol::Tcp, to("[::]:8080")), None);
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);
    let line = daemon.line("beside Docker");
    let holder = format!("docker-proxy (pid {}) holds [::]:8080", docker.pid());
    assert!(line.contains("INFO") && line.contains(&holder), "{line}");
    probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello").expect("an answer");
    assert_eq!(server.peers().len(), 1);
    daemon.stop();
}

#[test]
fn an_ephemeral_port_is_the_same_after_a_restart() {
    let lab = lab();
    let state = tempfile::tempdir().expect("a directory");
    let folder = state.path().to_str().expect("text");
    let web = ["-p", "80@172.17.0.2", "--state", folder];
    let published = |daemon: &Daemon, target: &str| {
        let line = daemon.line(&format!("-> {target}"));
        let host = line.split_whitespace().nth(2).expect("a port");
        host.to_owned()
    };
    let first = Daemon::run(&lab, &web);
    let port = published(&first, "172.17.0.2:80");
    first.stop();
    // Another one that is asked for before it, and does not get its port.
    let second = Daemon::run(&lab, &[&["-p", "81@172.17.0.2"], &web[..]].concat());
    assert_eq!(published(&second, "172.17.0.2:80"), port);
    let other = published(&second, "172.17.0.2:81");
    second.stop();
    let third = Daemon::run(&lab, &["-p", "81@172.17.0.2", "--state", folder]);
    assert_eq!(published(&third, "172.17.0.2:81"), other);
    third.stop();
}
