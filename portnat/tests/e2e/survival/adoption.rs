//! What a daemon knows of the one before it.

use aya::maps::{HashMap, MapData};
use portnat::lab::{Lab, probe};

use super::place::kill;
use super::{ATTACH, Scene, TCP, Talk, persist};
use crate::admission::connects;
use crate::picture::Picture;
use crate::privileges::{KEPT, assert_has};
use crate::support::{at, eventually, tcp_server};
use crate::tun::Tun;

#[test]
fn counters_go_on_for_the_same_port_to_the_same_target() {
    let scene = Scene::new();
    let first = scene.place.run(&scene.lab, &persist("tcx", &[]));
    scene.assert_at_work();
    let before = scene.place.row("0.0.0.0:8080/tcp");
    assert!(before.packets_in > 0, "{before:?}");
    kill(first);
    scene.assert_at_work();

    // Other ports come before it on the command line, and one has gone.
    let others = ["--persist", "-p", "8079:80@172.17.0.2", "-p", TCP];
    let second = scene.place.run(&scene.lab, &others);
    let row = scene.place.row("0.0.0.0:8080/tcp");
    assert!(row.packets_in > before.packets_in, "{row:?}");
    assert_eq!(scene.place.row("0.0.0.0:8079/tcp").packets_in, 0);
    let answer = probe::tcp_echo(&scene.lab.client, at(Lab::HOST, 8079), b"new");
    assert_eq!(answer.expect("an answer"), b"new");
    let gone = probe::udp_echo(&scene.lab.client, at(Lab::HOST, 8080), b"gone");
    gone.expect_err("nobody is there any more");
    kill(second);

    // Another target is another port, whose counters begin anew.
    let server = tcp_server(
        &scene.lab.containers[0].namespace,
        scene.lab.containers[0].address,
        81,
    );
    let other = ["--persist", "-p", "8080:81@172.17.0.2"];
    let third = scene.place.run(&scene.lab, &other);
    assert_eq!(scene.place.row("0.0.0.0:8080/tcp").packets_in, 0);
    let answer = probe::tcp_echo(&scene.lab.client, at(Lab::HOST, 8080), b"new");
    assert_eq!(answer.expect("an answer"), b"new");
    assert_eq!(server.peers().len(), 1);
    kill(third);
}

/// What one portnat was told of who may come in holds until another is told something else.
#[test]
fn lists_go_on_and_then_are_the_next_ones() {
    let scene = Scene::new();
    let comes_in = || connects(&scene.lab.client, None, at(Lab::HOST, 8080));
    let deny = |net| persist("tcx", &["--deny", net]);
    let first = scene.place.run(&scene.lab, &deny("192.0.2.0/24"));
    assert!(!comes_in());
    kill(first);
    assert!(!comes_in());
    let second = scene.place.run(&scene.lab, &deny("198.51.100.0/24"));
    assert!(comes_in());
    kill(second);
    let limited = persist("tcx", &["--limit", "1/h:2"]);
    let third = scene.place.run(&scene.lab, &limited);
    assert_eq!([comes_in(), comes_in(), comes_in()], [true, true, false]);
    kill(third);
    let fourth = scene.place.run(&scene.lab, &persist("tcx", &[]));
    assert!(comes_in());
    kill(fourth);
}

/// The one that the kernel's order would give is the first that is free, which by then is another.
#[test]
fn a_port_of_nobodys_choice_stays_the_same() {
    let scene = Scene::new();
    let asked = ["--persist", "-p", "80@172.17.0.2", "-p", "81@172.17.0.2"];
    let port = |line: &str| {
        let port = line.split("0.0.0.0:").nth(1).expect("an address");
        port.split('/').next().expect("a port").to_owned()
    };
    let mut first = scene.place.start(&scene.lab, &asked);
    let of_80 = port(&first.wait_for_line("-> 172.17.0.2:80"));
    let of_81 = port(&first.wait_for_line("-> 172.17.0.2:81"));
    kill(first);
    let mut second = scene
        .place
        .start(&scene.lab, &["--persist", "-p", "81@172.17.0.2"]);
    assert_eq!(port(&second.wait_for_line("-> 172.17.0.2:81")), of_81);
    second.wait_for_line("ready");
    kill(second);
    let all = ["--persist", "-p", "81@172.17.0.2", "-p", "80@172.17.0.2"];
    let mut third = scene.place.start(&scene.lab, &all);
    assert_eq!(port(&third.wait_for_line("-> 172.17.0.2:81")), of_81);
    assert_eq!(port(&third.wait_for_line("-> 172.17.0.2:80")), of_80);
    kill(third);
}

