//! What passes, and what does not.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::thread;

use portnat::lab::{Lab, Namespace, probe};
use socket2::{Domain, Protocol, Socket, Type};

use crate::daemon::{Daemon, row};
use crate::support::{
    SILENCE, assert_dropped, at, eventually, payload, seen_by, tcp_server, udp_server,
};

#[test]
fn two_hundred_connections_at_once() {
    const CONNECTIONS: usize = 200;
    let lab = Lab::builder().build().expect("a lab");
    let server = tcp_server(&lab.containers[0].namespace, lab.containers[0].address, 80);
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);

    // All are open before the first is used.
    let open = || probe::tcp_connect(&lab.client, None, at(Lab::HOST, 8080)).expect("connected");
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| open()).collect();
    let sources: BTreeSet<_> = streams
        .iter()
        .map(|stream| stream.local_addr().expect("is bound"))
        .collect();
    thread::scope(|scope| {
        for (number, stream) in streams.iter().enumerate() {
            scope.spawn(move || echo(stream, &payload(10_000 + number)));
        }
    });
    let peers: BTreeSet<_> = server.peers().into_iter().collect();
    assert_eq!(peers, sources);
    assert_eq!(
        row(&daemon.stop(), "0.0.0.0:8080/tcp").flows,
        CONNECTIONS as u64
    );
}

/// Sends on a connection that is open already, and reads it back.
fn echo(mut stream: &TcpStream, sent: &[u8]) {
    stream.write_all(sent).expect("sent");
    let mut answer = vec![0; sent.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(answer == sent, "something else came back");
}

/// None of the old flows is given up for a new one (RFC 6888 REQ-11).
#[test]
fn a_full_flow_table_keeps_what_it_has() {
    let lab = Lab::builder().build().expect("a lab");
    let server = udp_server(&lab.containers[0].namespace, lab.containers[0].address, 53);
    let arguments = ["--max-flows", "2", "-p", "5353:53/udp@172.17.0.2"];
    let daemon = Daemon::run(&lab, &arguments);

    let open = || probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    let ask = |client: &UdpSocket| {
        client.send(b"hello").expect("sent");
        client.recv(&mut [0; 16])
    };
    // The second question confirms the flow. There is no place for a third confirmed one, which goes
    // on half-open.
    let clients = [open(), open(), open()];
    for client in clients.iter().chain(&clients) {
        assert_eq!(ask(client).expect("an answer"), 5);
    }
    eventually("a new one is refused", || {
        for client in &clients {
            assert_eq!(ask(client).expect("still an answer"), 5);
        }
        let another = open();
        another.set_read_timeout(Some(SILENCE)).expect("set");
        match ask(&another) {
            Err(silence) if silence.kind() == ErrorKind::WouldBlock => Ok(()),
            answer => Err(answer),
        }
    });
    for client in &clients {
        assert_eq!(ask(client).expect("still an answer"), 5);
    }
    drop(server);

    let table = daemon.stop();
    assert!(table.contains("(flow-table-full)"), "{table}");
}

#[test]
fn the_hosts_own_traffic_is_left_alone() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let gateway = lab.bridges[0].gateway;
    let daemon = Daemon::run(&lab, &["-p", "8080:80@172.17.0.2"]);

    let ssh = tcp_server(&lab.host, Lab::HOST, 22);
    let resolver = udp_server(&lab.host, gateway, 53);
    let outside = tcp_server(&lab.client, Lab::CLIENT, 80);
    let sent = payload(100_000);
    let cases = [
        ("client to host", &lab.client, &ssh),
        ("host to client", &lab.host, &outside),
    ];
    for (what, from, server) in cases {
        let answer = probe::tcp_echo(from, server.address(), &sent);
        assert!(answer.expect(what) == sent, "{what}: something else");
    }
    assert_eq!(seen_by(&ssh), [IpAddr::from(Lab::CLIENT)]);
    assert_eq!(seen_by(&outside), [IpAddr::from(Lab::HOST)]);
    probe::udp_echo(&container.namespace, resolver.address(), b"?").expect("an answer");
    assert_eq!(seen_by(&resolver), [IpAddr::from(container.address)]);
    probe::ping(&lab.client, Lab::HOST, 1, 1).expect("client to host");
    probe::ping(&lab.host, Lab::CLIENT, 1, 1).expect("host to client");

    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:8080/tcp").packets_in, 0, "{table}");
    assert!(!table.contains("dropped"), "{table}");
}

#[test]
fn a_protocol_that_cannot_be_translated_is_traced() {
    const GRE: i32 = 47;
    let lab = Lab::builder().build().expect("a lab");
    let uplink = lab.host.links().index(Lab::UPLINK).expect("is there");
    let mut daemon = Daemon::run(&lab, &["--trace"]);

    let raw = |namespace: &Namespace| {
        namespace
            .run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(GRE))))
            .expect("a raw socket")
    };
    let received = raw(&lab.client);
    let client = at(Lab::CLIENT, 0).into();
    raw(&lab.containers[0].namespace)
        .send_to(&[0; 16], &client)
        .expect("sent");
    let line = daemon.wait_for_line("unsupported-protocol");
    assert!(line.contains(&format!("interface {uplink}:")), "{line}");

    // The host's own is none of our business.
    raw(&lab.host).send_to(&[0; 16], &client).expect("sent");
    received.set_nonblocking(true).expect("a socket");
    let mut packet = [MaybeUninit::uninit(); 64];
    let (_, from) = eventually("receiving the host's", || received.recv_from(&mut packet));
    assert_eq!(from.as_socket(), Some(at(Lab::HOST, 0)));

    let table = daemon.stop();
    assert_dropped(&table, 1, "unsupported-protocol", &[]);
}
