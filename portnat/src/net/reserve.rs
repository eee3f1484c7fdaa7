//! Host ports that are portnat's while they are published.
//!
//! The dataplane takes packets to a published port before any socket could, so a server that bound
//! the same port would start and never hear a thing. Holding the port makes that the error it
//! should be, for either side.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use nix::libc;
use socket2::{Domain, SockFilter, Socket, Type};
use thiserror::Error;

use super::error::reason;
use crate::spec::{Ports, Protocol};

/// A host port that nobody else can bind, free again on drop.
///
/// An SCTP port of a kernel without SCTP sockets is held by nothing, and nobody can bind it.
#[derive(Debug)]
#[must_use = "the port is free again once this is dropped"]
pub struct Reservation {
    address: SocketAddr,
    protocol: Protocol,
    /// Held for its name alone.
    socket: Option<Socket>,
}

impl Reservation {
    /// The host address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The protocol, whose ports are its own.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether a socket holds the port.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.socket.is_some()
    }
}

/// Why a host port could not be reserved, in Docker's words.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// The kernel refused this one.
    #[error("failed to bind host port {address}/{protocol}: {}", reason(.cause))]
    Bind {
        /// The address and port that were asked for.
        address: SocketAddr,
        /// The protocol that was asked for.
        protocol: Protocol,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// None of a range is free.
    #[error("all ports are allocated")]
    Exhausted,
}

impl ReserveError {
    /// Whether somebody else has the port, rather than that nobody could have it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { cause, .. } if cause.kind() == io::ErrorKind::AddrInUse)
    }
}

/// Reserves one host port. The address need not be there yet.
///
/// The socket is bound and nothing else. Without `SO_REUSEADDR` no other socket can bind a port
/// that it overlaps with, whatever its own options, and `connect` does not choose a local port that
/// was bound by name. The price: a port with connections still in `TIME_WAIT` counts as in use.
///
/// # Errors
///
/// [`ReserveError::Bind`] if another socket has the port or the kernel refuses it otherwise.
pub fn reserve(
    ip: IpAddr,
    port: NonZeroU16,
    protocol: Protocol,
) -> Result<Reservation, ReserveError> {
    let address = SocketAddr::new(ip, port.get());
    match bind(address, protocol) {
        Ok(socket) => Ok(Reservation {
            address,
            protocol,
            socket,
        }),
        Err(cause) => Err(ReserveError::Bind {
            address,
            protocol,
            cause,
        }),
    }
}

/// Reserves all of some host ports, each by itself.
///
/// # Errors
///
/// As for [`reserve`], of the first that cannot be had; then none is held.
pub fn reserve_range(
    ip: IpAddr,
    ports: Ports,
    protocol: Protocol,
) -> Result<Vec<Reservation>, ReserveError> {
    ports
        .iter()
        .map(|port| reserve(ip, port, protocol))
        .collect()
}

/// A socket that is bound there; none where the kernel has no sockets of this protocol.
fn bind(address: SocketAddr, protocol: Protocol) -> io::Result<Option<Socket>> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        Protocol::Sctp => (Type::STREAM, socket2::Protocol::SCTP),
    };
    let socket = match Socket::new(Domain::for_address(address), kind, Some(number)) {
        Err(error) if protocol == Protocol::Sctp && is_unknown_protocol(&error) => return Ok(None),
        socket => socket?,
    };
    if address.is_ipv6() {
        // Or [::]:80 would be 0.0.0.0:80 too, which is a reservation of its own.
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    if protocol == Protocol::Udp {
        refuse_datagrams(&socket)?;
    }
    socket.bind(&address.into())?;
    Ok(Some(socket))
}

/// Whether the kernel was built without a protocol's sockets, or may not load the module.
fn is_unknown_protocol(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT)
    )
}