/// A socket of a container's is seen from the same port as before.
#[test]
fn masquerade_goes_on_from_the_same_port() {
    let scene = Scene::new();
    let inside = &scene.lab.containers[0];
    let server = crate::support::udp_server(&scene.lab.client, Lab::CLIENT, 3478);
    // Outside the pool, so that it leaves by another port.
    let source = at(inside.address, 40_000);
    let ask = || {
        let answer = probe::udp_echo_from(&inside.namespace, source, server.address(), b"?");
        answer.expect("an answer");
        server.peers().last().expect("one").port()
    };
    let first = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let port = ask();
    assert_ne!(port, 40_000);
    kill(first);
    assert_eq!(ask(), port);
    let second = scene.place.run(&scene.lab, &persist("tcx", &[]));
    assert_eq!(ask(), port);
    kill(second);
}

/// Flows whose time is over are removed by others that begin.
#[test]
fn a_flow_ends_without_a_daemon() {
    let scene = Scene::new();
    let short = persist(
        "tcx",
        &[
            "--timeout",
            "udp-unanswered=1",
            "--timeout",
            "udp-answered=1",
        ],
    );
    let first = scene.place.run(&scene.lab, &short);
    let inside = &scene.lab.containers[0];
    let ask = |port| {
        let to = at(Lab::CLIENT, 7);
        probe::udp_echo_from(&inside.namespace, at(inside.address, port), to, b"?")
    };
    kill(first);
    ask(2000).expect("an answer");
    let is_there = || {
        let pin = eventually("the table of flows", || {
            let pins = scene.place.pinned();
            let table = pins.into_iter().find(|pin| pin.ends_with("FLOWS4"));
            table.ok_or("not pinned")
        });
        scene.place.inside(|| {
            let map = MapData::from_pin(pin).expect("is pinned");
            let map = aya::maps::Map::from_map_data(map).expect("a map");
            let flows: HashMap<MapData, [u8; 16], [u8; 128]> = map.try_into().expect("flows");
            // A key begins with the source's and the destination's address, then come their ports.
            let port = 2000u16.to_ne_bytes();
            let mut keys = flows.keys().map(|key| key.expect("a key"));
            keys.any(|key| key[8..10] == port || key[10..12] == port)
        })
    };
    assert!(is_there());
    let mut others = 3000..;
    eventually("the end of a flow", || {
        ask(others.next().expect("more ports")).expect("an answer");
        if is_there() { Err("is there") } else { Ok(()) }
    });
}

#[test]
fn who_does_not_leave_anything_takes_over_all_the_same() {
    for attach in ATTACH {
        let scene = Scene::new();
        let before = Picture::of(&scene.lab.host);
        kill(scene.place.run(&scene.lab, &persist(attach, &[])));
        let mut second = scene
            .place
            .start(&scene.lab, &["-p", TCP, "--attach", attach]);
        second.wait_for_line("took over 2 ports, ");
        second.wait_for_line("ready");
        assert!(scene.place.pinned().is_empty());
        scene.assert_at_work();
        second.stop();
        assert_eq!(Picture::of(&scene.lab.host), before);
    }
}

