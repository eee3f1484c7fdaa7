//! The config file, and that it is read anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use portnat::lab::{Lab, Namespace, Server, probe};
use serde_json::Value;
use tempfile::TempDir;

use crate::admission::connects;
use crate::daemon::Daemon;
use crate::lifecycle::add_ingress_discipline;
use crate::support::{CONTAINER, PATIENCE, at, eventually, net, tcp_server, udp_server};

/// A config file.
struct File {
    folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = File {
            folder: tempfile::tempdir().expect("a directory"),
        };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("portnat.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("written");
    }

    fn run(&self, lab: &Lab, arguments: &[&str]) -> Daemon {
        let path = self.path();
        let path = path.to_str().expect("text");
        Daemon::run(lab, &[&["--config", path], arguments].concat())
    }
}

/// A lab with a TCP and a UDP server in its container.
fn scene() -> (Lab, [Server; 2]) {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let servers = [
        tcp_server(&container.namespace, container.address, 80),
        udp_server(&container.namespace, container.address, 53),
    ];
    (lab, servers)
}

#[track_caller]
fn forwards(lab: &Lab, port: u16) {
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
}

/// The published ports of the host, with their origins; each is there in both families.
fn published(daemon: &Daemon) -> Vec<(u64, String)> {
    let report: Value = serde_json::from_str(&daemon.told(&["ls", "--json"])).expect("JSON");
    let ports = report["ports"].as_array().expect("an array");
    let port = |port: &Value| {
        let origin = port["origin"].as_str().expect("text");
        (port["port"].as_u64().expect("a number"), origin.to_owned())
    };
    let mut ports: Vec<_> = ports.iter().map(port).collect();
    ports.dedup();
    ports
}

fn owned(ports: &[(u64, &str)]) -> Vec<(u64, String)> {
    let owned = ports
        .iter()
        .map(|(port, origin)| (*port, (*origin).to_owned()));
    owned.collect()
}

