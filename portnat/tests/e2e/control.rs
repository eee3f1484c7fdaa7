//! The control socket: who is served, what is refused, what is left of it. [`abuse`] has each request of it
//! in every bad form.

mod abuse;

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::libc;
use nix::sys::signal::Signal;
use portnat::lab::{Lab, Server, probe};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Ended, PORTNAT, row};
use crate::picture::Picture;
use crate::support::{PATIENCE, at, tcp_server, udp_server};

const PUBLISH: [&str; 2] = ["-p", "8080:80@172.17.0.2"];

/// A lab with a server in the container.
fn lab() -> (Lab, Server) {
    let lab = Lab::builder().build().expect("a lab");
    let server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    (lab, server)
}

fn forwards(lab: &Lab) {
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
}

fn start_at(lab: &Lab, socket: &Path) -> Daemon {
    let socket = socket.to_str().expect("text");
    Daemon::start(&lab.host, &[&PUBLISH[..], &["--socket", socket]].concat())
}

fn run_at(lab: &Lab, socket: &Path) -> Daemon {
    let mut daemon = start_at(lab, socket);
    daemon.wait_for_line("ready");
    daemon
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("portnat.sock");
    (folder, socket)
}

/// A conversation with a server, as curl would have it.
struct Talk(UnixStream);

impl Talk {
    fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Talk(stream)
    }

    fn say(mut self, words: &[u8]) -> Self {
        // It may have heard enough before the end.
        let _ = self.0.write_all(words);
        self
    }

    /// Status and body of the answer.
    #[track_caller]
    fn hear(self) -> (u16, Value) {
        self.heard().expect("an answer")
    }

    /// The same, if there is one.
    #[track_caller]
    fn heard(mut self) -> Option<(u16, Value)> {
        let mut answer = Vec::new();
        // It may not have read to the end what we said.
        let _ = self.0.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n")?;
        assert!(
            head.contains("content-type: application/json"),
            "{answer:?}"
        );
        let status = head.split(' ').nth(1).expect("a status");
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        Some((status.parse().expect("a number"), body))
    }
}

#[track_caller]
fn get(socket: &Path, path: &str) -> (u16, Value) {
    // Of version 1.0, so that the body is not in chunks.
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    Talk::open(socket).say(request.as_bytes()).hear()
}

#[test]
fn http_without_any_client_of_ours() {
    let (lab, _server) = lab();
    let daemon = Daemon::run(&lab, &PUBLISH);
    let (status, ports) = get(&daemon.socket(), "/v1/ports");
    assert_eq!(status, 200);
    assert_eq!(ports["ports"][0]["port"], 8080, "{ports}");
    assert_eq!(get(&daemon.socket(), "/v1/flows").1, Value::Array(vec![]));

    forwards(&lab);
    let (status, flows) = get(&daemon.socket(), "/v1/flows?port=8080&client=192.0.2.0/24");
    assert_eq!(status, 200);
    assert_eq!(flows[0]["original"]["destination_port"], 8080, "{flows}");
    let delete = b"DELETE /v1/flows?all=true HTTP/1.0\r\n\r\n";
    let (status, ended) = Talk::open(&daemon.socket()).say(delete).hear();
    assert_eq!((status, &ended["ended"]), (200, &Value::from(1)));
    let (status, problem) = get(&daemon.socket(), "/v2/flows");
    assert_eq!(status, 404);
    let words = problem["error"].as_str().expect("words");
    assert!(words.contains("/v2/flows"), "{words}");
    daemon.stop();
}

/// However it may be abused, packets go on, and in the end it serves again.
#[test]
fn bad_clients_disturb_nobody() {
    // One more than are served at once.
    const SILENT: usize = 17;
    let (lab, _server) = lab();
    let daemon = Daemon::run(&lab, &PUBLISH);
    let socket = daemon.socket();
    let silent: Vec<_> = (0..SILENT)
        .map(|_| Talk::open(&socket).say(b"GET /"))
        .collect();
    forwards(&lab);
    for talk in silent {
        let (status, problem) = talk.hear();
        assert_eq!(status, 408, "{problem}");
    }
    let long = vec![b'x'; 1_000_000];
    for (said, expected) in [
        (&b"\x16\x03\x01\x02\x00\r\n\r\n"[..], 400),
        (&[b"GET /", &long[..]].concat(), 431),
        (
            &[
                &b"POST /v1/flows HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"[..],
                &long,
            ]
            .concat(),
            413,
        ),
    ] {
        let (status, problem) = Talk::open(&socket).say(said).hear();
        assert_eq!(status, expected, "{problem}");
        assert!(problem["error"].is_string(), "{problem}");
    }
    forwards(&lab);
    assert_eq!(row(&daemon.told(&["ls"]), "0.0.0.0:8080/tcp").flows, 2);
    // One that hangs on keeps it from nothing.
    let _hanging = Talk::open(&socket).say(b"GET /");
    daemon.stop();
}

