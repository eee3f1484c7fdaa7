//! Clients: each function asks from inside a namespace, and says what came back.
//!
//! Errors are plain [`io::Error`]s, because their kind is what a test asks about: a port that
//! nobody serves is [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), silence is
//! [`TimedOut`](io::ErrorKind::TimedOut).
//!
//! A TCP source, once chosen, serves the same destination again only after a minute: the client
//! closes first and keeps the pair in TIME_WAIT.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::icmp::Echo;
use super::namespace::Namespace;

/// The first retransmission of a SYN comes after one second, the next after three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For each read or write, not for the whole transfer.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// For the answer to one datagram, which a server's thread gives. Nothing is sent twice: in a lab, a lost
/// packet is a finding, and only a machine that has much else to do takes longer than milliseconds.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(10);
/// For the answer to a ping, which the kernel itself gives.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Fits an MTU of 1280, IPv6's least, with either header.
const DATAGRAM_LENGTH: usize = 1200;

/// Sends `payload` on a TCP connection and returns all that comes back until the other side
/// closes. Sending and receiving overlap, so that a large payload does not fill both directions
/// and stop.
///
/// # Errors
/// When connecting takes more than 3 seconds, a read or write more than 10, or the connection
/// breaks.
pub fn tcp_echo(
    namespace: &Namespace,
    destination: SocketAddr,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    exchange(&tcp_connect(namespace, None, destination)?, payload)
}

/// [`tcp_echo`] from a source of one's choice; port 0 leaves the port to the kernel.
///
/// # Errors
/// Those of [`tcp_echo`], and when the source is taken or not an address of the namespace.
pub fn tcp_echo_from(
    namespace: &Namespace,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    exchange(&tcp_connect(namespace, Some(source), destination)?, payload)
}

/// Opens a TCP connection. It belongs to the namespace from whichever thread it is used; reads
/// and writes give up after 10 seconds.
///
/// # Errors
/// When it is refused, takes more than 3 seconds, or the source cannot be had.
pub fn tcp_connect(
    namespace: &Namespace,
    source: Option<SocketAddr>,
    destination: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = open(namespace, Type::STREAM, source, destination)?;
    socket.connect_timeout(&destination.into(), CONNECT_TIMEOUT)?;
    socket.set_read_timeout(Some(STREAM_TIMEOUT))?;
    socket.set_write_timeout(Some(STREAM_TIMEOUT))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Sends `payload` in datagrams of at most 1200 bytes, each after the answer to the one before,
/// and returns the answers in a row.
///
/// # Errors
/// When an answer takes more than 10 seconds, or ICMP reports the port closed.
pub fn udp_echo(
    namespace: &Namespace,
    destination: SocketAddr,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    ask(&udp_connect(namespace, None, destination)?, payload)
}

/// [`udp_echo`] from a source of one's choice; port 0 leaves the port to the kernel.
///
/// # Errors
/// Those of [`udp_echo`], and when the source is taken or not an address of the namespace.
pub fn udp_echo_from(
    namespace: &Namespace,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    ask(&udp_connect(namespace, Some(source), destination)?, payload)
}

/// Opens a UDP socket that talks with `destination` only, and hears of its ICMP errors. It
/// belongs to the namespace from whichever thread it is used; reads give up after 10 seconds.
///
/// # Errors
/// When there is no route to the destination, or the source cannot be had.
pub fn udp_connect(
    namespace: &Namespace,
    source: Option<SocketAddr>,
    destination: SocketAddr,
) -> io::Result<UdpSocket> {
    let socket = open(namespace, Type::DGRAM, source, destination)?;
    socket.connect(&destination.into())?;
    socket.set_read_timeout(Some(DATAGRAM_TIMEOUT))?;
    Ok(socket.into())
}

/// Fetches a URL over HTTP, with no proxy and on a connection of its own, and returns the body.
///
/// # Errors
/// Those of the connection; any status but 2xx; a fetch that takes more than 10 seconds.
pub fn http_get(namespace: &Namespace, url: &str) -> io::Result<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .max_idle_connections(0)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(STREAM_TIMEOUT))
        .build()
        .into();
    let fetch = || agent.get(url).call()?.body_mut().read_to_string();
    namespace.run(fetch).map_err(|error| match error {
        ureq::Error::Timeout(_) => io::Error::new(io::ErrorKind::TimedOut, error),
        other => other.into_io(),
    })
}

/// Sends one ICMP echo request and waits for its reply: from `destination`, and with the same
/// identifier, sequence number and data.
///
/// # Errors
/// When there is no such reply within 2 seconds, or ICMP reports the destination unreachable.
pub fn ping(
    namespace: &Namespace,
    destination: impl Into<IpAddr>,
    identifier: u16,
    sequence: u16,
) -> io::Result<()> {
    let destination = destination.into();
    let (domain, protocol) = match destination {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let echo = Echo::of(destination);
    let socket = namespace.run(|| Socket::new(domain, Type::RAW, Some(protocol)))?;
    // A connected raw socket hears this destination only, errors included.
    socket.connect(&SocketAddr::from((destination, 0)).into())?;
    let request = echo.request(identifier, sequence);
    socket.send(&request)?;

    let deadline = Instant::now() + PING_TIMEOUT;
    let mut packet = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = (&socket).read(&mut packet).map_err(silence)?;
        if echo.is_reply(&packet[..length], &request) {
            return Ok(());
        }
    }
}

/// Opens a socket. Only this has to happen in the namespace: a socket stays where it was opened.
fn open(
    namespace: &Namespace,
    kind: Type,
    source: Option<SocketAddr>,
    destination: SocketAddr,
) -> io::Result<Socket> {
    let socket = namespace.run(|| Socket::new(Domain::for_address(destination), kind, None))?;
    if let Some(source) = source {
        // Lets one source talk to several destinations, one after the other.
        socket.set_reuse_address(kind == Type::STREAM)?;
        socket.bind(&source.into())?;
    }
    Ok(socket)
}

/// Writes everything and closes, while reading to the end.
fn exchange(stream: &TcpStream, payload: &[u8]) -> io::Result<Vec<u8>> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut stream = stream;
            stream.write_all(payload)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut echo = Vec::with_capacity(payload.len());
        let mut stream = stream;
        let received = stream.read_to_end(&mut echo);
        let sent = sender.join().expect("the sender does not panic");
        received.and(sent).map_err(silence)?;
        Ok(echo)
    })
}

/// Sends datagrams, each after the answer to the one before.
fn ask(socket: &UdpSocket, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut answers = Vec::with_capacity(payload.len());
    let mut answer = [0; 1 << 16];
    let mut rest = payload;
    // An empty payload is one empty datagram.
    loop {
        let (datagram, later) = rest.split_at(rest.len().min(DATAGRAM_LENGTH));
        socket.send(datagram)?;
        let length = socket.recv(&mut answer).map_err(silence)?;
        answers.extend_from_slice(&answer[..length]);
        rest = later;
        if rest.is_empty() {
            return Ok(answers);
        }
    }
}

/// Calls a timeout by its name: a read that times out says that it would block.
fn silence(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
