//! Sockets that hold a port by being bound to it.

use std::io;
use std::net::SocketAddr;

use nix::libc;
use socket2::{Domain, SockFilter, Socket, Type};

use crate::spec::Protocol;

/// A socket that is bound there; none where the kernel has no sockets of this protocol.
///
/// It is bound and nothing else, and the address need not be there yet. Without `SO_REUSEADDR` no
/// other socket can bind a port that it overlaps with, whatever its own options, and `connect` does
/// not choose a local port that was bound by name. The price: a port with connections still in
/// `TIME_WAIT` counts as in use.
pub(super) fn bind(address: SocketAddr, protocol: Protocol) -> io::Result<Option<Socket>> {
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
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    #[test]
    fn datagrams_do_not_pile_up() {
        let ip = Ipv4Addr::new(127, 77, 0, 7);
        let sender = UdpSocket::bind((ip, 0)).expect("a free port");
        let held = bind(SocketAddr::new(ip.into(), 0), Protocol::Udp);
        let socket = held.expect("a free port").expect("a socket");
        let address = socket.local_addr().expect("is bound").as_socket();
        // Over loopback a datagram is delivered, or not, before `send_to` returns.
        sender
            .send_to(b"hello", address.expect("an address"))
            .expect("sent");
        socket.set_nonblocking(true).expect("a socket");
        let received = socket.peek(&mut [std::mem::MaybeUninit::uninit()]);
        assert_eq!(
            received.expect_err("nothing").kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
