//! What the daemon and its helper may do, and that everything goes on with that.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portnat::lab::{Lab, probe};
use portnat::spec::Protocol;

use crate::daemon::Daemon;
use crate::doctor::doctor;
use crate::support::{CONTAINER, at, eventually, tcp_server};
use crate::tenant::Tenant;

/// Capabilities as numbers of capabilities(7).
const DAC_READ_SEARCH: u64 = 1 << 2;
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// What a daemon keeps whose programs are all loaded.
pub(crate) const KEPT: u64 = NET_BIND_SERVICE | NET_ADMIN | BPF;

/// Somebody who is not root.
const SOMEBODY: u32 = 4711;

/// The value of a line of a process's status.
pub(crate) fn status(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line").trim().to_owned()
}

fn capabilities(pid: i32, set: &str) -> u64 {
    u64::from_str_radix(&status(pid, set), 16).expect("a number")
}

/// A process has these capabilities, and gets no others.
#[track_caller]
pub(crate) fn assert_has(pid: i32, expected: u64) {
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    for (set, expected) in [
        ("CapEff", expected),
        ("CapPrm", expected),
        ("CapInh", 0),
        ("CapAmb", 0),
    ] {
        let has = capabilities(pid, set);
        assert_eq!(has, expected, "{set} is {has:x}, not {expected:x}");
    }
}

/// The daemon's helper.
fn helper(daemon: &Daemon) -> i32 {
    let pid = daemon.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    let children: Vec<_> = children.split_whitespace().collect();
    let [child] = children[..] else {
        panic!("one child, not {children:?}");
    };
    child.parse().expect("a number")
}

#[test]
fn little_is_kept_and_all_goes_on() {
    let mut lab = Lab::builder().build().expect("a lab");
    // Where nobody may look but its owner, who is not root.
    let folder = tempfile::tempdir().expect("a directory");
    let config = folder.path().join("portnat.toml");
    fs::write(&config, "publish = [\"8080:80@172.17.0.2\"]\n").expect("written");
    chown(folder.path(), Some(SOMEBODY), None).expect("root may");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("root may");
    let daemon = Daemon::run(&lab, &["--config", config.to_str().expect("text")]);

    let pid = daemon.pid().as_raw();
    assert_has(pid, KEPT | PERFMON);
    let bounds = capabilities(pid, "CapBnd");
    assert_eq!(bounds, KEPT, "{bounds:x}");
    assert_has(
        helper(&daemon),
        DAC_READ_SEARCH | NET_ADMIN | SYS_PTRACE | SYS_ADMIN,
    );

    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let works = |lab: &Lab, port| {
        let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
    };
    works(&lab, 8080);
    // By command, at a port for which it takes a capability, and a range that is guarded.
    daemon.told(&["publish", CONTAINER, "-p", "80:80"]);
    works(&lab, 80);
    daemon.told(&["publish", CONTAINER, "-p", "20000-21000:20000-21000"]);
    // The file is where only the helper reads it.
    fs::write(&config, "publish = [\"8081:80@172.17.0.2\"]\n").expect("written");
    daemon.told(&["reload"]);
    works(&lab, 8081);
    // A holder that is another user's.
    let mut tenant = Tenant::start(&lab.host, "squatter");
    tenant.become_user(SOMEBODY);
    assert_eq!(tenant.bind(Protocol::Tcp, at(Lab::HOST, 7777)), None);
    let refused = daemon.ask(&["publish", CONTAINER, "-p", "7777:80"]);
    let expected = format!("squatter (pid {}) holds", tenant.pid());
    assert!(refused.stderr[0].contains(&expected), "{refused:#?}");
    // A container that comes later.
    let bridge = lab.bridges[0].name.clone();
    let later = lab.add_container(&bridge).expect("a container");
    let (address, inside) = (later.address, later.namespace.clone());
    let _later = tcp_server(&inside, address, 80);
    daemon.told(&["publish", &address.to_string(), "-p", "8082:80"]);
    works(&lab, 8082);
    eventually("its port is attached to", || {
        let answer = probe::tcp_echo(&inside, at(Lab::HOST, 8081), b"neighbour")?;
        match answer == b"neighbour" {
            true => Ok(()),
            false => Err(std::io::Error::other("something else")),
        }
    });

    let helper = helper(&daemon);
    daemon.stop();
    eventually("the helper ends with it", || {
        match fs::metadata(format!("/proc/{helper}")) {
            Err(_) => Ok(()),
            Ok(_) => Err("it runs"),
        }
    });
}

#[test]
fn without_its_helper_it_goes_on() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let folder = tempfile::tempdir().expect("a directory");
    let config = folder.path().join("portnat.toml");
    fs::write(&config, "publish = [\"8080:80@172.17.0.2\"]\n").expect("written");
    let daemon = Daemon::run(&lab, &["--config", config.to_str().expect("text")]);
    kill(Pid::from_raw(helper(&daemon)), Signal::SIGKILL).expect("it runs");
    let refused = daemon.ask(&["reload"]);
    let words = "the helper process has ended: restart portnat";
    assert!(refused.stderr[0].ends_with(words), "{refused:#?}");
    let doctor = doctor(&lab.host, &daemon.socket(), &[]).stdout;
    assert!(doctor.contains("its helper process has ended"), "{doctor}");
    daemon.told(&["publish", CONTAINER, "-p", "8081:80"]);
    for port in [8080, 8081] {
        let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
    }
    daemon.stop();
}
