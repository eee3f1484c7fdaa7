//! From outside to containers, and from containers to the outside.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use portnat::lab::probe;

use crate::support::{MEGABYTE, assert_dropped, at, dropped, payload, tcp_server, udp_server};

use super::scene::{PORTS, Scene, Side, Witness, answer};

const UDP_HEADER: u64 = 8;

/// The client is answered, the target sees the client, and both are counted.
pub(super) fn published_ports_answer(scene: &Scene, side: &Side) {
    let ask = || answer(&scene.lab.client, side.host, PORTS);
    let [tcp, udp] = scene.during(side.any(), PORTS, ask);
    let [web, dns] = side.news();
    assert_eq!(web, [side.client; 2]);
    assert!(dns.iter().all(|peer| *peer == side.client));

    assert_eq!(tcp.flows, 2, "{tcp:?}");
    assert!(tcp.packets_in >= 10 && tcp.packets_out >= 10, "{tcp:?}");
    // The payload, headers and acknowledgements; more where a slow machine has TCP send again, and less
    // where two processors count packets of up to 64 KiB in the same instant (see `Flow`). Exactly it is
    // datagrams that are counted, which go one at a time.
    let bytes = MEGABYTE as u64 / 2..4 * MEGABYTE as u64;
    assert!(bytes.contains(&tcp.bytes_in), "{tcp:?}");
    assert!(bytes.contains(&tcp.bytes_out), "{tcp:?}");
    // The probe sends 1200 bytes at a time.
    let packets = 1 + MEGABYTE.div_ceil(1200) as u64;
    let bytes = 1 + MEGABYTE as u64 + packets * (side.network_header() + UDP_HEADER);
    assert_eq!(udp.flows, 2, "{udp:?}");
    assert_eq!([udp.packets_in, udp.packets_out], [packets; 2], "{udp:?}");
    assert_eq!([udp.bytes_in, udp.bytes_out], [bytes; 2], "{udp:?}");
}

/// Ports that only the container has are not the host's.
pub(super) fn others_do_not(scene: &Scene, side: &Side) {
    let ask = || {
        for port in [80, 5353] {
            let refusal = probe::tcp_echo(&scene.lab.client, at(side.host, port), b"?");
            let refusal = refusal.expect_err("not there");
            assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "TCP {port}");
        }
        for port in [53, 8080] {
            let refusal = probe::udp_echo(&scene.lab.client, at(side.host, port), b"?");
            let refusal = refusal.expect_err("not there");
            assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "UDP {port}");
        }
    };
    let rows = scene.during(side.any(), PORTS, ask);
    assert!(rows.iter().all(|row| row.packets_in == 0), "{rows:?}");
}

/// What containers of either bridge send to the client comes from the host's address.
pub(super) fn containers_are_masqueraded(scene: &Scene, side: &Side) {
    let web = Witness::new(tcp_server(&scene.lab.client, side.client, 80));
    let dns = Witness::new(udp_server(&scene.lab.client, side.client, 53));
    let sent = payload(10_000);
    let ask = || {
        for container in [scene.target, scene.stranger] {
            let (bridge, container) = (&container.bridge, &container.namespace);
            let answer = probe::tcp_echo(container, web.address(), &sent).expect("TCP answers");
            assert!(answer == sent, "{bridge}: TCP returns something else");
            let answer = probe::udp_echo(container, dns.address(), &sent).expect("UDP answers");
            assert!(answer == sent, "{bridge}: UDP returns something else");
            assert_eq!(web.news(), [side.host], "{bridge}");
            assert!(dns.news().iter().all(|peer| *peer == side.host), "{bridge}");
            // Both with the same identifier.
            probe::ping(container, side.client, 1, 1).expect("ping answers");
        }
    };
    scene.during(side.any(), PORTS, ask);
}

/// That the client knows the way to the containers, and the host forwards, does not let it in.
pub(super) fn containers_are_not_reached_directly(scene: &Scene, side: &Side) {
    const DIRECT: &str = "direct-access";
    let before = dropped(&scene.table(), DIRECT);
    // Less than the second after which a SYN is sent again.
    let patience = Duration::from_millis(200);
    let web = side.web.address();
    let connect = || TcpStream::connect_timeout(&web, patience);
    let silence = scene.lab.client.run(connect);
    let silence = silence.expect_err("not from outside");
    assert_eq!(silence.kind(), ErrorKind::TimedOut);
    let socket = probe::udp_connect(&scene.lab.client, None, side.dns.address());
    let socket = socket.expect("a socket");
    socket.set_read_timeout(Some(patience)).expect("set");
    socket.send(b"hello").expect("sent");
    let silence = socket.recv(&mut [0; 16]).expect_err("not from outside");
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    assert_eq!(side.news().map(|peers| peers.len()), [0; 2]);
    assert!(scene.dropped().iter().all(|line| line.contains(DIRECT)));
    assert_dropped(&scene.table(), before + 2, DIRECT, &[&scene.lab.client]);
}
