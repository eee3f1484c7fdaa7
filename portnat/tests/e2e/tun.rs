//! An uplink without an Ethernet header: a tun device. The test is what lies behind it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, UdpHeader};
use nix::errno::Errno;
use nix::libc;
use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::{Daemon, row};
use crate::support::{at, eventually, net, udp_server};

const NAME: &str = "tun0";
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1));
const REMOTE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 9));

/// The far end of a tunnel.
pub(crate) struct Tun {
    file: File,
}

/// A UDP datagram with its addresses.
#[derive(Debug, PartialEq, Eq)]
struct Datagram {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    payload: Vec<u8>,
}

impl Tun {
    /// Somebody behind the tunnel.
    pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

    /// Creates a tun device in a namespace, up and with an address.
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let file = namespace.run(open).expect("a tun device");
        let links = namespace.links();
        links
            .add_address(NAME, net("198.51.100.1/24"))
            .and_then(|()| links.add_address(NAME, net("2001:db8:51::1/64")))
            .and_then(|()| links.set_up(NAME))
            .expect("an address");
        Self { file }
    }

    fn send(&mut self, datagram: &Datagram) {
        let (from, to) = (datagram.from, datagram.to);
        let builder = match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), 64)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            }
            _ => panic!("of two families: {datagram:?}"),
        };
        let builder = builder.udp(from.1, to.1);
        let mut packet = Vec::new();
        builder
            .write(&mut packet, &datagram.payload)
            .expect("fits a packet");
        self.file.write_all(&packet).expect("the tunnel takes it");
    }

    /// The next datagram that the host sends. What else it says, of IPv6 mostly, is skipped.
    fn receive(&mut self) -> Datagram {
        eventually("a datagram from the tunnel", || {
            loop {
                let mut packet = [0; 2048];
                let length = self.file.read(&mut packet)?;
                if let Some(datagram) = parse(&packet[..length]) {
                    return Ok::<_, io::Error>(datagram);
                }
            }
        })
    }
}

/// Opens a tun device in the calling thread's namespace: packets begin with the IP header, and
/// reading does not wait.
fn open() -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is a plain C structure, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the file is open, and the request is what TUNSETIFF reads and writes.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(file)
}

/// Reads a UDP datagram; its checksums must be right.
fn parse(packet: &[u8]) -> Option<Datagram> {
    let sliced = SlicedPacket::from_ip(packet).expect("an IP packet");
    let (Some(net), Some(TransportSlice::Udp(udp))) = (sliced.net, sliced.transport) else {
        return None;
    };
    let (from_port, to_port) = (udp.source_port(), udp.destination_port());
    let (from, to, right): (IpAddr, IpAddr, _) = match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let right = UdpHeader::with_ipv4_checksum(from_port, to_port, &header, udp.payload());
            (header.source.into(), header.destination.into(), right)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let right = UdpHeader::with_ipv6_checksum(from_port, to_port, &header, udp.payload());
            (header.source.into(), header.destination.into(), right)
        }
        NetSlice::Arp(_) => return None,
    };
    assert_eq!(udp.checksum(), right.expect("fits").checksum);
    Some(Datagram {
        from: (from, from_port),
        to: (to, to_port),
        payload: udp.payload().to_vec(),
    })
}

#[test]
fn a_published_port_answers_by_a_tunnel() {
    let lab = Lab::builder().build().expect("a lab");
    let server = udp_server(&lab.containers[0].namespace, lab.containers[0].address, 53);
    let mut tun = Tun::new(&lab.host);
    let daemon = Daemon::run(&lab, &["-p", "5353:53/udp@172.17.0.2"]);
    daemon.line("attached to uplink tun0, masquerading as 198.51.100.1 and 2001:db8:51::1");

    for payload in [&b"even"[..], b"odd"] {
        let question = Datagram {
            from: (Tun::REMOTE.into(), 1234),
            to: (HOST, 5353),
            payload: payload.to_vec(),
        };
        tun.send(&question);
        let expected = Datagram {
            from: question.to,
            to: question.from,
            payload: question.payload,
        };
        assert_eq!(tun.receive(), expected);
    }
    assert_eq!(server.peers(), [at(Tun::REMOTE, 1234); 2]);
    let row = row(&daemon.stop(), "0.0.0.0:5353/udp");
    assert_eq!([row.flows, row.packets_in, row.packets_out], [1, 2, 2]);
}

#[test]
fn a_container_is_masqueraded_by_a_tunnel() {
    let lab = Lab::builder().build().expect("a lab");
    let mut tun = Tun::new(&lab.host);
    let daemon = Daemon::run(&lab, &[]);

    let container = &lab.containers[0].namespace;
    let socket = probe::udp_connect(container, None, at(Tun::REMOTE, 53)).expect("a socket");
    socket.send(b"who is there?").expect("sent");
    let question = tun.receive();
    assert_eq!(question.from.0, HOST);
    assert_eq!(question.to, (Tun::REMOTE.into(), 53));
    assert_eq!(question.payload, b"who is there?");

    tun.send(&Datagram {
        from: question.to,
        to: question.from,
        payload: b"me".to_vec(),
    });
    let mut answer = [0; 16];
    let length = socket.recv(&mut answer).expect("an answer");
    assert_eq!(answer[..length], *b"me");
    daemon.stop();
}

/// Its packets have no link header, and those to the bridge must have one.
#[test]
fn an_ipv4_target_answers_ipv6_by_a_tunnel() {
    let lab = Lab::builder().build().expect("a lab");
    let server = udp_server(&lab.containers[0].namespace, lab.containers[0].address, 53);
    let mut tun = Tun::new(&lab.host);
    let daemon = Daemon::run(&lab, &["-p", "[::]:5353:53/udp@172.17.0.2"]);
    daemon.line("attached to uplink tun0, masquerading as 198.51.100.1 and 2001:db8:51::1");
    for payload in [&b"even"[..], b"odd"] {
        let question = Datagram {
            from: (REMOTE_V6, 1234),
            to: (HOST_V6, 5353),
            payload: payload.to_vec(),
        };
        tun.send(&question);
        let expected = Datagram {
            from: question.to,
            to: question.from,
            payload: question.payload,
        };
        assert_eq!(tun.receive(), expected);
    }
    let gateway = lab.bridges[0].gateway;
    assert_eq!(server.peers(), [at(gateway, 1234); 2]);
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}
