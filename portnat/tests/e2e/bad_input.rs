//! What is refused: with one line that names the culprit, and before anything is changed.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use portnat::lab::Lab;

use crate::daemon::{Daemon, Ended, PORTNAT};
use crate::picture::Picture;
use crate::support::eventually;

/// The command line makes no sense.
const USAGE: i32 = 2;
/// It makes sense and cannot be done.
const FAILURE: i32 = 1;

/// Runs portnat in the lab's host, where it should fail and leave no trace; returns its only line,
/// or the first of a wrong command line.
#[track_caller]
fn refused(lab: &Lab, code: i32, arguments: &[&str]) -> String {
    let before = Picture::of(&lab.host);
    let ended = Daemon::start(&lab.host, arguments).wait();
    let line = check(&ended, code);
    assert_eq!(Picture::of(&lab.host), before, "{arguments:?}");
    line
}

#[track_caller]
fn check(ended: &Ended, code: i32) -> String {
    assert_eq!(ended.status.code(), Some(code), "{ended:#?}");
    assert_eq!(ended.stdout, "", "{ended:#?}");
    let text = ended.stderr.join("\n");
    for words in ["Os {", "(os error", "panicked", "stack backtrace"] {
        assert!(!text.contains(words), "{words:?} in {text}");
    }
    if code != USAGE {
        assert_eq!(ended.stderr.len(), 1, "{ended:#?}");
    }
    ended.stderr.first().expect("a word").clone()
}

fn lab() -> Lab {
    Lab::builder().build().expect("a lab")
}

#[test]
fn specs_that_make_no_sense() {
    let lab = lab();
    let cases = [
        ("", "no port specified"),
        ("8080:80", "missing target: 8080:80"),
        ("8080:80@", "invalid target: "),
        ("8080:80@172.17.0.256", "invalid target: 172.17.0.256"),
        ("8080:80@0.0.0.0", "invalid target: 0.0.0.0"),
        ("8080:@172.17.0.2", "no port specified: 8080:"),
        ("8080:0@172.17.0.2", "invalid containerPort: 0"),
        ("8080:http@172.17.0.2", "invalid containerPort: http"),
        ("70000:80@172.17.0.2", "invalid hostPort: 70000"),
        ("-1:80@172.17.0.2", "invalid hostPort: -1"),
        (
            "localhost:8080:80@172.17.0.2",
            "invalid IP address: localhost",
        ),
        (
            "192.0.2.256:8080:80@172.17.0.2",
            "invalid IP address: 192.0.2.256",
        ),
        ("8080:80/icmp@172.17.0.2", "invalid proto: icmp"),
        (
            "8080-8082:80-81@172.17.0.2",
            "invalid ranges specified for container and host Ports: 80-81 and 8080-8082",
        ),
        ("8081-8080:80-81@172.17.0.2", "invalid hostPort: 8081-8080"),
        (
            "192.0.2.1:8080:80@fd00::2",
            "an IPv6 target cannot be published on an IPv4 address",
        ),
        ("8080:80@[::]", "invalid target: [::]"),
        ("8080:80@::1", "invalid target: ::1"),
        ("8080:80@fe80::2", "invalid target: fe80::2: a link-local"),
    ];
    for (spec, words) in cases {
        // In one word, as one of them begins with a dash.
        let line = refused(&lab, USAGE, &[&format!("--publish={spec}")]);
        assert!(line.starts_with("portnat: "), "{spec}: {line}");
        assert!(line.contains(&format!("'{spec}'")), "{spec}: {line}");
        assert!(line.contains(words), "{spec}: {line}");
    }
    // A name would make sense where Docker is.
    let line = refused(&lab, USAGE, &["-p", "8080:80@web"]);
    let words = "invalid target: web: in '8080:80/tcp@web' it is a container's name";
    assert!(line.contains(words), "{line}");
}

