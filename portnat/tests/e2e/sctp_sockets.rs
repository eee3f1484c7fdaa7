//! SCTP between the kernel's own sockets, where it has them: an association lives by itself, with
//! heartbeats, acknowledgements and checksums that are nobody's but the kernel's.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::thread;

use portnat::lab::{Lab, Namespace};
use socket2::{Domain, Protocol, Socket, Type};

use crate::daemon::{Daemon, row};
use crate::support::{at, payload};

/// More than one packet holds, less than a window.
const LENGTH: usize = 100_000;

/// Several packets, too.
const MESSAGE: usize = 10_000;

fn open(namespace: &Namespace, domain: Domain) -> io::Result<Socket> {
    namespace.run(|| Socket::new(domain, Type::STREAM, Some(Protocol::SCTP)))
}

/// Says something on an association and hears it again; who has asked is as the other end sees it.
fn echo(from: &Namespace, to: SocketAddr, server: &Namespace, listens: SocketAddr) -> SocketAddr {
    let listener = open(server, Domain::for_address(listens)).expect("a socket");
    listener.bind(&listens.into()).expect("bound");
    listener.listen(1).expect("listens");
    let serve = thread::spawn(move || {
        let (mut socket, peer) = listener.accept().expect("an association");
        let mut heard = vec![0; LENGTH];
        socket.read_exact(&mut heard).expect("all of it");
        for piece in heard.chunks(MESSAGE) {
            socket.write_all(piece).expect("the same");
        }
        // The association ends when all has arrived.
        let end = socket.read(&mut heard).expect("its end");
        assert_eq!(end, 0);
        peer.as_socket().expect("an address")
    });
    let mut socket = open(from, Domain::for_address(to)).expect("a socket");
    socket.connect(&to.into()).expect("an association");
    let sent = payload(LENGTH);
    // In pieces, each of which is a message.
    for piece in sent.chunks(MESSAGE) {
        socket.write_all(piece).expect("sent");
    }
    let mut heard = vec![0; LENGTH];
    socket.read_exact(&mut heard).expect("an answer");
    assert!(heard == sent, "something else comes back");
    drop(socket);
    serve.join().expect("it does not panic")
}

#[test]
fn associations_are_published_and_masqueraded() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    if let Err(error) = open(&lab.client, Domain::IPV4) {
        println!("SKIPPED: this kernel has no SCTP sockets: {error}");
        return;
    }
    println!("SCTP sockets are there");
    let container = &lab.containers[0];
    let arguments = [
        "-p",
        "8080:80/sctp@172.17.0.2",
        "-p",
        "8080:80/sctp@fd00:17::2",
    ];
    let daemon = Daemon::run(&lab, &arguments);
    let families: [[IpAddr; 3]; 2] = [
        [
            Lab::CLIENT.into(),
            Lab::HOST.into(),
            container.address.into(),
        ],
        [
            Lab::CLIENT_V6.into(),
            Lab::HOST_V6.into(),
            container.address_v6.into(),
        ],
    ];
    let inside = &container.namespace;
    for [client, host, target] in families {
        let seen = echo(&lab.client, at(host, 8080), inside, at(target, 80));
        assert_eq!(seen.ip(), client, "by the published port");
        let seen = echo(inside, at(client, 9899), &lab.client, at(client, 9899));
        assert_eq!(seen.ip(), host, "masqueraded");
    }
    let table = daemon.stop();
    for port in ["0.0.0.0:8080/sctp", "[::]:8080/sctp"] {
        assert_eq!(row(&table, port).flows, 1, "{table}");
    }
}