/// Its answer is larger than what the kernel holds for it.
#[test]
fn a_client_that_does_not_read_keeps_nothing_up() {
    const FLOWS: usize = 3000;
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = udp_server(&container.namespace, container.address, 53);
    // However slow the machine is, none of them ends before all are there.
    let patient = ["--timeout", "udp-half-open=600", "--max-half-open", "4096"];
    let publish = ["-p", "5353:53/udp@172.17.0.2"];
    let daemon = Daemon::run(&lab, &[&publish[..], &patient].concat());
    for _ in 0..FLOWS {
        let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353));
        let socket = socket.expect("a socket");
        socket.send(b"hello").expect("sent");
        socket.recv(&mut [0; 16]).expect("an answer");
    }
    let mut talk = Talk::open(&daemon.socket()).say(b"GET /v1/flows HTTP/1.0\r\n\r\n");
    talk.0.read_exact(&mut [0]).expect("the beginning");
    probe::udp_echo(&lab.client, at(Lab::HOST, 5353), b"hello").expect("an answer");
    // It is stopped amid the answer.
    daemon.stop();
    let mut rest = Vec::new();
    let _ = talk.0.read_to_end(&mut rest);
    assert!(
        !rest.ends_with(b"]\n"),
        "the whole answer fits on the way: {}",
        rest.len()
    );
}

#[test]
fn root_alone_is_served() {
    let (lab, _server) = lab();
    let daemon = Daemon::run(&lab, &PUBLISH);
    let socket = daemon.socket();
    let folder = socket.parent().expect("a directory");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("permitted");
    let refusal = as_nobody(|| UnixStream::connect(&socket)).expect_err("is root's");
    assert_eq!(refusal.kind(), ErrorKind::PermissionDenied);

    // Somebody has opened it to all.
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("permitted");
    for path in ["/v1/flows", "/v1/ports", "/nowhere"] {
        let (status, problem) = as_nobody(|| get(&socket, path));
        assert_eq!(status, 403, "{problem}");
        let words = problem["error"].as_str().expect("words");
        assert!(words.contains("root"), "{words}");
    }
    let delete = b"DELETE /v1/flows?all=true HTTP/1.0\r\n\r\n";
    let (status, _) = as_nobody(|| Talk::open(&socket).say(delete).hear());
    assert_eq!(status, 403);
    assert_eq!(get(&socket, "/v1/ports").0, 200);
    daemon.stop();
}

/// Runs `f` on a thread that is nobody's.
pub(crate) fn as_nobody<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    const NOBODY: libc::c_long = 65534;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only numbers are passed. The C library's function would change all threads.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, -1_i64, NOBODY, -1_i64) };
            assert_eq!(result, 0, "cannot become nobody");
            f()
        });
        thread.join().expect("it does not panic")
    })
}

#[test]
fn a_killed_ones_socket_is_replaced() {
    let (lab, _server) = lab();
    let (_folder, socket) = folder();
    let first = run_at(&lab, &socket);
    first.signal(Signal::SIGKILL);
    first.wait();
    let refusal = UnixStream::connect(&socket).expect_err("nobody answers");
    assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused);

    let second = run_at(&lab, &socket);
    assert_eq!(get(&socket, "/v1/ports").0, 200);
    second.stop();
    assert!(!socket.exists());
}

/// Of another network namespace, and the same file system.
#[test]
fn a_living_ones_socket_is_not_taken() {
    let [(lab, _server), (other, _)] = [lab(), lab()];
    let (_folder, socket) = folder();
    let first = run_at(&lab, &socket);
    let before = Picture::of(&other.host);
    let ended = start_at(&other, &socket).wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let [line] = &ended.stderr[..] else {
        panic!("not one line: {ended:#?}");
    };
    let words = format!("another portnat answers at {}", socket.display());
    assert!(
        line.contains(&words) && line.contains("--socket PATH"),
        "{line}"
    );
    assert_eq!(Picture::of(&other.host), before);
    assert_eq!(get(&socket, "/v1/ports").0, 200);
    first.stop();
}

#[test]
fn nothing_is_left_of_it() {
    let (lab, _server) = lab();
    let (folder, _) = folder();
    let made = folder.path().join("portnat");
    let socket = made.join("portnat.sock");
    let daemon = run_at(&lab, &socket);
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o7777;
    assert_eq!((mode(&made), mode(&socket)), (0o755, 0o600));
    daemon.stop();
    assert!(!made.exists());

    // Nor where it could not start.
    let _taken = lab.host.run(|| TcpListener::bind((Lab::HOST, 8080)));
    let ended = start_at(&lab, &socket).wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(!made.exists());
}

#[test]
fn commands_without_a_daemon() {
    let (_folder, socket) = folder();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PORTNAT);
        command.args(arguments).env("PORTNAT_SOCKET", &socket);
        Daemon::spawn(command).wait()
    };
    for arguments in [&["ls"][..], &["flows"], &["flows", "flush", "--all"]] {
        let ended: Ended = run(arguments);
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        let [line] = &ended.stderr[..] else {
            panic!("not one line: {ended:#?}");
        };
        let words = format!("no portnat answers at {}", socket.display());
        assert!(line.contains(&words), "{line}");
        assert!(
            line.contains("portnat run") && line.contains("--socket PATH"),
            "{line}"
        );
    }
}