#[test]
fn options_that_make_no_sense() {
    let lab = lab();
    let cases: [(&[&str], &str); 9] = [
        (&["--masquerade", "172.17.0.0/33"], "'172.17.0.0/33'"),
        (&["--masquerade", "fd00::/129"], "'fd00::/129'"),
        (&["--attach", "xdp"], "'xdp'"),
        (&["--frobnicate"], "'--frobnicate'"),
        (&["now"], "'now'"),
        (&["--publish-all"], "required arguments"),
        (
            &["--expose", "80:80@172.17.0.2"],
            "invalid port format for --expose",
        ),
        (&["--ip", "localhost"], "'localhost'"),
        (
            &["--ip", "192.0.2.1", "-p", "80:80@fd00::2"],
            "an IPv6 target cannot be published on an IPv4 address",
        ),
    ];
    for (arguments, words) in cases {
        let line = refused(&lab, USAGE, arguments);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
    for number in ["0", "16777217", "many"] {
        let line = refused(&lab, USAGE, &["--max-flows", number]);
        assert!(line.contains(&format!("'{number}'")), "{line}");
        assert!(line.contains("--max-flows"), "{line}");
    }
}

#[test]
fn interfaces_that_cannot_be_served() {
    let lab = lab();
    for option in ["--uplink", "--bridge"] {
        // The first is there, and must not be touched on account of the second.
        let line = refused(&lab, FAILURE, &[option, "eth0", option, "eth9"]);
        assert!(line.contains("no interface eth9"), "{option}: {line}");
    }
    let line = refused(&lab, FAILURE, &["--uplink", "lo"]);
    assert!(line.contains("interface lo cannot be an uplink"), "{line}");
}

#[test]
fn a_port_published_twice() {
    let lab = lab();
    let first = "8080:80/tcp@172.17.0.2";
    for second in [
        "8080:81/tcp@172.17.0.3",
        "192.0.2.1:8080:80/tcp@172.17.0.2",
        "8070-8089:70-89/tcp@172.17.0.2",
    ] {
        let line = refused(&lab, FAILURE, &["-p", first, "-p", second]);
        assert!(line.contains("port is already allocated"), "{line}");
        assert!(line.contains(second), "{line}");
    }
    // The same number of the other protocol is another port.
    Daemon::run(&lab, &["-p", first, "-p", "8080:80/udp@172.17.0.2"]).stop();
}

#[test]
fn a_port_that_a_process_of_the_host_has() {
    let lab = lab();
    let any = Ipv4Addr::UNSPECIFIED;
    let _tcp = lab
        .host
        .run(|| TcpListener::bind((any, 8080)))
        .expect("a socket");
    let _udp = lab
        .host
        .run(|| UdpSocket::bind((any, 5353)))
        .expect("a socket");
    for (spec, port) in [
        ("8080:80@172.17.0.2", "0.0.0.0:8080/tcp"),
        ("192.0.2.1:8080:80@172.17.0.2", "192.0.2.1:8080/tcp"),
        ("5353:53/udp@172.17.0.2", "0.0.0.0:5353/udp"),
    ] {
        let line = refused(&lab, FAILURE, &["-p", "9090:80@172.17.0.2", "-p", spec]);
        let words = format!("failed to bind host port {port}: address already in use");
        assert!(line.contains(&words), "{line}");
    }
}

/// And the other way round: what portnat publishes no process of the host can take.
#[test]
fn a_port_that_portnat_has() {
    let lab = lab();
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);
    let bind = || TcpListener::bind((Lab::HOST, 8080));
    let refusal = lab.host.run(bind).expect_err("is portnat's");
    assert_eq!(refusal.kind(), ErrorKind::AddrInUse);
    daemon.stop();
    lab.host.run(bind).expect("is free again");
}

/// Nobody is behind the host's own address.
#[test]
fn a_target_that_is_the_host_itself() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    for own in ["192.0.2.1", "172.17.0.1", "2001:db8:1::1"] {
        let spec = format!("8080:80@{own}");
        let line = refused(&lab, FAILURE, &["-p", "9090:80@172.17.0.2", "-p", &spec]);
        assert!(
            line.contains(&format!("target {own} is an address of this host")),
            "{line}"
        );
    }
}

#[test]
fn a_control_socket_that_cannot_be() {
    let lab = lab();
    let long = format!("/tmp/{}", "x".repeat(108));
    for (path, words) in [
        ("/nowhere/at/all.sock", "no such file or directory"),
        ("/dev/null/portnat.sock", "not a directory"),
        (PORTNAT, "no socket"),
        (&long, "shorter than SUN_LEN"),
    ] {
        let line = refused(&lab, FAILURE, &["--socket", path]);
        assert!(line.contains(path) && line.contains(words), "{line}");
    }
}

/// In the machine's own namespace, since nobody cannot enter another; it fails at once.
#[test]
fn no_root() {
    const NOBODY: u32 = 65534;
    let binary = Copy::of(PORTNAT);
    for arguments in [&["run", "-p", "8080:80@172.17.0.2"][..], &["demo"]] {
        let mut command = Command::new(&binary.path);
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        // While another thread forks, its child has the copy open for writing.
        let output: Output = eventually("starting the copy", || command.output());
        let stderr = String::from_utf8(output.stderr).expect("text");
        let ended = Ended {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: stderr.lines().map(str::to_owned).collect(),
        };
        let line = check(&ended, FAILURE);
        for words in ["needs root", "CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"] {
            assert!(line.contains(words), "{line}");
        }
    }
}

/// A program where everybody can run it, for the time of a test.
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn of(program: &str) -> Self {
        let name = format!("portnat-e2e-{}", std::process::id());
        let copy = Self {
            path: std::env::temp_dir().join(name),
        };
        fs::copy(program, &copy.path).expect("copied");
        fs::set_permissions(&copy.path, fs::Permissions::from_mode(0o755)).expect("permitted");
        copy
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
