//! Ports are published and unpublished while portnat runs.

use std::io::{BufRead as _, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use portnat::lab::{Lab, Server, probe};
use serde_json::Value;

use crate::daemon::{Daemon, Ended, PORTNAT, row};
use crate::support::{CONTAINER, PATIENCE, at, tcp_server, udp_server};

/// A lab with a server in its container, and a daemon that publishes nothing.
fn scene() -> (Lab, Server, Daemon) {
    let lab = Lab::builder().build().expect("a lab");
    let server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    let daemon = Daemon::run(&lab, &[]);
    (lab, server, daemon)
}

#[track_caller]
fn forwards(lab: &Lab, port: u16) {
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
}

#[track_caller]
fn refuses(lab: &Lab, port: u16) {
    let refusal = probe::tcp_connect(&lab.client, None, at(Lab::HOST, port));
    let refusal = refusal.expect_err("is not published");
    assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);
}

/// What a command that cannot be done says in its only line.
#[track_caller]
fn refused(ended: &Ended, code: i32) -> &str {
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    assert_eq!(ended.stdout, "", "{ended:#?}");
    let [line] = &ended.stderr[..] else {
        panic!("not one line: {ended:#?}");
    };
    line
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_port_comes_and_goes() {
    let (lab, _server, daemon) = scene();
    refuses(&lab, 8080);
    let said = daemon.told(&["publish", CONTAINER, "-p", "8080:80", "-p", "8081:80"]);
    let both = [8080, 8081].map(|port| {
        let families = [
            format!("0.0.0.0:{port}/tcp -> 172.17.0.2:80\n"),
            format!("[::]:{port}/tcp -> 172.17.0.2:80\n"),
        ];
        families.concat()
    });
    assert_eq!(said, both.concat());
    forwards(&lab, 8080);
    forwards(&lab, 8081);
    // The host itself reaches it too, though nothing was published when portnat started.
    let answer = probe::tcp_echo(&lab.host, at([127, 0, 0, 1], 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    // And nobody else has it.
    let bound = lab.host.run(|| TcpListener::bind((Lab::HOST, 8080)));
    assert_eq!(bound.expect_err("is held").kind(), ErrorKind::AddrInUse);

    let ports = json(&daemon.told(&["ls", "--json"]));
    assert_eq!(ports["ports"][1]["origin"], "command", "{ports}");
    let ports = daemon.told(&["port", CONTAINER]);
    assert_eq!(
        ports,
        "80/tcp -> 0.0.0.0:8080\n80/tcp -> 0.0.0.0:8081\n80/tcp -> [::]:8080\n80/tcp -> [::]:8081\n"
    );
    assert_eq!(
        daemon.told(&["port", CONTAINER, "80"]),
        "0.0.0.0:8080\n0.0.0.0:8081\n[::]:8080\n[::]:8081\n"
    );
    let ended = daemon.ask(&["port", "172.17.0.99"]);
    let why = refused(&ended, 1);
    assert!(why.contains("nothing is published for"), "{why}");
    let ended = daemon.ask(&["port", CONTAINER, "80/udp"]);
    assert!(refused(&ended, 1).contains("no public port '80/udp' published for 172.17.0.2"));

    let said = daemon.told(&["unpublish", "8080"]);
    assert!(
        said.starts_with("unpublished 0.0.0.0:8080/tcp -> 172.17.0.2:80\n"),
        "{said}"
    );
    refuses(&lab, 8080);
    forwards(&lab, 8081);
    lab.host
        .run(|| TcpListener::bind((Lab::HOST, 8080)))
        .expect("is free again");
    daemon.told(&["unpublish", CONTAINER]);
    refuses(&lab, 8081);
    for (what, words) in [
        (&[CONTAINER][..], "no port of 172.17.0.2 is published"),
        (&["8080/udp"], "8080/udp is not published"),
        (
            &[CONTAINER, "-p", "80"],
            "80/tcp@172.17.0.2 is not published",
        ),
    ] {
        let ended = daemon.ask(&[&["unpublish"], what].concat());
        assert!(refused(&ended, 1).contains(words), "{ended:#?}");
    }
    daemon.stop();
}

#[test]
fn unpublishing_ends_flows_and_others_go_on() {
    let (lab, _server, daemon) = scene();
    daemon.told(&["publish", CONTAINER, "-p", "8080:80", "-p", "8081:80"]);
    let open = |port| {
        let stream = probe::tcp_connect(&lab.client, None, at(Lab::HOST, port));
        let mut stream = stream.expect("a connection");
        talk(&mut stream).expect("an answer");
        stream
    };
    let (mut ending, mut staying) = (open(8080), open(8081));
    let ended = json(&daemon.told(&["unpublish", CONTAINER, "-p", "8080:80", "--json"]));
    assert_eq!(ended["flows_ended"], 1, "{ended}");
    assert_eq!(ended["unpublished"][0]["port"], 8080, "{ended}");
    // The host's stack has no such connection.
    let end = talk(&mut ending).expect_err("is over");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    talk(&mut staying).expect("goes on");
    let stats = json(&daemon.told(&["stats", "--json"]));
    // In both families.
    assert_eq!(stats["published_ports"], 2, "{stats}");
    assert_eq!(stats["flows"]["states"]["tcp"]["established"], 1, "{stats}");
    assert!(daemon.told(&["stats"]).contains("tcp established"));
    daemon.stop();
}

fn talk(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])
}

/// Datagrams of one socket, which is one flow, go where the port leads now.
#[test]
fn no_stale_flow_leads_to_the_old_target() {
    let lab = Lab::builder().containers(2).build().expect("a lab");
    let servers: Vec<_> = lab
        .containers
        .iter()
        .map(|container| udp_server(&container.namespace, container.address, 53))
        .collect();
    let daemon = Daemon::run(&lab, &["-p", "5353:53/udp@172.17.0.2"]);
    let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    answered(&socket);
    assert_eq!((servers[0].peers().len(), servers[1].peers().len()), (1, 0));
    let said = daemon.told(&["unpublish", "5353/udp"]);
    assert!(said.ends_with("ended 1 flow\n"), "{said}");
    daemon.told(&["publish", "172.17.0.3", "-p", "5353:53/udp"]);
    answered(&socket);
    assert_eq!((servers[0].peers().len(), servers[1].peers().len()), (1, 1));
    daemon.stop();
}

fn answered(socket: &UdpSocket) {
    socket.send(b"hello").expect("sent");
    socket.recv(&mut [0; 16]).expect("an answer");
}

#[test]
fn what_is_there_is_left_and_what_cannot_be_is_not_begun() {
    let (lab, _server, daemon) = scene();
    let publish = ["publish", CONTAINER, "-p", "8080:80", "-p", "81"];
    let first = json(&daemon.told(&[&publish[..], &["--json"]].concat()));
    forwards(&lab, 8080);
    let again = json(&daemon.told(&[&publish[..], &["--json"]].concat()));
    assert_eq!(
        (&again["unchanged"], &again["published"]),
        (&first["published"], &Value::Array(vec![]))
    );
    assert_eq!(row(&daemon.told(&["ls"]), "0.0.0.0:8080/tcp").flows, 1);

    let _taken = lab.host.run(|| TcpListener::bind((Lab::HOST, 8088)));
    for (target, spec, words) in [
        ("172.17.0.3", "8080:80", "port is already allocated"),
        (CONTAINER, "8088:80", "address already in use"),
        ("172.17.0.1", "8083:80", "172.17.0.1"),
        (
            "web",
            "8084:80",
            "invalid target: web: in '8082:82/tcp@web' it is a container's name",
        ),
    ] {
        let ended = daemon.ask(&["publish", target, "-p", "8082:82", "-p", spec]);
        assert!(refused(&ended, 1).contains(words), "{ended:#?}");
    }
    for (target, spec, words) in [
        ("1.2", "80", "invalid target: 1.2"),
        (CONTAINER, "x:80", "invalid hostPort: x"),
        (CONTAINER, "80@172.17.0.3", "the target is said once"),
    ] {
        let ended = daemon.ask(&["publish", target, "-p", spec]);
        assert!(refused(&ended, 2).contains(words), "{ended:#?}");
    }
    let ports = json(&daemon.told(&["ls", "--json"]));
    assert_eq!(ports["ports"].as_array().map(Vec::len), Some(4), "{ports}");
    daemon.stop();
}

#[test]
fn a_table_that_is_watched() {
    let (_lab, _server, daemon) = scene();
    let mut command = Command::new(PORTNAT);
    let socket = daemon.socket();
    command.args(["ls", "--watch", "--socket"]).arg(socket);
    let mut watching = Daemon::spawn(command);
    let mut lines = watching.stdout().lines();
    let mut line = || lines.next().expect("more").expect("text");
    assert!(line().starts_with("HOST"));
    daemon.told(&["publish", CONTAINER, "-p", "8080:80"]);
    assert!(line().starts_with("HOST"));
    assert!(line().starts_with("0.0.0.0:8080/tcp"));
    daemon.stop();
    // With whom it ends.
    let ended = watching.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
}

#[test]
fn curl_is_enough() {
    let (lab, _server, daemon) = scene();
    let ask = |method: &str, path: &str, body: &str| {
        let mut stream =
            std::os::unix::net::UnixStream::connect(daemon.socket()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        (status, json(body))
    };
    let body = r#"{"target": "172.17.0.2", "specs": ["8080:80"]}"#;
    let (status, ports) = ask("POST", "/v1/ports", body);
    assert_eq!(
        (&*status, &ports["published"][0]["port"]),
        ("200", &Value::from(8080))
    );
    forwards(&lab, 8080);
    let conflict = r#"{"target": "172.17.0.3", "specs": ["8080:80"]}"#;
    assert_eq!(ask("POST", "/v1/ports", conflict).0, "409");
    let path = "/v1/ports?target=172.17.0.2&spec=8080:80";
    let (status, ports) = ask("DELETE", path, "");
    assert_eq!(
        (&*status, &ports["unpublished"][0]["port"]),
        ("200", &Value::from(8080))
    );
    assert_eq!(ask("DELETE", path, "").0, "404");
    refuses(&lab, 8080);
    daemon.stop();
}

/// Without any daemon.
#[test]
fn shells_are_told_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(PORTNAT);
        command.args(["completions", shell]);
        let mut completing = Daemon::spawn(command);
        let mut script = String::new();
        completing
            .stdout()
            .read_to_string(&mut script)
            .expect("text");
        assert_eq!(completing.wait().status.code(), Some(0));
        for word in ["unpublish", "masquerade", "stats"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
