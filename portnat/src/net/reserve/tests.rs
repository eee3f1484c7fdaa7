use std::net::{IpAddr, TcpListener, UdpSocket};

use super::*;

/// Every test has a loopback address to itself, so that none sees the ports of another.
fn loopback(test: u8) -> IpAddr {
    IpAddr::from([127, 77, 0, test])
}

/// One that has nobody to guard.
fn reserver() -> Reserver {
    Reserver::new(|| Err(GuardError("there is none".to_owned())))
}

fn any_port(ip: IpAddr, protocol: Protocol) -> (NonZeroU16, Reservation) {
    let ports = (20_000..30_000).filter_map(NonZeroU16::new);
    let mut held = ports.filter_map(|port| {
        let port = PortRange::single(ip, port, protocol);
        reserver().reserve(port, Choice::Ours, false).ok()
    });
    let reservation = held.next().expect("some port is free");
    (reservation.ports().first, reservation)
}

fn one(ip: IpAddr, port: NonZeroU16, protocol: Protocol) -> Result<Reservation, ReserveError> {
    reserver().reserve(PortRange::single(ip, port, protocol), Choice::Theirs, false)
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
fn a_port_that_is_in_use_is_refused_in_dockers_words_and_with_who_has_it() {
    let server = TcpListener::bind((loopback(3), 0)).expect("a free port");
    let port = server.local_addr().expect("is bound").port();
    let port = NonZeroU16::new(port).expect("is bound");
    let refusal = one(loopback(3), port, Protocol::Tcp).expect_err("in use");
    assert!(refusal.is_in_use());
    let text = refusal.to_string();
    let words = format!("failed to bind host port 127.77.0.3:{port}/tcp: address already in use: ");
    let pid = format!(" (pid {}) holds it", std::process::id());
    assert!(text.starts_with(&words) && text.ends_with(&pid), "{text}");
    // Whose port it is.
    let wanted = PortRange::single(loopback(3), port, Protocol::Tcp);
    let forced = reserver().reserve(wanted, Choice::Theirs, true);
    assert_eq!(forced.expect("forced").ports().first, port);
    // Where any other would do nobody's is taken.
    let chosen = reserver().reserve(wanted, Choice::Ours, true);
    assert!(chosen.expect_err("in use").is_in_use());
}

#[test]
fn tcp_and_udp_ports_are_different_ports() {
    let (port, _tcp) = any_port(loopback(4), Protocol::Tcp);
    let udp = one(loopback(4), port, Protocol::Udp).expect("nobody has it");
    assert_eq!(udp.ports().to_string(), format!("127.77.0.4:{port}/udp"));
}

/// Which of the two is the kernel's choice.
#[test]
fn an_sctp_port_is_reserved_where_the_kernel_has_sctp_sockets() {
    let (port, reservation) = any_port(loopback(8), Protocol::Sctp);
    assert_eq!(reservation.ports().protocol, Protocol::Sctp);
    let again = one(loopback(8), port, Protocol::Sctp);
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
fn a_large_range_is_held_by_sockets_where_there_is_no_guard() {
    let ip = loopback(9);
    let ports = range(ip, MOST_SOCKETS + 1);
    let reservation = reserver()
        .reserve(ports, Choice::Theirs, false)
        .expect("all are free");
    assert!(matches!(reservation.hold, Hold::Sockets(_)));
    let server = TcpListener::bind((ip, ports.last.get()));
    assert_eq!(
        server.expect_err("is held").kind(),
        io::ErrorKind::AddrInUse
    );
}

#[test]
fn a_range_of_which_somebody_has_a_port_is_not_held_at_all() {
    let ip = loopback(10);
    let ports = range(ip, 3);
    let last = ports.last.get();
    let server = TcpListener::bind((ip, last)).expect("is free");
    let refusal = reserver()
        .reserve(ports, Choice::Theirs, false)
        .expect_err("in use");
    assert!(
        refusal
            .to_string()
            .contains(&format!("port {ip}:{last}/tcp")),
        "{refusal}"
    );
    drop(server);
    let _held = reserver()
        .reserve(ports, Choice::Theirs, false)
        .expect("free again");
}

fn range(address: IpAddr, count: usize) -> PortRange {
    let first = NonZeroU16::MIN.saturating_add(20_000);
    PortRange {
        address,
        first,
        last: first.saturating_add(u16::try_from(count).expect("fits") - 1),
        protocol: Protocol::Tcp,
    }
}
