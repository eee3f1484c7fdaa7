//! What many tests need.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portnat::lab::{Namespace, Server};

/// How long a condition may take that is met within milliseconds on a machine with nothing else to
/// do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

/// More than fits any buffer on the way.
pub(crate) const MEGABYTE: usize = 1_000_000;

/// The container's address in a lab of one.
pub(crate) const CONTAINER: &str = "172.17.0.2";

/// Tries until it works.
///
/// # Panics
/// When it does not, in [`PATIENCE`]; with the last failure.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => panic!("{what}: still {error:?}"),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

/// An address and a port.
pub(crate) fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// An address with the length of its prefix.
pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("an address and a prefix length")
}

/// Bytes that repeat at no power of two, so that a piece out of place shows.
pub(crate) fn payload(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

/// A TCP echo server. It must be there before what is said to it.
pub(crate) fn tcp_server(namespace: &Namespace, address: impl Into<IpAddr>, port: u16) -> Server {
    Server::tcp_echo(namespace, at(address, port)).expect("a TCP server")
}

/// A UDP echo server.
pub(crate) fn udp_server(namespace: &Namespace, address: impl Into<IpAddr>, port: u16) -> Server {
    Server::udp_echo(namespace, at(address, port)).expect("a UDP server")
}

/// The addresses that a server has seen, each with as many entries as it had connections.
pub(crate) fn seen_by(server: &Server) -> Vec<IpAddr> {
    server.peers().iter().map(SocketAddr::ip).collect()
}

/// The table tells of so many packets that were dropped for this reason.
#[track_caller]
pub(crate) fn assert_dropped(table: &str, packets: u64, reason: &str) {
    let expected = format!("dropped {packets} ({reason})");
    assert!(table.lines().any(|line| line == expected), "{table}");
}

/// Nothing was dropped but what the host itself would have told containers about shorter ways.
#[track_caller]
pub(crate) fn assert_nothing_lost(table: &str) {
    let mut dropped = table.lines().filter(|line| line.starts_with("dropped"));
    assert!(dropped.all(|line| line.ends_with("(redirect)")), "{table}");
}