#[test]
fn a_file_says_who_comes_in() {
    let (lab, _servers) = scene();
    let publish = "publish = ['8080:80@172.17.0.2']\n";
    let file = File::new(&format!("deny = ['8080=192.0.2.0/24']\n{publish}"));
    let daemon = file.run(&lab, &[]);
    let comes_in = || connects(&lab.client, None, at(Lab::HOST, 8080));
    assert!(!comes_in());
    file.write(&format!(
        "allow = ['192.0.2.0/24']\nlimit = ['100']\n{publish}"
    ));
    let said = daemon.told(&["reload"]);
    assert!(said.contains("changed allow"), "{said}");
    assert!(comes_in());
    // A rule for what is not published is no reason to refuse the rest, and is said.
    file.write(&format!(
        "deny = ['192.0.2.0/24', '81=10.0.0.0/8']\n{publish}"
    ));
    let ended = daemon.ask(&["reload"]);
    assert!(ended.status.success(), "{ended:#?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("--deny 81=…: no such port"), "{ended:#?}");
    assert!(!comes_in());
}

#[test]
fn a_file_is_applied_and_read_anew() {
    let (lab, _servers) = scene();
    let file = File::new("publish = ['8080:80@172.17.0.2', '8081:80@172.17.0.2']\n");
    let mut daemon = file.run(&lab, &["-p", "8079:80@172.17.0.2"]);
    daemon.told(&["publish", CONTAINER, "-p", "8082:80"]);
    for port in [8079, 8080, 8081, 8082] {
        forwards(&lab, port);
    }
    let before = [
        (8079, "run"),
        (8080, "config"),
        (8081, "config"),
        (8082, "command"),
    ];
    assert_eq!(published(&daemon), owned(&before));

    // One goes, one comes, one is the file's now; and an option changes.
    file.write(
        "udp-mapping = 'address-and-port-dependent'\n\
         publish = ['8080:80@172.17.0.2', '8083:80@172.17.0.2', '8082:80@172.17.0.2']\n",
    );
    assert_eq!(
        daemon.told(&["reload"]),
        "unpublished 0.0.0.0:8081/tcp -> 172.17.0.2:80\n\
         unpublished [::]:8081/tcp -> 172.17.0.2:80\n\
         published 0.0.0.0:8083/tcp -> 172.17.0.2:80\n\
         published [::]:8083/tcp -> 172.17.0.2:80\n\
         changed udp-mapping\n\
         ended 1 flow\n"
    );
    let after = [
        (8079, "run"),
        (8080, "config"),
        (8082, "config"),
        (8083, "config"),
    ];
    assert_eq!(published(&daemon), owned(&after));
    forwards(&lab, 8083);

    file.write("");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line("reloaded: 0 ports published, 3 no longer, udp-mapping changed");
    eventually("only the command line's", || {
        let left = published(&daemon);
        (left == owned(&before[..1])).then_some(()).ok_or(left)
    });
    forwards(&lab, 8079);
    daemon.stop();
}

/// The port stays held, and what goes through it goes to the new target at once: also datagrams of a
/// socket that has spoken with the old one.
#[test]
fn a_port_gets_another_target() {
    let lab = Lab::builder().containers(2).build().expect("a lab");
    let servers: Vec<_> = lab
        .containers
        .iter()
        .map(|container| udp_server(&container.namespace, container.address, 53))
        .collect();
    let file = File::new("publish = ['5353:53/udp@172.17.0.2']");
    let daemon = file.run(&lab, &[]);
    let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    assert!(echoed(&socket).expect("sent"));
    file.write("publish = ['5353:53/udp@172.17.0.3']");
    assert_eq!(
        daemon.told(&["reload"]),
        "unpublished 0.0.0.0:5353/udp -> 172.17.0.2:53\n\
         unpublished [::]:5353/udp -> 172.17.0.2:53\n\
         published 0.0.0.0:5353/udp -> 172.17.0.3:53\n\
         published [::]:5353/udp -> 172.17.0.3:53\n\
         ended 1 flow\n"
    );
    assert!(echoed(&socket).expect("sent"));
    assert_eq!((servers[0].peers().len(), servers[1].peers().len()), (1, 1));
    let bound = lab.host.run(|| UdpSocket::bind((Lab::HOST, 5353)));
    assert_eq!(bound.expect_err("is held").kind(), io::ErrorKind::AddrInUse);
    daemon.stop();
}

/// An uplink that the file names anew is attached to, and one that cannot be is told of.
#[test]
fn uplinks_come_by_the_file() {
    let (lab, _servers) = scene();
    let other = Namespace::new().expect("a namespace");
    let file = File::new("uplinks = ['eth0']\npublish = ['8080:80@172.17.0.2']");
    let mut daemon = file.run(&lab, &["--attach", "clsact"]);
    let stream = probe::tcp_connect(&lab.client, None, at(Lab::HOST, 8080));
    let stream = stream.expect("a connection");
    for name in ["eth1", "eth2"] {
        other
            .links()
            .add_veth(name, &lab.host, name)
            .and_then(|()| lab.host.links().set_up(name))
            .expect("a link");
    }
    lab.host
        .links()
        .add_address("eth1", net("203.0.113.1/24"))
        .expect("an address");
    file.write("uplinks = ['eth[01]']\npublish = ['8080:80@172.17.0.2']");
    assert_eq!(daemon.told(&["reload"]), "changed uplinks\n");
    daemon.wait_for_line("attached to uplink eth1, masquerading as 203.0.113.1");
    assert!(said(&stream).expect("goes on"));

    let index = lab.host.links().index("eth2").expect("it is there");
    lab.host.run(|| add_ingress_discipline(index));
    file.write("uplinks = ['eth*']\npublish = ['8080:80@172.17.0.2']");
    let ended = daemon.ask(&["reload"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert_eq!(ended.stdout, "changed uplinks\n");
    assert!(
        ended.stderr[0].contains("to eth2: it has an `ingress` queueing discipline"),
        "{ended:#?}"
    );
    assert!(said(&stream).expect("goes on"));
    daemon.stop();
}

#[test]
fn what_makes_no_sense_or_cannot_be_changes_nothing() {
    let (lab, _servers) = scene();
    let good = "publish = ['8080:80@172.17.0.2']\n";
    let file = File::new(good);
    let path = file.path();
    let mut daemon = file.run(&lab, &[]);
    for (text, words) in [
        ("\nuplinks = 'eth0'", ":2: uplinks: invalid type: string"),
        (
            "publish = ['8081:80@172.17.0.2', '80@x']",
            ":1: publish[1]: invalid target: x",
        ),
        (
            "max-half-open = 64",
            ":1: max-half-open: it would be 64, and is 512 as long as",
        ),
        ("uplinks = ['nowhere']", "no interface nowhere"),
        (
            "publish = ['8081:80@172.17.0.1']",
            "172.17.0.1 is an address of this host",
        ),
    ] {
        file.write(text);
        let ended = daemon.ask(&["reload"]);
        assert_eq!(ended.status.code(), Some(1), "{text}: {ended:#?}");
        let [line] = &ended.stderr[..] else {
            panic!("not one line: {ended:#?}");
        };
        let at_file = !words.starts_with(':') || line.contains(&format!("{}:", path.display()));
        assert!(line.contains(words) && at_file, "{text}: {line}");
        assert_eq!(published(&daemon), owned(&[(8080, "config")]));
    }
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line("not reloaded, all stays as it was: ");
    forwards(&lab, 8080);
    daemon.stop();

    // Nor does it start so.
    file.write("max-flows = 'many'");
    let path = path.to_str().expect("text");
    let ended = Daemon::start(&lab.host, &["--config", path]).wait();
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    let words = format!("portnat: {path}:1: max-flows: invalid type: string \"many\"");
    assert!(ended.stderr[0].starts_with(&words), "{ended:#?}");
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let (lab, _servers) = scene();
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);
    let ended = daemon.ask(&["reload"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(
        ended.stderr[0].contains("started without --config"),
        "{ended:#?}"
    );
    daemon.stop_by(Signal::SIGHUP);
}

/// What is said on a connection and in datagrams through a port that stays is heard, whatever the
/// file says of others, and in which mode.
#[test]
fn a_hundred_reloads_lose_no_connection_and_no_packet() {
    const RELOADS: usize = 100;
    let (lab, _servers) = scene();
    let stays = "'8080:80@172.17.0.2', '5353:53/udp@172.17.0.2'";
    let file = File::new(&format!("publish = [{stays}]\n"));
    let daemon = file.run(&lab, &[]);
    let stream = probe::tcp_connect(&lab.client, None, at(Lab::HOST, 8080));
    let stream = stream.expect("a connection");
    let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    let outside = udp_server(&lab.client, Lab::CLIENT, 7);
    let out = probe::udp_connect(&lab.containers[0].namespace, None, at(Lab::CLIENT, 7));
    let out = out.expect("a socket");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let talks = [
            scope.spawn(|| until(&over, || said(&stream))),
            scope.spawn(|| until(&over, || echoed(&socket))),
            scope.spawn(|| until(&over, || echoed(&out))),
        ];
        // Another port, of other targets; and options that are seen by every packet.
        for number in 0..RELOADS {
            let mut text = match number % 4 {
                0 => format!("publish = [{stays}]\n"),
                1 => format!("publish = ['9001:80@172.17.0.2', {stays}]\nmark = '0x10/0xf0'\n"),
                2 => format!("publish = ['9001:81@172.17.0.3', {stays}]\nmark = '0x20/0xf0'\n"),
                _ => format!("publish = [{stays}, '9002:82@172.17.0.2']\nfast-path = 'off'\n"),
            };
            if number % 3 == 0 {
                text += "masquerade = ['172.17.0.0/16']\n[timeouts]\nudp-answered = 200\n";
            }
            file.write(&text);
            daemon.told(&["reload"]);
        }
        over.store(true, Ordering::Relaxed);
        for talk in talks {
            let (exchanges, lost) = talk.join().expect("no panic").expect("it goes on");
            assert_eq!(lost, 0, "of {exchanges}");
            assert!(exchanges > 0);
        }
    });
    let seen: BTreeSet<_> = outside.peers().into_iter().collect();
    assert_eq!(seen.len(), 1, "another port of the host: {seen:?}");
    let said = daemon.stop();
    assert!(said.contains("0.0.0.0:8080/tcp"), "{said}");
}

/// Goes on until it is over: how many exchanges there were, and how many were answered not at all.
fn until(over: &AtomicBool, exchange: impl Fn() -> io::Result<bool>) -> io::Result<(u64, u64)> {
    let (mut exchanges, mut lost) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        exchanges += 1;
        lost += u64::from(!exchange()?);
    }
    Ok((exchanges, lost))
}

fn said(mut stream: &TcpStream) -> io::Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[7; 1000])?;
    stream.read_exact(&mut [0; 1000])?;
    Ok(true)
}

/// Whether a datagram comes back: nobody sends it again.
fn echoed(socket: &UdpSocket) -> io::Result<bool> {
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.send(b"hello")?;
    match socket.recv(&mut [0; 16]) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
