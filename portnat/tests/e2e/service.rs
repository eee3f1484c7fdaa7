//! What a service manager hears (sd_notify(3)), played by a socket; and the unit for systemd.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use portnat::lab::{Lab, probe};
use tempfile::TempDir;

use crate::daemon::{Daemon, PORTNAT};
use crate::privileges::status;
use crate::support::{CONTAINER, PATIENCE, at, eventually, tcp_server};

/// How long the loop may stand still.
const WATCHDOG: Duration = Duration::from_millis(300);

/// A service manager, and what it has started.
struct Manager {
    /// What it has been told, by a thread that always listens: who tells waits until there is room.
    heard: Receiver<String>,
    folder: TempDir,
    daemon: Daemon,
    /// The same line by line, as far as it has been asked for others.
    told: Vec<String>,
}

impl Manager {
    /// Starts portnat with a config file that publishes a port.
    fn start(lab: &Lab) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let place = folder.path().join("notify");
        let socket = UnixDatagram::bind(&place).expect("a socket");
        let heard = listen(socket);
        write(folder.path(), "8080:80");
        let mut command = lab.host.command(PORTNAT);
        command.args(["run", "--max-flows", "4096"]);
        command.arg("--config").arg(config(folder.path()));
        command.arg("--state").arg(folder.path());
        command
            .arg("--socket")
            .arg(folder.path().join("portnat.sock"));
        command.env("NOTIFY_SOCKET", place);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Manager {
            heard,
            daemon: Daemon::spawn(command),
            folder,
            told: Vec::new(),
        }
    }

    /// Waits until it is told something that begins so; returns that.
    #[track_caller]
    fn hears(&mut self, what: &str) -> String {
        loop {
            if let Some(at) = self.told.iter().position(|line| line.starts_with(what)) {
                // What comes later is asked for later.
                return self.told.drain(..=at).next_back().expect("it is there");
            }
            let text = self.heard.recv_timeout(PATIENCE);
            let text = text.unwrap_or_else(|error| panic!("no {what}: {error}"));
            self.told.extend(text.lines().map(str::to_owned));
        }
    }
}

/// Passes on what comes, for as long as somebody wants it.
fn listen(socket: UnixDatagram) -> Receiver<String> {
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok(length) = socket.recv(&mut message) {
            let text = String::from_utf8(message[..length].to_vec()).expect("text");
            if tell.send(text).is_err() {
                return;
            }
        }
    });
    heard
}

fn config(folder: &Path) -> std::path::PathBuf {
    folder.join("portnat.toml")
}

fn write(folder: &Path, port: &str) {
    let text = format!("publish = [\"{port}@{CONTAINER}\"]\n");
    fs::write(config(folder), text).expect("written");
}

#[test]
fn a_service_manager_hears_how_it_goes() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let mut manager = Manager::start(&lab);
    let status = manager.hears("STATUS=");
    assert_eq!(
        status,
        "STATUS=2 published ports, 1 uplink: 0.0.0.0:8080/tcp -> 172.17.0.2:80, [::]:8080/tcp -> 172.17.0.2:80"
    );
    manager.hears("READY=1");
    // It is attached, and answers at its socket.
    let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"ready");
    assert_eq!(answer.expect("an answer"), b"ready");
    let socket = manager.folder.path().join("portnat.sock");
    let mut ls = Command::new(PORTNAT);
    assert!(
        ls.arg("ls")
            .arg("--socket")
            .arg(socket)
            .output()
            .expect("it starts")
            .status
            .success()
    );
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }

    write(manager.folder.path(), "8081:80");
    manager.daemon.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1");
    let when = manager.hears("MONOTONIC_USEC=");
    let when: u64 = when["MONOTONIC_USEC=".len()..].parse().expect("a number");
    assert_ne!(when, 0);
    let status = manager.hears("STATUS=");
    assert!(status.contains("0.0.0.0:8081/tcp"), "{status}");
    manager.hears("READY=1");

    // One that fails is over too, and all is as it was.
    fs::write(config(manager.folder.path()), "publish = 1\n").expect("written");
    manager.daemon.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");

    manager.daemon.signal(Signal::SIGTERM);
    manager.hears("STOPPING=1");
    assert!(manager.daemon.wait().status.success());
}

#[test]
fn a_watchdog_hears_nothing_of_a_process_that_stands_still() {
    let lab = Lab::builder().build().expect("a lab");
    let mut manager = Manager::start(&lab);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    manager.daemon.signal(Signal::SIGSTOP);
    let pid = manager.daemon.pid().as_raw();
    eventually("it stands still", || match status(pid, "State") {
        state if state.starts_with('T') => Ok(()),
        state => Err(state),
    });
    // What was sent before it stood still.
    while manager.heard.recv_timeout(WATCHDOG / 2).is_ok() {}
    let silence = manager.heard.recv_timeout(2 * WATCHDOG);
    silence.expect_err("it stands still");
    manager.daemon.signal(Signal::SIGCONT);
    manager.hears("WATCHDOG=1");
}

#[test]
fn systemd_understands_the_unit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/portnat.service");
    let text = fs::read_to_string(&unit).expect("the unit");
    // What it starts is not installed here.
    let here = text.replace("/usr/bin/portnat", PORTNAT);
    assert_ne!(text, here);
    let folder = tempfile::tempdir().expect("a directory");
    let copy = folder.path().join("portnat.service");
    fs::write(&copy, here).expect("written");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output();
    let verify = match verify {
        Ok(verify) => verify,
        Err(error) => {
            // Past what catches the words of tests that pass.
            let line = format!("SKIPPED: nobody verifies the unit: no systemd-analyze: {error}\n");
            io::stderr()
                .write_all(line.as_bytes())
                .expect("somebody listens");
            return;
        }
    };
    // It looks at other units too, which may have their own faults.
    let words = String::from_utf8_lossy(&verify.stderr);
    let ours: Vec<_> = words
        .lines()
        .filter(|line| line.contains("portnat"))
        .collect();
    assert_eq!(ours, [""; 0], "{words}");
}
