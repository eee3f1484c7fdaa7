//! Interfaces that vanish and come again, with a daemon and without one; and rules that do.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use portnat::lab::{Lab, probe};

use super::event::Event;
use super::place::kill;
use super::{Scene, Talk, persist};
use crate::daemon::Daemon;
use crate::firewall::{self, FIREWALL};
use crate::support::{ANSWER, PATIENCE, at, eventually};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// New connections begin, both ways.
fn works(scene: &Scene, host: IpAddr, patience: Duration) -> io::Result<()> {
    let stream = scene
        .lab
        .client
        .run(|| TcpStream::connect_timeout(&at(host, 8080), patience))?;
    talk(&stream)?;
    let inside = &scene.lab.containers[0].namespace;
    let socket = probe::udp_connect(inside, None, at(Lab::CLIENT, 7))?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"new")?;
    socket.recv(&mut [0; 8]).map(|_| ())
}

fn talk(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"more")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"more");
    Ok(())
}

/// All works again after an event, and connections have gone on where the host's address has not changed.
fn comes_back(event: Event, attach: &str, with_a_daemon: bool) {
    let scene = Scene::new();
    let arguments = persist(attach, &[]);
    let start = || scene.place.run(&scene.lab, &arguments);
    let first = start();
    let stream = probe::tcp_connect(&scene.lab.client, None, at(Lab::HOST, 8080));
    let stream = stream.expect("a connection");
    talk(&stream).expect("an answer");
    works(&scene, Lab::HOST.into(), ANSWER).expect("all is well");
    let running: Daemon = if with_a_daemon {
        event.happen(&scene.lab).expect("it can be done");
        first
    } else {
        kill(first);
        event.happen(&scene.lab).expect("it can be done");
        start()
    };
    let what = format!("{event:?}, {attach}, with a daemon: {with_a_daemon}");
    let soon = Duration::from_millis(500);
    eventually(&what, || works(&scene, event.host(), soon));
    if !matches!(event, Event::Address) {
        talk(&stream).expect("it goes on");
    }
    kill(running);
    // And it is the programs that do it.
    works(&scene, event.host(), ANSWER).expect("without a daemon too");
}

#[test]
fn a_bridge_that_comes_again_serves_its_containers() {
    comes_back(Event::Bridge, "tcx", true);
    comes_back(Event::Bridge, "clsact", false);
}

#[test]
fn a_containers_new_link_is_served() {
    comes_back(Event::Veth, "clsact", true);
    comes_back(Event::Veth, "tcx", false);
}

#[test]
fn an_uplinks_new_address_is_served() {
    comes_back(Event::Address, "tcx", true);
    comes_back(Event::Address, "tcx", false);
}

/// As firewalld does, and who is less careful.
#[test]
fn nothing_is_lost_while_rules_come_and_go() {
    let scene = Scene::new();
    firewall::set_up(&scene.lab.host, false, Some(FIREWALL));
    let daemon = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let talks = scene.talks();
    let at_once = format!("flush ruleset\n{FIREWALL}");
    for _ in 0..10 {
        firewall::nft(&scene.lab.host, &["-f", "-"], &at_once);
        talks.iter().for_each(Talk::goes_on);
        firewall::nft(&scene.lab.host, &["flush", "ruleset"], "");
        scene.assert_at_work();
        firewall::nft(&scene.lab.host, &["-f", "-"], FIREWALL);
        scene.assert_at_work();
    }
    talks.iter().for_each(Talk::goes_on);
    talks.into_iter().for_each(Talk::end);
    kill(daemon);
}

/// A large range is held by a program that ends with the daemon, but the kernel chooses none of its
/// ports by itself meanwhile; and what was added for that is taken out in the end.
#[test]
fn a_large_range_is_held_again() {
    let scene = Scene::new();
    let reserved = || scene.lab.host.sysctl_get(RESERVED).expect("text");
    let bind = || {
        let bound = scene.lab.host.run(|| TcpListener::bind("0.0.0.0:8500"));
        bound.map(|_| ())
    };
    scene.lab.host.sysctl(RESERVED, "7000").expect("set");
    let range = ["--persist", "-p", "8000-8999:8000-8999@172.17.0.2"];
    for last in ["cleanup", "another"] {
        let first = scene.place.run(&scene.lab, &range);
        bind().expect_err("is held");
        assert_eq!(reserved(), "7000,8000-8999");
        kill(first);
        eventually("the end of the hook", bind);
        assert_eq!(reserved(), "7000,8000-8999");
        let second = scene.place.run(&scene.lab, &range);
        bind().expect_err("is held again");
        assert_eq!(reserved(), "7000,8000-8999");
        // It ends as it is asked to, and leaves as much.
        second.stop();
        assert_eq!(reserved(), "7000,8000-8999");
        match last {
            "cleanup" => drop(scene.place.clean_up(&scene.lab)),
            _ => kill(scene.place.run(&scene.lab, &persist("tcx", &[]))),
        }
        assert_eq!(reserved(), "7000", "{last}");
        assert!(scene.place.written("-reserved").is_empty());
    }
    // Who does not leave anything is killed, too.
    let third = scene.place.run(&scene.lab, &range[1..]);
    kill(third);
    assert_eq!(reserved(), "7000,8000-8999");
    scene.place.run(&scene.lab, &["-p", super::TCP]).stop();
    assert_eq!(reserved(), "7000");
    assert!(scene.place.written("-reserved").is_empty());
}
