//! What commands have published goes on with the next daemon, which nobody tells of it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use portnat::lab::{Lab, Server, probe};
use serde_json::Value;

use super::place::{Place, kill};
use crate::support::{CONTAINER, at, tcp_server, udp_server};

const HOST_V6: &str = "2001:db8:1::1";
const CONTAINER_V6: &str = "fd00:17::2";

/// A lab of both families with servers in the container, and a daemon's place.
struct Scene {
    lab: Lab,
    place: Place,
    _servers: Vec<Server>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::builder().ipv6(true).build().expect("a lab");
        let inside = &lab.containers[0].namespace;
        let v4: IpAddr = CONTAINER.parse().expect("an address");
        let v6: IpAddr = CONTAINER_V6.parse().expect("an address");
        let servers = vec![
            tcp_server(inside, v4, 80),
            tcp_server(inside, v4, 85),
            udp_server(inside, v4, 53),
            tcp_server(inside, v6, 80),
        ];
        Scene {
            lab,
            place: Place::new(),
            _servers: servers,
        }
    }

    #[track_caller]
    fn forwards(&self, host: &str, port: u16) {
        let host: IpAddr = host.parse().expect("an address");
        let answer = probe::tcp_echo(&self.lab.client, at(host, port), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
    }

    fn listed(&self) -> Vec<Value> {
        let text = self.place.told(&["ls", "--json"]);
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let mut ports = report["ports"].as_array().expect("a list").clone();
        for port in &mut ports {
            let port = port.as_object_mut().expect("a port");
            port.retain(|name, _| {
                let traffic = ["packets", "bytes"].iter().any(|what| name.contains(what));
                !traffic && name != "flows"
            });
        }
        ports
    }
}

#[test]
fn what_commands_published_is_published_again() {
    let scene = Scene::new();
    let arguments = ["--persist", "-p", "7000:80@172.17.0.2"];
    let first = scene.place.run(&scene.lab, &arguments);
    let publish = |arguments: &[&str]| {
        let all = [&["publish", CONTAINER], arguments].concat();
        scene.place.told(&all)
    };
    publish(&["-p", "8080:80", "-p", "9000-9009:80-89"]);
    let ephemeral = publish(&["-p", "80"]);
    let ephemeral = ephemeral.split([':', '/']).nth(1).expect("a port");
    let ephemeral: u16 = ephemeral.parse().expect("a number");
    publish(&["-p", "5353:53/udp"]);
    scene
        .place
        .told(&["publish", CONTAINER_V6, "-p", "8081:80"]);
    // Not what has gone meanwhile.
    publish(&["-p", "8099:80"]);
    scene.place.told(&["unpublish", "8099"]);
    scene.forwards("192.0.2.1", 8080);
    let before = scene.listed();
    assert_eq!(before.len(), 11, "{before:#?}");
    let row = scene.place.row("0.0.0.0:8080/tcp");
    kill(first);

    let mut second = scene.place.start(&scene.lab, &arguments);
    second.wait_for_line("took over 11 ports, ");
    second.wait_for_line("ready");
    assert_eq!(scene.listed(), before);
    // It has kept its id, and so its counters.
    assert_eq!(scene.place.row("0.0.0.0:8080/tcp"), row);
    for port in [7000, 8080, 9000, 9005, ephemeral] {
        scene.forwards("192.0.2.1", port);
        scene.forwards(HOST_V6, port);
        // And nobody else has it.
        let bound = scene
            .lab
            .host
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
        bound.expect_err("is held");
    }
    scene.forwards(HOST_V6, 8081);
    let answer = probe::udp_echo(&scene.lab.client, at(Lab::HOST, 5353), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");

    // They are as any others: they go, and what is left comes again.
    scene.place.told(&["unpublish", "8080"]);
    scene
        .place
        .told(&["unpublish", CONTAINER, "-p", "9000-9009:80-89"]);
    let free = scene.lab.host.run(|| {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080))?;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9005))
    });
    free.expect("nobody holds it");
    let before = scene.listed();
    assert_eq!(before.len(), 7);
    kill(second);
    let third = scene.place.run(&scene.lab, &arguments);
    assert_eq!(scene.listed(), before);
    kill(third);

    // Nothing is left by what takes everything away.
    assert_eq!(scene.place.written("-ports").len(), 1);
    scene.place.clean_up(&scene.lab);
    assert!(scene.place.written("-ports").is_empty());
    let fourth = scene.place.run(&scene.lab, &arguments);
    assert_eq!(scene.listed().len(), 2);
    kill(fourth);
}

