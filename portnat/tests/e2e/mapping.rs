//! From which port a container's UDP socket is seen outside (RFC 4787 REQ-1, REQ-8).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use portnat::lab::{Container, Lab, probe};

use crate::daemon::Daemon;
use crate::support::{at, udp_server};

/// The client's address, and the container's own of the same family.
fn families(container: &Container) -> [(IpAddr, IpAddr); 2] {
    [
        (Lab::CLIENT.into(), container.address.into()),
        (Lab::CLIENT_V6.into(), container.address_v6.into()),
    ]
}

/// From which ports two servers see the same socket, one after the other.
fn ports_seen(lab: &Lab, container: &Container, source: u16) -> Vec<[u16; 2]> {
    families(container)
        .into_iter()
        .map(|(client, own)| {
            [3478, 3479].map(|port| {
                let server = udp_server(&lab.client, client, port);
                let source = at(own, source);
                probe::udp_echo_from(&container.namespace, source, server.address(), b"?")
                    .expect("an answer");
                server.peers().last().map(SocketAddr::port).expect("one")
            })
        })
        .collect()
}

#[test]
fn a_socket_is_seen_from_one_port_and_reached_there_by_whom_it_has_asked() {
    let lab = Lab::builder()
        .containers(2)
        .ipv6(true)
        .build()
        .expect("a lab");
    let daemon = Daemon::run(&lab, &[]);
    let mut seen = Vec::new();
    for container in &lab.containers {
        // Outside the pool, so that it is another outside.
        for ports in ports_seen(&lab, container, 40_000) {
            assert_eq!(ports[0], ports[1]);
            assert_ne!(ports[0], 40_000);
            seen.push(ports[0]);
        }
    }
    assert!(seen[0] != seen[2] && seen[1] != seen[3], "{seen:?}");

    // A stranger at the client's own address does not get in by the same port.
    let inside = &lab.containers[0];
    let socket = inside
        .namespace
        .run(|| UdpSocket::bind((inside.address, 40_000)));
    let socket = socket.expect("free");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let [stranger, friend] = [5000, 3478].map(|port| {
        lab.client
            .run(|| UdpSocket::bind((Lab::CLIENT, port)))
            .expect("free")
    });
    for (from, word) in [(&stranger, b"stranger"), (&friend, b"myfriend")] {
        from.send_to(word, at(Lab::HOST, seen[0])).expect("sent");
    }
    let mut heard = [0; 16];
    let (length, _) = socket.recv_from(&mut heard).expect("a friend");
    assert_eq!(heard[..length], *b"myfriend");
    daemon.stop();
}

#[test]
fn with_mappings_by_remote_end_sockets_share_ports() {
    let lab = Lab::builder()
        .containers(2)
        .ipv6(true)
        .build()
        .expect("a lab");
    let arguments = ["--udp-mapping", "address-and-port-dependent"];
    let daemon = Daemon::run(&lab, &arguments);
    for (number, container) in lab.containers.iter().enumerate() {
        for (client, own) in families(container) {
            let server = udp_server(&lab.client, client, 3478 + number as u16);
            let source = at(own, 5000);
            probe::udp_echo_from(&container.namespace, source, server.address(), b"?")
                .expect("an answer");
            assert_eq!(server.peers()[0].port(), 5000, "free towards this one");
        }
    }
    daemon.stop();
}
