//! What many tests need.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{fs, io};

use ipnet::IpNet;
use portnat::lab::{Namespace, Server};

pub(crate) use crate::patience::{INTERVAL, PATIENCE, eventually, patience};

/// More than fits any buffer on the way.
pub(crate) const MEGABYTE: usize = 1_000_000;

/// How long an answer may take, where a lost question is asked again.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// How long nothing has to be heard to be taken for silence, of what may be slow.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);

/// The container's address in a lab of one.
pub(crate) const CONTAINER: &str = "172.17.0.2";

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

/// Sends a datagram as one to whom `socket` is connected until it comes back. Each attempt asks for the
/// socket anew, which may be the same. A slow answer is waited for rather than asked for again: servers
/// see each question.
#[track_caller]
pub(crate) fn echo_at_once(length: usize, mut socket: impl FnMut() -> io::Result<UdpSocket>) {
    let sent = payload(length);
    let received = eventually("a large datagram", || {
        let socket = socket()?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.send(&sent)?;
        let mut received = vec![0; length + 1];
        let length = socket.recv(&mut received)?;
        received.truncate(length);
        Ok::<_, io::Error>(received)
    });
    assert!(received == sent, "UDP returns something else");
}

/// One of the counters that a namespace keeps in a table of `/proc/net/snmp`.
#[track_caller]
pub(crate) fn counter(namespace: &Namespace, table: &str, name: &str) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/snmp");
    let text = namespace.run(read).expect("is there");
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(table)?.strip_prefix(':'));
    let mut words = || lines.next().expect("a table").split_whitespace();
    let column = words().position(|word| word == name);
    let value = words().nth(column.expect("a column")).expect("a value");
    value.parse().expect("a number")
}

/// One of those that IPv6 keeps.
#[track_caller]
pub(crate) fn counter_v6(namespace: &Namespace, name: &str) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/snmp6");
    let text = namespace.run(read).expect("is there");
    let mut lines = text.lines().map(str::split_whitespace);
    let line = lines.find_map(|mut line| (line.next() == Some(name)).then_some(line));
    let value = line.and_then(|mut line| line.next()).expect("a value");
    value.parse().expect("a number")
}

/// The table tells of so many packets that were dropped for this reason, and of no more than what these
/// have sent again by TCP since their namespaces were made: on a busy machine a connection may be given up
/// later than it is tried again.
#[track_caller]
pub(crate) fn assert_dropped(table: &str, packets: u64, reason: &str, from: &[&Namespace]) {
    let again = from.iter().map(|it| counter(it, "Tcp", "RetransSegs"));
    let expected = packets..=packets + again.sum::<u64>();
    let found = dropped(table, reason);
    assert!(expected.contains(&found), "{packets} {reason}: {table}");
}

/// How many packets were dropped for this reason, as the table tells.
pub(crate) fn dropped(table: &str, reason: &str) -> u64 {
    let mut lines = table.lines();
    let found = lines.find_map(|line| {
        let rest = line.strip_prefix("dropped ")?;
        let packets = rest.strip_suffix(&format!(" ({reason})"))?;
        packets.parse().ok()
    });
    found.unwrap_or_default()
}

/// Nothing was dropped but what the host itself would have told containers about shorter ways.
#[track_caller]
pub(crate) fn assert_nothing_lost(table: &str) {
    let mut dropped = table.lines().filter(|line| line.starts_with("dropped"));
    assert!(dropped.all(|line| line.ends_with("(redirect)")), "{table}");
}
