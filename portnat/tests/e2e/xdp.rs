//! Frames of established flows go to their containers before the host's stack has them, and none is
//! lost where they cannot.

use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portnat::lab::{Container, Lab, LabBuilder, Namespace, Server, probe};
use portnat::net::Feature;

use crate::daemon::Daemon;
use crate::support::{assert_nothing_lost, at, eventually, net, payload, tcp_server, udp_server};

const HOSTS: [IpAddr; 2] = [IpAddr::V4(Lab::HOST), IpAddr::V6(Lab::HOST_V6)];

/// Long enough for several visits to the stack.
const LARGE: usize = 20 * 1024 * 1024;

/// A lab with servers of both families and protocols in its container, and a process to find its
/// namespace by.
struct Scene {
    lab: Lab,
    _servers: [Server; 4],
    _process: Daemon,
    daemon: Daemon,
}

impl Scene {
    fn new(lab: LabBuilder, options: &[&str]) -> Self {
        let lab = lab.ipv6(true).build().expect("a lab");
        // As from another machine: nobody on the way computes checksums for the client.
        set(&lab.client, Lab::UPLINK, Feature::TxChecksums, false);
        Self::start(lab, options)
    }

    fn start(lab: Lab, options: &[&str]) -> Self {
        let container = &lab.containers[0];
        let process = process_in(&container.namespace);
        let [v4, v6] = [IpAddr::from(container.address), container.address_v6.into()];
        let inside = &container.namespace;
        let servers = [
            tcp_server(inside, v4, 80),
            tcp_server(inside, v6, 80),
            udp_server(inside, v4, 80),
            udp_server(inside, v6, 80),
        ];
        let spec = |target| ["tcp", "udp"].map(|name| format!("8080:80/{name}@{target}"));
        let publish = [v4, v6].map(spec);
        let mut arguments = Vec::new();
        for spec in publish.as_flattened() {
            arguments.extend(["-p", spec]);
        }
        let daemon = Daemon::run(&lab, &[&arguments, options].concat());
        Scene {
            lab,
            _servers: servers,
            _process: process,
            daemon,
        }
    }

    fn container(&self) -> &Container {
        &self.lab.containers[0]
    }

    /// How many frames went to containers so far.
    fn accelerated(&self) -> u64 {
        accelerated(&self.daemon.told(&["ls"]))
    }

    fn connect(&self, host: IpAddr) -> TcpStream {
        let stream = probe::tcp_connect(&self.lab.client, None, at(host, 8080));
        let stream = stream.expect("a connection");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("a timeout");
        stream
    }

    /// Talks until frames of the client's go to the container.
    fn become_accelerated(&self, stream: &mut TcpStream) {
        let before = self.accelerated();
        eventually("an accelerated flow", || {
            talk(stream).map_err(|error| error.to_string())?;
            match self.accelerated() {
                now if now > before => Ok(()),
                _ => Err("by packets only".to_owned()),
            }
        });
    }

    /// Says something large to both servers, which comes back as it was.
    fn transfer(&self) {
        for host in HOSTS {
            let sent = payload(LARGE);
            let answer = probe::tcp_echo(&self.lab.client, at(host, 8080), &sent);
            assert!(answer.expect("all of it") == sent, "something else");
        }
    }
}

/// The number of frames in a table.
fn accelerated(table: &str) -> u64 {
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("accelerated "));
    line.map_or(0, |line| {
        let number = line.split_whitespace().next().expect("a number");
        number.parse().expect("a number")
    })
}

/// A process in a namespace, as a container has one. It goes with what is returned.
pub(crate) fn process_in(namespace: &Namespace) -> Daemon {
    let mut command: Command = namespace.command("sleep");
    command.arg("600");
    Daemon::spawn(command)
}

/// Switches a feature of a device on or off.
pub(crate) fn set(namespace: &Namespace, device: &str, feature: Feature, on: bool) {
    let device = CString::new(device).expect("a name");
    namespace
        .run(|| feature.set(&device, on))
        .expect("a veth does all of that");
}

/// Whether a container's device has GRO.
fn has_gro(container: &Container) -> bool {
    container
        .namespace
        .run(|| Feature::Gro.is_on(c"eth0"))
        .expect("a device")
}

fn talk(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = [0; 4];
    stream.write_all(b"talk")?;
    stream.read_exact(&mut answer)
}

/// Whether the host's uplink has an XDP program.
fn has_program(lab: &Lab) -> bool {
    let mut ip = lab.host.command("ip");
    let output = ip.args(["link", "show", Lab::UPLINK]).output();
    let told = String::from_utf8(output.expect("ip is installed").stdout);
    told.expect("text").contains("prog/xdp")
}

