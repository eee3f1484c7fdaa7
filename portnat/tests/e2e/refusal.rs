//! A container whose flow there is no room for is told so, and does not wait until it gives up.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::Daemon;
use crate::support::{at, udp_server};
use crate::tun::Tun;

/// What "communication administratively prohibited" is to a program, in IPv4 and IPv6.
const PROHIBITED: [i32; 2] = [libc::EHOSTUNREACH, libc::EACCES];

/// Has an interface compute no checksums, so that the kernel completes those that are not complete.
fn without_checksum_offload(namespace: &Namespace, interface: &str) {
    /// `struct ethtool_value` of `linux/ethtool.h`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    /// ETHTOOL_STXCSUM
    const SET_TX_CHECKSUM: u32 = 0x17;
    let mut value = Value {
        command: SET_TX_CHECKSUM,
        data: 0,
    };
    // SAFETY: ifreq is a plain C structure, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = namespace
        .run(|| {
            std::net::UdpSocket::bind("127.0.0.1:0")
                .or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))
        })
        .expect("a socket");
    // SAFETY: the request and what it points to are what SIOCETHTOOL reads.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request) })
        .expect("veth can do without");
}

/// Fails with this error, and not for want of an answer. Linux takes an error that comes while
/// connect(2) still sends for a hint, and believes the one that follows the first repetition.
#[track_caller]
fn is_refused<T>(expected: i32, attempt: impl FnOnce() -> io::Result<T>) {
    let error = attempt().err().expect("there is no room");
    assert_eq!(error.raw_os_error(), Some(expected), "{error}");
}

/// The table tells of refused packets, and no others.
#[track_caller]
fn assert_refused(table: &str, reason: &str) {
    let dropped: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with("dropped"))
        .collect();
    assert!(
        dropped.len() == 1 && dropped[0].ends_with(&format!("({reason})")),
        "{table}"
    );
}

fn connections_are_refused(attach: &str, offload: bool) {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let inside = &lab.containers[0];
    if !offload {
        without_checksum_offload(&lab.host, &inside.port);
        without_checksum_offload(&lab.host, Lab::BRIDGE);
    }
    let daemon = Daemon::run(&lab, &["--max-flows", "1", "--attach", attach]);
    let clients = [IpAddr::from(Lab::CLIENT), Lab::CLIENT_V6.into()];
    for (client, expected) in clients.into_iter().zip(PROHIBITED) {
        let peer = udp_server(&lab.client, client, 4500);
        let container = &inside.namespace;
        let ask = || {
            probe::udp_echo_from(
                container,
                at(own(inside, client), 4500),
                peer.address(),
                b"?",
            )
        };
        ask().expect("the only flow that there is room for");
        is_refused(expected, || {
            probe::tcp_connect(container, None, at(client, 80))
        });
        is_refused(expected, || {
            probe::udp_echo(container, at(client, 5353), b"?")
        });
        ask().expect("the old flow goes on");
    }
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.wait();
    let warning = "the flow table is full: ";
    assert!(
        ended.stderr.iter().any(|line| line.contains(warning)),
        "{ended:#?}"
    );
    assert_refused(&ended.stdout, "flow-table-full");
}

/// The container's address in another's family.
fn own(container: &portnat::lab::Container, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => container.address.into(),
        IpAddr::V6(_) => container.address_v6.into(),
    }
}

#[test]
fn connections_are_refused_with_tcx() {
    connections_are_refused("tcx", true);
}

#[test]
fn connections_are_refused_with_clsact() {
    connections_are_refused("clsact", true);
}

#[test]
fn connections_are_refused_where_no_device_computes_checksums() {
    connections_are_refused("tcx", false);
}

#[test]
fn connections_are_refused_that_would_leave_by_a_tunnel() {
    let lab = Lab::builder().build().expect("a lab");
    let _tun = Tun::new(&lab.host);
    let daemon = Daemon::run(&lab, &["--max-flows", "1"]);
    let container = &lab.containers[0].namespace;
    let first = probe::udp_connect(container, None, at(Tun::REMOTE, 53)).expect("a socket");
    first.send(b"?").expect("sent");
    is_refused(PROHIBITED[0], || {
        probe::tcp_connect(container, None, at(Tun::REMOTE, 80))
    });
    assert_refused(&daemon.stop(), "flow-table-full");
}

#[test]
fn a_container_at_its_limit_is_refused_and_its_neighbour_served() {
    let lab = Lab::builder()
        .containers(2)
        .ipv6(true)
        .build()
        .expect("a lab");
    let daemon = Daemon::run(&lab, &["--max-flows-per-container", "2"]);
    let [first, second] = &lab.containers[..] else {
        panic!("two containers");
    };
    for (client, expected) in [IpAddr::from(Lab::CLIENT), Lab::CLIENT_V6.into()]
        .into_iter()
        .zip(PROHIBITED)
    {
        let peer = udp_server(&lab.client, client, 4500);
        let ask = |container: &portnat::lab::Container, port| {
            let source = at(own(container, client), port);
            probe::udp_echo_from(&container.namespace, source, peer.address(), b"?")
        };
        for port in [4500, 4501] {
            ask(first, port).expect("it may have two");
        }
        is_refused(expected, || ask(first, 4502));
        is_refused(expected, || {
            probe::tcp_connect(&first.namespace, None, at(client, 80))
        });
        ask(second, 4502).expect("another's are another's");
        ask(first, 4500).expect("the old ones go on");
    }
    assert_refused(&daemon.stop(), "container-limit");
}