/// Keeps datagrams that the dataplane did not take from piling up unread: a classic BPF program of
/// one instruction, "keep 0 bytes". A small `SO_RCVBUF` would hold a few of them for ever.
fn refuse_datagrams(socket: &Socket) -> io::Result<()> {
    let keep = libc::BPF_RET | libc::BPF_K;
    socket.attach_filter(&[SockFilter::new(keep as u16, 0, 0, 0)])
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    /// Every test has a loopback address to itself, so that none sees the ports of another.
    fn loopback(test: u8) -> IpAddr {
        IpAddr::from([127, 77, 0, test])
    }

    fn any_port(ip: IpAddr, protocol: Protocol) -> (NonZeroU16, Reservation) {
        let ports = (20_000..30_000).filter_map(NonZeroU16::new);
        let mut held = ports.filter_map(|port| Some((port, reserve(ip, port, protocol).ok()?)));
        held.next().expect("some port is free")
    }

    #[test]
    fn a_reserved_tcp_port_is_in_use_until_dropped() {
        let (port, reservation) = any_port(loopback(1), Protocol::Tcp);
        // std's listeners set SO_REUSEADDR, as most servers do.
        let listen = || TcpListener::bind((loopback(1), port.get()));
        assert_eq!(
            listen().expect_err("reserved").kind(),
            io::ErrorKind::AddrInUse
        );
        drop(reservation);
        listen().expect("free again");
    }

    #[test]
    fn a_reserved_udp_port_is_in_use_until_dropped() {
        let (port, reservation) = any_port(loopback(2), Protocol::Udp);
        let bind = || UdpSocket::bind((loopback(2), port.get()));
        assert_eq!(
            bind().expect_err("reserved").kind(),
            io::ErrorKind::AddrInUse
        );
        drop(reservation);
        bind().expect("free again");
    }

    #[test]
    fn a_port_that_is_in_use_is_refused_in_dockers_words() {
        let server = TcpListener::bind((loopback(3), 0)).expect("a free port");
        let port = server.local_addr().expect("is bound").port();
        let port = NonZeroU16::new(port).expect("is bound");
        let refusal = reserve(loopback(3), port, Protocol::Tcp).expect_err("in use");
        assert!(refusal.is_in_use());
        assert_eq!(
            refusal.to_string(),
            format!("failed to bind host port 127.77.0.3:{port}/tcp: address already in use")
        );
    }

    #[test]
    fn tcp_and_udp_ports_are_different_ports() {
        let (port, _tcp) = any_port(loopback(4), Protocol::Tcp);
        let udp = reserve(loopback(4), port, Protocol::Udp).expect("nobody has it");
        assert_eq!(udp.address(), SocketAddr::new(loopback(4), port.get()));
        assert_eq!(udp.protocol(), Protocol::Udp);
    }

    /// Which of the two is the kernel's choice.
    #[test]
    fn an_sctp_port_is_reserved_where_the_kernel_has_sctp_sockets() {
        let (port, reservation) = any_port(loopback(8), Protocol::Sctp);
        assert_eq!(reservation.protocol(), Protocol::Sctp);
        let again = reserve(loopback(8), port, Protocol::Sctp);
        if reservation.is_held() {
            assert!(again.expect_err("reserved").is_in_use());
        } else {
            assert!(!again.expect("nobody can have it").is_held());
        }
    }

    #[test]
    fn an_address_the_host_does_not_have_can_be_reserved() {
        let documentation = IpAddr::from([192, 0, 2, 1]);
        let _reservation = any_port(documentation, Protocol::Tcp);
    }

    #[test]
    fn a_range_is_reserved_whole_or_not_at_all() {
        let ip = loopback(5);
        let (port, held) = any_port(ip, Protocol::Tcp);
        let first = NonZeroU16::new(port.get() - 3).expect("not 0");
        let ports = Ports::new(first, port).expect("in order");
        let refusal = reserve_range(ip, ports, Protocol::Tcp).expect_err("the last is taken");
        assert!(refusal.is_in_use());
        drop(held);
        let held = reserve_range(ip, ports, Protocol::Tcp).expect("all are free again");
        assert_eq!(held.len(), 4);
        assert!(reserve(ip, first, Protocol::Tcp).is_err());
    }

    #[test]
    fn datagrams_do_not_pile_up() {
        let (_, reservation) = any_port(loopback(7), Protocol::Udp);
        let sender = UdpSocket::bind((loopback(7), 0)).expect("a free port");
        // Over loopback a datagram is delivered, or not, before `send_to` returns.
        sender
            .send_to(b"hello", reservation.address())
            .expect("sent");
        let socket = reservation.socket.expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let received = socket.peek(&mut [std::mem::MaybeUninit::uninit()]);
        assert_eq!(
            received.expect_err("nothing").kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