#[test]
fn what_the_file_publishes_too_is_there_once() {
    let scene = Scene::new();
    let first = scene.place.run(&scene.lab, &["--persist"]);
    for spec in ["8080:80", "80", "8090:80", "9000:80"] {
        scene.place.told(&["publish", CONTAINER, "-p", spec]);
    }
    let by_hand = scene.listed();
    assert_eq!(by_hand.len(), 8);
    kill(first);
    let folder = tempfile::tempdir().expect("a directory");
    let config = folder.path().join("portnat.toml");
    let text = r#"publish = ["8080:80@172.17.0.2", "80@172.17.0.2", "8090:85@172.17.0.2"]"#;
    fs::write(&config, text).expect("written");
    // Somebody has come in between.
    let somebody = scene
        .lab
        .host
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000)));
    let config = config.to_str().expect("text");
    let mut second = scene
        .place
        .start(&scene.lab, &["--persist", "--config", config]);
    second.wait_for_line("8090:80/tcp@172.17.0.2 is not published again");
    let line = second.wait_for_line("9000:80/tcp@172.17.0.2 is not published again");
    assert!(line.contains("e2e"), "{line}");
    second.wait_for_line("ready");
    drop(somebody);
    let listed = scene.listed();
    assert_eq!(listed.len(), 6, "{listed:#?}");
    for (now, then) in listed.iter().zip(&by_hand).take(4) {
        assert_eq!(now["origin"], "config");
        assert_eq!(now["port"], then["port"]);
    }
    assert_eq!(listed[4]["target_port"], 85);
    scene.forwards("192.0.2.1", 8090);
    kill(second);
}

/// Who takes everything away at its end leaves no word of it either.
#[test]
fn who_does_not_leave_anything_publishes_it_for_its_own_time() {
    let scene = Scene::new();
    let first = scene.place.run(&scene.lab, &["--persist"]);
    scene.place.told(&["publish", CONTAINER, "-p", "8080:80"]);
    kill(first);
    let second = scene.place.run(&scene.lab, &[]);
    assert_eq!(scene.listed().len(), 2);
    scene.forwards("192.0.2.1", 8080);
    assert!(scene.place.written("-ports").is_empty());
    second.stop();
    let third = scene.place.run(&scene.lab, &["--persist"]);
    assert!(scene.listed().is_empty());
    kill(third);
}

/// It was asked for with this run of the kernel, and what is left of another is no answer to anybody.
#[test]
fn what_cannot_be_read_ends_nothing_else() {
    let scene = Scene::new();
    let arguments = ["--persist", "-p", "7000:80@172.17.0.2"];
    let first = scene.place.run(&scene.lab, &arguments);
    scene.place.told(&["publish", CONTAINER, "-p", "8080:80"]);
    kill(first);
    let [file] = &scene.place.written("-ports")[..] else {
        panic!("not one file");
    };
    let text = fs::read_to_string(file).expect("text");
    let mut other: Value = serde_json::from_str(&text).expect("JSON");
    other["boot"] = "another".into();
    fs::write(file, other.to_string()).expect("written");
    let second = scene.place.run(&scene.lab, &arguments);
    assert_eq!(scene.listed().len(), 2);
    scene.place.told(&["publish", CONTAINER, "-p", "8080:80"]);
    kill(second);

    let text = fs::read_to_string(file).expect("text");
    fs::write(file, &text[..text.len() / 2]).expect("written");
    let mut third = scene.place.start(&scene.lab, &arguments);
    third.wait_for_line("what commands have published is not published again");
    third.wait_for_line("ready");
    assert_eq!(scene.listed().len(), 2);
    scene.forwards("192.0.2.1", 7000);
    kill(third);
}