/// The container's device takes frames while portnat runs, and only then.
#[test]
fn large_transfers_are_accelerated_by_the_driver() {
    let scene = Scene::new(Lab::builder(), &["--xdp", "native"]);
    assert!(has_gro(scene.container()) && has_program(&scene.lab));
    scene.transfer();
    let table = scene.daemon.stop();
    assert_nothing_lost(&table);
    // The client's segments are none longer than its MTU.
    let segments = 2 * LARGE as u64 / 1500;
    let frames = accelerated(&table);
    assert!(frames > segments / 2, "{frames} of {segments}: {table}");
    assert!(!has_gro(&scene.lab.containers[0]) && !has_program(&scene.lab));
}

/// Any device can, and the container's is left alone.
#[test]
fn large_transfers_are_accelerated_in_front_of_the_stack() {
    let scene = Scene::new(Lab::builder(), &["--xdp", "generic"]);
    assert!(!has_gro(scene.container()));
    scene.transfer();
    let table = scene.daemon.stop();
    assert_nothing_lost(&table);
    assert!(accelerated(&table) > 1000, "{table}");
}

/// What is sent from the same machine has no checksum yet. It goes the other way, and nobody sees a
/// wrong one.
#[test]
fn what_a_device_is_to_finish_is_not_accelerated() {
    for mode in ["native", "generic"] {
        let lab = Lab::builder().ipv6(true).build().expect("a lab");
        let scene = Scene::start(lab, &["--xdp", mode]);
        scene.transfer();
        let table = scene.daemon.stop();
        assert_nothing_lost(&table);
        // But for one in 65,536 that looks as if it were.
        assert!(accelerated(&table) < 10, "{table}");
    }
}

/// Its namespace is that of no process.
#[test]
fn a_container_that_cannot_be_reached_is_served_without() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    set(&lab.client, Lab::UPLINK, Feature::TxChecksums, false);
    let container = &lab.containers[0];
    let target = container.address.to_string();
    let _server = tcp_server(&container.namespace, container.address, 80);
    let publish = format!("8080:80@{target}");
    let daemon = Daemon::run(&lab, &["-p", &publish, "--xdp", "auto"]);
    daemon.line("no XDP for the container behind veth0: no process is in its namespace");
    let sent = payload(LARGE);
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), &sent);
    assert!(answer.expect("all of it") == sent, "something else");
    assert!(!has_gro(container));
    let table = daemon.stop();
    assert_nothing_lost(&table);
    assert_eq!(accelerated(&table), 0);
}

/// Somebody switches off what was switched on: that is theirs, and stays.
#[test]
fn a_container_that_takes_no_frames_any_more_gets_none() {
    let scene = Scene::new(Lab::builder(), &["--xdp", "native"]);
    let mut stream = scene.connect(HOSTS[0]);
    scene.become_accelerated(&mut stream);
    set(&scene.container().namespace, "eth0", Feature::Gro, false);
    let mut before = scene.accelerated();
    // Some frames may be lost until it is noticed; the connection sends them again.
    let mut quiet_since = Instant::now();
    eventually("nothing but packets", || {
        talk(&mut stream).map_err(|error| error.to_string())?;
        let now = scene.accelerated();
        if now != before {
            (before, quiet_since) = (now, Instant::now());
        }
        match quiet_since.elapsed() > Duration::from_secs(3) {
            true => Ok(()),
            false => Err("frames".to_owned()),
        }
    });
    assert!(!has_gro(scene.container()));
    scene.daemon.stop();
    assert!(!has_gro(&scene.lab.containers[0]));
}

/// What the daemon has seen is not believed for long: when it is dead, it cannot see what changes.
#[test]
fn nothing_is_lost_under_a_daemon_that_looks_no_more() {
    let scene = Scene::new(Lab::builder(), &["--xdp", "native"]);
    let socket = probe::udp_connect(&scene.lab.client, None, at(HOSTS[0], 8080));
    let socket = socket.expect("a socket");
    let before = scene.accelerated();
    eventually("an accelerated flow", || {
        echo(&socket, 100)?;
        match scene.accelerated() {
            now if now > before => Ok(()),
            _ => Err(io::Error::other("by packets only")),
        }
    });
    scene.daemon.signal(Signal::SIGSTOP);
    // Five seconds, and one that ways are fresh; and what jiffies make of them.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        echo(&socket, 100).expect("an answer");
    }
    set(&scene.container().namespace, "eth0", Feature::Gro, false);
    for length in 100..1000 {
        echo(&socket, length).expect("an answer, by packets");
    }
    scene.daemon.signal(Signal::SIGCONT);
    scene.daemon.stop();
}

