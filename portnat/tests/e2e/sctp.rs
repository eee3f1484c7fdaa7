//! SCTP, spoken by hand over raw sockets: not every kernel has others.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crc::{CRC_32_ISCSI, Crc};
use portnat::lab::{Lab, Namespace};
use portnat_common::wire::sctp::chunk::{DATA, INIT, INIT_ACK};
use socket2::{Domain, Protocol, Socket, Type};

use crate::daemon::{Daemon, row};
use crate::support::{PATIENCE, at};

/// One end, which hears every SCTP packet that comes to its namespace.
struct End {
    /// The standard library's functions for datagrams serve raw sockets as well.
    socket: UdpSocket,
    address: IpAddr,
}

/// A packet that was heard; its CRC was right.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    from: SocketAddr,
    to_port: u16,
    chunk: u8,
    length: usize,
}

impl End {
    fn open(namespace: &Namespace, address: IpAddr) -> Self {
        let domain = Domain::for_address(at(address, 0));
        let socket = namespace
            .run(|| Socket::new(domain, Type::RAW, Some(Protocol::SCTP)))
            .expect("a raw socket, as root");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        End {
            socket: socket.into(),
            address,
        }
    }

    /// Sends a packet of one chunk, `length` bytes in all.
    fn say(&self, chunk: u8, from_port: u16, to: SocketAddr, length: usize) {
        let mut packet = vec![0x5a; length];
        packet[..2].copy_from_slice(&from_port.to_be_bytes());
        packet[2..4].copy_from_slice(&to.port().to_be_bytes());
        packet[8..12].fill(0);
        packet[12] = chunk;
        let crc = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&packet);
        packet[8..12].copy_from_slice(&crc.to_le_bytes());
        // A raw socket has no ports.
        let sent = self.socket.send_to(&packet, at(to.ip(), 0)).expect("sent");
        assert_eq!(sent, length);
    }

    /// The next packet.
    #[track_caller]
    fn hear(&self) -> Heard {
        let mut buffer = [0; 2048];
        let (length, from) = match self.socket.recv_from(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing is heard"),
            received => received.expect("a packet"),
        };
        // Those of IPv4 come with their header.
        let header = match self.address {
            IpAddr::V4(_) => 4 * usize::from(buffer[0] & 0x0f),
            IpAddr::V6(_) => 0,
        };
        let packet = &mut buffer[header..length];
        let crc: Vec<_> = packet[8..12].to_vec();
        packet[8..12].fill(0);
        let expected = Crc::<u32>::new(&CRC_32_ISCSI).checksum(packet);
        assert_eq!(crc, expected.to_le_bytes(), "the CRC");
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        Heard {
            from: at(from.ip(), port(0)),
            to_port: port(2),
            chunk: packet[12],
            length: packet.len(),
        }
    }
}

#[test]
fn published_and_masqueraded_in_both_families() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let [container] = &lab.containers[..] else {
        panic!("one container");
    };
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
    for [client, host, target] in families {
        let (outside, inside) = (
            End::open(&lab.client, client),
            End::open(&container.namespace, target),
        );
        let heard = |from, to_port, chunk, length| Heard {
            from,
            to_port,
            chunk,
            length,
        };
        for length in [16, 17, 300, 1452] {
            outside.say(INIT, 40000, at(host, 8080), length);
            assert_eq!(
                inside.hear(),
                heard(at(client, 40000), 80, INIT, length),
                "to the published port"
            );
            inside.say(INIT_ACK, 80, at(client, 40000), length);
            assert_eq!(
                outside.hear(),
                heard(at(host, 8080), 40000, INIT_ACK, length),
                "its answer"
            );
        }

        // A port that masquerade does not lend, so another takes its place.
        inside.say(INIT, 40001, at(client, 9899), 100);
        let asked = outside.hear();
        assert_eq!((asked.from.ip(), asked.to_port), (host, 9899));
        assert_ne!(asked.from.port(), 40001);
        outside.say(INIT_ACK, 9899, asked.from, 100);
        assert_eq!(
            inside.hear(),
            heard(at(client, 9899), 40001, INIT_ACK, 100),
            "the answer to a masqueraded one"
        );
        inside.say(DATA, 40001, at(client, 9899), 1452);
        assert_eq!(
            outside.hear(),
            heard(asked.from, 9899, DATA, 1452),
            "the same port again"
        );
    }
    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:8080/sctp").flows, 1);
}
