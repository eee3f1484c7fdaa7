//! A process of its own in a namespace, that takes ports as it is told. It is this program again, by
//! whatever name it is to have.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroU16;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::{Uid, setuid};
use portnat::datapath::BindHook;
use portnat::lab::Namespace;
use portnat::net::{Choice, Guard, PortRange, Reserver};
use portnat::spec::Protocol;
use tempfile::TempDir;

/// What answers begin with, among whatever else a test program prints.
const ANSWER: &str = "answer: ";

/// The process. It ends when this is dropped.
pub(crate) struct Tenant {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Tenant {
    /// A process that is called `name`.
    pub(crate) fn start(namespace: &Namespace, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        // The kernel calls a process by the last part of the path that it was started by.
        let program = folder.path().join(name);
        symlink(env::current_exe().expect("its path"), &program).expect("a link");
        let mut process = namespace
            .command(program)
            .args(["tenant::obey", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        Self {
            orders: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().expect("is piped")),
            process,
            _folder: folder,
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Joins a cgroup.
    pub(crate) fn join(&mut self, cgroup: &Cgroup) {
        assert_eq!(
            self.tell(&format!("join {}", cgroup.path.display())),
            "done"
        );
    }

    /// Gives up being root, for this user.
    pub(crate) fn become_user(&mut self, number: u32) {
        assert_eq!(self.tell(&format!("become {number}")), "done");
    }

    /// Binds a socket and keeps it; a TCP one listens. `None` if that works, else the kernel's answer.
    pub(crate) fn bind(&mut self, protocol: Protocol, at: SocketAddr) -> Option<String> {
        let answer = self.tell(&format!("bind {protocol} {at}"));
        (answer != "done").then_some(answer)
    }

    /// Reserves a range by a bind hook at a cgroup, and keeps it.
    pub(crate) fn reserve(&mut self, cgroup: &Cgroup, first: u16, last: u16) {
        let order = format!("reserve {} {first} {last}", cgroup.path.display());
        assert_eq!(self.tell(&order), "done");
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("is our child");
        self.process.wait().expect("is our child");
    }

    fn tell(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("is piped");
        writeln!(orders, "{order}").expect("it listens");
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("text");
            assert_ne!(read, 0, "it ended without an answer to {order:?}");
            // The first one may stand behind what says that a test begins.
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A cgroup of a test's own, below the one that it is in. It must be empty when it is dropped.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("text");
        let mount = mounts
            .lines()
            .find_map(|line| {
                line.contains(" - cgroup2 ")
                    .then(|| line.split(' ').nth(4))?
            })
            .expect("cgroup2 is mounted");
        let own = fs::read_to_string("/proc/self/cgroup").expect("text");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(mount)
            .join(own.expect("is in one"))
            .join(format!("portnat-e2e-{}-{number}", id()));
        fs::create_dir(&path).expect("a cgroup");
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.path);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// Somebody who reserves in the caller's namespace, large ranges by a bind hook at a cgroup.
pub(crate) fn reserver(cgroup: &Path) -> Reserver {
    let cgroup = cgroup.to_owned();
    Reserver::new(move || Ok(Box::new(BindHook::at(&cgroup)?) as Box<dyn Guard>))
}

/// Ports of TCP on all addresses of IPv4.
pub(crate) fn ports(first: u16, last: u16) -> PortRange {
    PortRange {
        address: [0, 0, 0, 0].into(),
        first: NonZeroU16::new(first).expect("a port"),
        last: NonZeroU16::new(last).expect("a port"),
        protocol: Protocol::Tcp,
    }
}

/// What a tenant's process does: no test of anything.
#[test]
#[ignore = "it obeys the tests that start it"]
fn obey() {
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    for order in io::stdin().lines() {
        let order = order.expect("text");
        let words: Vec<_> = order.split(' ').collect();
        let port = |text: &str| text.parse().expect("a port");
        let done: io::Result<Box<dyn std::any::Any>> = match words[..] {
            ["join", cgroup] => {
                let members = Path::new(cgroup).join("cgroup.procs");
                fs::write(members, id().to_string()).map(|()| Box::new(()) as _)
            }
            ["become", number] => setuid(Uid::from_raw(number.parse().expect("a number")))
                .map(|()| Box::new(()) as _)
                .map_err(io::Error::from),
            ["bind", "tcp", at] => TcpListener::bind(at).map(|socket| Box::new(socket) as _),
            ["bind", "udp", at] => UdpSocket::bind(at).map(|socket| Box::new(socket) as _),
            ["reserve", cgroup, first, last] => reserver(Path::new(cgroup))
                .reserve(ports(port(first), port(last)), Choice::Theirs, false)
                .map(|reservation| Box::new(reservation) as _)
                .map_err(io::Error::other),
            _ => panic!("{order:?} is no order"),
        };
        match done {
            Ok(it) => {
                kept.push(it);
                println!("{ANSWER}done");
            }
            Err(error) => println!("{ANSWER}{error}"),
        }
    }
}