/// As when a container is restarted: the new link's end is asked and told anew.
#[test]
fn a_veth_that_is_replaced_is_accelerated_again() {
    let scene = Scene::new(Lab::builder(), &["--xdp", "native"]);
    let mut stream = scene.connect(HOSTS[0]);
    scene.become_accelerated(&mut stream);
    let container = scene.container();
    let (inside, host) = (container.namespace.links(), scene.lab.host.links());
    let bridge = &scene.lab.bridges[0];
    inside
        .delete("eth0")
        .and_then(|()| inside.add_veth("eth0", &scene.lab.host, "veth-new"))
        .and_then(|()| host.set_master("veth-new", &bridge.name))
        .and_then(|()| inside.add_address("eth0", net("172.17.0.2/16")))
        .and_then(|()| inside.add_default_route(bridge.gateway.into()))
        .expect("another veth");
    assert!(!has_gro(container));
    eventually("an answer by the new one", || talk(&mut stream));
    scene.become_accelerated(&mut stream);
    assert!(has_gro(container));
}

/// A frame that fills several buffers is not the program's to read whole, and arrives whole.
#[test]
fn jumbo_frames_are_accelerated() {
    for mode in ["native", "generic"] {
        let lab = Lab::builder().uplink_mtu(9000).ipv6(true).build();
        let lab = lab.expect("a lab");
        set(&lab.client, Lab::UPLINK, Feature::TxChecksums, false);
        let container = &lab.containers[0];
        let host = lab.host.links();
        container
            .namespace
            .links()
            .set_mtu("eth0", 9000)
            .and_then(|()| host.set_mtu(&container.port, 9000))
            .and_then(|()| host.set_mtu(Lab::BRIDGE, 9000))
            .expect("an MTU");
        let scene = Scene::start(lab, &["--xdp", mode]);
        for host in HOSTS {
            let socket = probe::udp_connect(&scene.lab.client, None, at(host, 8080));
            let socket = socket.expect("a socket");
            let before = scene.accelerated();
            let mut length = 8000;
            eventually("jumbo frames", || {
                length += 1;
                echo(&socket, length)?;
                match scene.accelerated() {
                    now if now > before => Ok(()),
                    _ => Err(io::Error::other("by packets only")),
                }
            });
        }
        scene.transfer();
        assert_nothing_lost(&scene.daemon.stop());
    }
}

fn echo(socket: &UdpSocket, length: usize) -> io::Result<()> {
    let sent = payload(length);
    socket.send(&sent)?;
    let mut received = vec![0; length + 1];
    let length = socket.recv(&mut received)?;
    assert!(received[..length] == sent, "something else comes back");
    Ok(())
}

/// A macvlan has no driver to run anything.
#[test]
fn a_driver_that_cannot_is_an_error_unless_it_is_left_to_us() {
    let lab = Lab::builder().build().expect("a lab");
    let links = lab.host.links();
    let ip = |arguments: &[&str]| {
        let status = lab.host.command("ip").args(arguments).status();
        assert!(status.expect("ip is installed").success(), "{arguments:?}");
    };
    let macvlan = [
        "link", "add", "link", "eth0", "name", "lan5", "type", "macvlan",
    ];
    ip(&macvlan);
    links.set_up("lan5").expect("up");
    let native = Daemon::start(&lab.host, &["--uplink", "lan5", "--xdp", "native"]);
    let ended = native.wait();
    assert_eq!(ended.status.code(), Some(1));
    let said = ended.stderr.join("\n");
    assert!(said.contains("attaching uplink_xdp to lan5: "), "{said}");
    let auto = Daemon::run(&lab, &["--uplink", "lan5", "--xdp", "auto"]);
    auto.line("no XDP at lan5: ");
    auto.stop();
    Daemon::run(&lab, &["--uplink", "lan5", "--xdp", "generic"]).stop();
}

#[test]
fn it_is_part_of_the_fast_path() {
    let lab = Lab::builder().build().expect("a lab");
    let daemon = Daemon::start(&lab.host, &["--fast-path", "off", "--xdp", "native"]);
    let ended = daemon.wait();
    let why = "it is a part of the fast path, which is off";
    assert!(ended.stderr.join("\n").contains(why), "{ended:#?}");
    assert_eq!(ended.status.code(), Some(1));
}