/// Also the next one's clean end puts back what the one that was killed has changed.
#[test]
fn sysctls_are_put_back_after_a_kill() {
    let scene = Scene::new();
    let before = Picture::of(&scene.lab.host);
    let arguments = ["-p", TCP, "--attach", "tcx"];
    kill(scene.place.run(&scene.lab, &arguments));
    assert!(
        !Picture::of(&scene.lab.host)
            .changed_sysctls(&before)
            .is_empty()
    );
    assert_eq!(scene.place.records().len(), 1);
    scene.place.run(&scene.lab, &arguments).stop();
    assert_eq!(Picture::of(&scene.lab.host), before);
    assert!(scene.place.records().is_empty());
}

/// An interface that comes again is another to the kernel, and what was pinned for the old one is of no
/// use.
#[test]
fn interfaces_that_come_again_are_attached_again() {
    let mut scene = Scene::new();
    kill(scene.place.run(&scene.lab, &persist("tcx", &[])));

    // The bridge's own program serves a container that comes without a daemon.
    let container = scene.lab.add_container(Lab::BRIDGE).expect("a container");
    let inside = container.namespace.clone();
    probe::udp_echo(&inside, at(Lab::CLIENT, 7), b"new").expect("an answer");
    let second = scene.place.run(&scene.lab, &persist("tcx", &[]));
    scene.assert_at_work();

    // The uplink has another address.
    let links = scene.lab.host.links();
    let other = "192.0.2.77/24".parse().expect("an address");
    let first = "192.0.2.1/24".parse().expect("an address");
    links.delete_address(Lab::UPLINK, first).expect("deleted");
    links.add_address(Lab::UPLINK, other).expect("added");
    let inside = &scene.lab.containers[0].namespace;
    eventually("masquerade as another address", || {
        probe::udp_echo(inside, at(Lab::CLIENT, 7), b"new")
    });
    let host = at(std::net::Ipv4Addr::new(192, 0, 2, 77), 8080);
    eventually("the port at another address", || {
        probe::tcp_echo(&scene.lab.client, host, b"new")
    });

    // Another container comes, whose port is a new interface, and the bridge's own goes.
    let container = scene.lab.add_container(Lab::BRIDGE).expect("a container");
    let inside = container.namespace.clone();
    eventually("masquerade for a new container", || {
        probe::udp_echo(&inside, at(Lab::CLIENT, 7), b"new")
    });
    let links = scene.lab.host.links();
    let pinned = |index: u32| {
        let prefix = format!("{index}-");
        let pins = scene.place.pinned();
        let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str());
        names.filter(|name| name.starts_with(&prefix)).count()
    };
    let bridge = links.index(Lab::BRIDGE).expect("is there");
    assert_eq!(pinned(bridge), 2);
    links.delete(Lab::BRIDGE).expect("deleted");
    eventually("the end of a link", || match pinned(bridge) {
        0 => Ok(()),
        links => Err(links),
    });
    kill(second);
}

/// Rules are nothing to portnat, nor is their end.
#[test]
fn all_goes_on_after_the_firewall_was_flushed() {
    let scene = Scene::new();
    crate::firewall::set_up(&scene.lab.host, false, Some(crate::firewall::FIREWALL));
    let daemon = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let talks = scene.talks();
    crate::firewall::nft(&scene.lab.host, &["flush", "ruleset"], "");
    talks.iter().for_each(Talk::goes_on);
    scene.assert_at_work();
    kill(daemon);
    crate::firewall::nft(&scene.lab.host, &["-f", "-"], crate::firewall::FIREWALL);
    crate::firewall::nft(&scene.lab.host, &["flush", "ruleset"], "");
    scene.assert_at_work();
    talks.into_iter().for_each(Talk::end);
}

#[test]
fn who_persists_may_not_load_programs_that_look_into_the_kernel() {
    let scene = Scene::new();
    let mut daemon = scene.place.run(&scene.lab, &persist("tcx", &[]));
    assert_has(daemon.pid().as_raw(), KEPT);
    // An interface of a kind that was not there when programs were loaded.
    let _tunnel = Tun::new(&scene.lab.host);
    daemon.wait_for_line("attached to uplink tun");
    scene.assert_at_work();
    kill(daemon);
}
