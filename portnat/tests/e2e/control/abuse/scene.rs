//! A daemon that is abused, and what must not change by that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use portnat::lab::{Lab, Server};
use serde_json::Value;
use tempfile::TempDir;

use super::{Talk, get};
use crate::daemon::Daemon;
use crate::support::{at, eventually, tcp_server, udp_server};
use crate::survival::talk::Talk as Conversation;

/// Each request of the API, such that it makes sense and changes nothing.
pub(super) const REQUESTS: [(&str, &str, &str); 8] = [
    ("GET", "/v1/ports", ""),
    (
        "POST",
        "/v1/ports",
        r#"{"target":"172.17.0.2","specs":["8080:80"]}"#,
    ),
    ("DELETE", "/v1/ports?port=4", ""),
    ("POST", "/v1/reload", ""),
    ("GET", "/v1/stats", ""),
    ("GET", "/v1/status", ""),
    ("GET", "/v1/flows?client=203.0.113.9", ""),
    ("DELETE", "/v1/flows?client=203.0.113.9", ""),
];

/// The same without their parameters and bodies.
pub(super) fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    REQUESTS
        .iter()
        .map(|(method, target, _)| (*method, target.split('?').next().unwrap_or_default()))
}

/// A request. Each header ends with the end of a line.
pub(super) fn request(method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    // Of version 1.0, so that no answer is in chunks.
    format!("{method} {target} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n{body}").into_bytes()
}

/// One whose body has a length.
pub(super) fn with_body(method: &str, target: &str, body: &str) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", body.len());
    request(method, target, &length, body)
}

/// One whose body has none.
pub(super) fn in_chunks(method: &str, target: &str, chunks: &str) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes()
}

/// Says it, and hears the answer.
#[track_caller]
pub(super) fn ask(socket: &Path, said: &[u8]) -> (u16, Value) {
    Talk::open(socket).say(said).hear()
}

/// An answer that refuses is a line for people, and no more.
#[track_caller]
pub(super) fn refused(what: &str, expected: &[u16], (status, problem): (u16, Value)) {
    assert!(expected.contains(&status), "{what}: {status} {problem}");
    let fields = problem.as_object().expect("an object");
    assert_eq!(fields.len(), 1, "{what}: {problem}");
    let words = problem["error"].as_str().expect("words");
    assert!((8..1200).contains(&words.len()), "{what}: {problem}");
    for never in ["\n", "\r", "panicked", "Os {", "Error(", "unwrap"] {
        assert!(!words.contains(never), "{what}: {problem}");
    }
}

/// A daemon with a config file, and conversations that go on.
pub(super) struct Scene {
    pub(super) daemon: Daemon,
    pub(super) socket: PathBuf,
    pub(super) folder: TempDir,
    conversations: [Conversation; 3],
    published: BTreeSet<String>,
    attached: Value,
    descriptors: usize,
    _servers: [Server; 3],
    _lab: Lab,
}

impl Scene {
    pub(super) fn new() -> Self {
        let lab = Lab::builder().build().expect("a lab");
        let container = &lab.containers[0];
        let servers = [
            tcp_server(&container.namespace, container.address, 80),
            udp_server(&container.namespace, container.address, 53),
            udp_server(&lab.client, Lab::CLIENT, 7),
        ];
        let folder = tempfile::tempdir().expect("a directory");
        let config = folder.path().join("portnat.toml");
        let publish = "publish = [\"8080:80@172.17.0.2\", \"5353:53/udp@172.17.0.2\"]\n";
        fs::write(&config, publish).expect("written");
        let daemon = Daemon::run(&lab, &["--config", config.to_str().expect("text")]);
        let conversations = [
            Conversation::tcp(&lab.client, at(Lab::HOST, 8080)),
            Conversation::udp(&lab.client, at(Lab::HOST, 5353)),
            Conversation::udp(&lab.containers[0].namespace, at(Lab::CLIENT, 7)),
        ];
        let socket = daemon.socket();
        Scene {
            published: published(&socket),
            attached: get(&socket, "/v1/status").1["attached"].clone(),
            descriptors: descriptors(&daemon),
            socket,
            daemon,
            folder,
            conversations,
            _servers: servers,
            _lab: lab,
        }
    }

    /// Asks, and hears.
    #[track_caller]
    pub(super) fn ask(&self, said: &[u8]) -> (u16, Value) {
        ask(&self.socket, said)
    }

    /// All is as it was, nobody has lost a word, and the daemon has nothing to complain about.
    #[track_caller]
    pub(super) fn end(self) {
        self.conversations.iter().for_each(Conversation::goes_on);
        assert_eq!(published(&self.socket), self.published);
        let status = get(&self.socket, "/v1/status").1;
        assert_eq!(status["attached"], self.attached);
        eventually("as many descriptors as before", || {
            match descriptors(&self.daemon) {
                now if now <= self.descriptors => Ok(()),
                now => Err((now, self.descriptors)),
            }
        });
        self.conversations.into_iter().for_each(Conversation::end);
        self.daemon.signal(Signal::SIGTERM);
        let ended = self.daemon.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        for never in ["panicked", " WARN ", " ERROR "] {
            let mut lines = ended.stderr.iter();
            assert!(!lines.any(|line| line.contains(never)), "{ended:#?}");
        }
    }
}

/// What is published, without what has come through it.
fn published(socket: &Path) -> BTreeSet<String> {
    let (status, report) = get(socket, "/v1/ports");
    assert_eq!(status, 200, "{report}");
    let ports = report["ports"].as_array().expect("an array");
    let names = [
        "address",
        "port",
        "protocol",
        "target",
        "target_port",
        "origin",
    ];
    let port = |port: &Value| names.map(|name| port[name].to_string()).join(" ");
    ports.iter().map(port).collect()
}

fn descriptors(daemon: &Daemon) -> usize {
    let folder = format!("/proc/{}/fd", daemon.pid());
    fs::read_dir(folder).expect("it runs").count()
}
