//! What goes on without a daemon, and with the next one (`--persist`).

mod adoption;
mod chaos;
mod cleanup;
mod clock;
mod commands;
mod event;
mod links;
pub(crate) mod place;
mod programs;
mod secrecy;
pub(crate) mod talk;
mod upgrade;

use std::net::IpAddr;

use nix::sys::signal::Signal;
use portnat::lab::{Lab, Server, probe};

use crate::support::{at, tcp_server, udp_server};
use place::{Place, kill};
use talk::Talk;

const TCP: &str = "8080:80@172.17.0.2";
const UDP: &str = "8080:80/udp@172.17.0.2";
const ATTACH: [&str; 2] = ["tcx", "clsact"];

/// A lab with servers in the container and outside.
struct Scene {
    lab: Lab,
    place: Place,
    _servers: [Server; 3],
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::builder().build().expect("a lab");
        let container = &lab.containers[0];
        let inside = IpAddr::from(container.address);
        let servers = [
            tcp_server(&container.namespace, inside, 80),
            udp_server(&container.namespace, inside, 80),
            udp_server(&lab.client, Lab::CLIENT, 7),
        ];
        Scene {
            lab,
            place: Place::new(),
            _servers: servers,
        }
    }

    /// Conversations by published ports, and by masquerade.
    fn talks(&self) -> [Talk; 3] {
        let host = at(Lab::HOST, 8080);
        [
            Talk::tcp(&self.lab.client, host),
            Talk::udp(&self.lab.client, host),
            Talk::udp(&self.lab.containers[0].namespace, at(Lab::CLIENT, 7)),
        ]
    }

    /// New ones can begin, in both directions.
    #[track_caller]
    fn assert_at_work(&self) {
        let host = at(Lab::HOST, 8080);
        let answer = probe::tcp_echo(&self.lab.client, host, b"new");
        assert_eq!(answer.expect("an answer"), b"new");
        let inside = &self.lab.containers[0].namespace;
        let answer = probe::udp_echo(inside, at(Lab::CLIENT, 7), b"new");
        assert_eq!(answer.expect("an answer"), b"new");
    }
}

/// The arguments of a daemon that leaves everything.
fn persist<'a>(attach: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["--persist", "--attach", attach, "-p", TCP, "-p", UDP];
    arguments.extend(others);
    arguments
}

/// Nothing is lost while there is no daemon, nor when there is another.
fn goes_on_without_a_daemon(attach: &str, end: Signal) {
    let scene = Scene::new();
    let arguments = persist(attach, &[]);
    let first = scene.place.run(&scene.lab, &arguments);
    let talks = scene.talks();
    first.signal(end);
    first.wait();
    talks.iter().for_each(Talk::goes_on);
    scene.assert_at_work();

    let mut second = scene.place.start(&scene.lab, &arguments);
    let line = second.wait_for_line("took over");
    assert!(line.contains("took over 4 ports, "), "{line}");
    second.wait_for_line("ready");
    talks.iter().for_each(Talk::goes_on);
    scene.assert_at_work();
    // The first daemon's connection, one of no daemon's time, and one of the second's.
    let row = scene.place.row("0.0.0.0:8080/tcp");
    assert_eq!(row.flows, 3, "{row:?}");
    talks.into_iter().for_each(Talk::end);
    kill(second);
}

#[test]
fn nothing_is_lost_by_sigkill_with_tcx() {
    goes_on_without_a_daemon("tcx", Signal::SIGKILL);
}

#[test]
fn nothing_is_lost_by_sigkill_with_clsact() {
    goes_on_without_a_daemon("clsact", Signal::SIGKILL);
}

#[test]
fn nothing_is_lost_by_sigterm() {
    for attach in ATTACH {
        goes_on_without_a_daemon(attach, Signal::SIGTERM);
    }
}
