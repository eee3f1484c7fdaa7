//! A flood from addresses that nobody has: it turns over half-open flows and takes nothing else.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use portnat::lab::{Lab, Namespace};
use portnat_common::wire::tcp;
use socket2::{Domain, Protocol, Socket, Type};

use crate::daemon::{Daemon, row};
use crate::packet::{Carries, Packet, packet};
use crate::support::{at, net, udp_server};

/// Connections that are opened during each wave, if it lasts long enough. They stay open.
const CONNECTIONS_A_WAVE: usize = 40;
/// How often a wave turns the half-open flows over: at least, and until the connections are there at
/// most.
const TURNS: RangeInclusive<u64> = 10..=60;
/// A wave that is long enough ends.
const WAVE_AT_MOST: Duration = Duration::from_secs(10);
/// A client's fifth SYN is sent 15 seconds after its first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For each read, write or accept.
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);

/// One packet or two of each source.
const WAVES: [(&str, &[Carries]); 4] = [
    ("SYN", &[Carries::Tcp(tcp::SYN)]),
    (
        "SYN and a guessed ACK",
        &[Carries::Tcp(tcp::SYN), Carries::Tcp(tcp::ACK)],
    ),
    ("ACK", &[Carries::Tcp(tcp::ACK)]),
    ("UDP", &[Carries::Udp]),
];

/// Who is flooded, and from where.
struct Scene {
    family: &'static str,
    host: IpAddr,
    container: IpAddr,
    client: IpAddr,
    /// Where the flood says that it comes from.
    sources: [&'static str; 2],
    /// Connections that are there before the flood.
    idle: usize,
    half_open: u64,
}

#[test]
fn a_flood_loses_nothing() {
    flood(&Scene {
        family: "IPv4",
        host: Lab::HOST.into(),
        container: [172, 17, 0, 2].into(),
        client: Lab::CLIENT.into(),
        sources: ["198.51.100.0/24", "203.0.113.0/24"],
        idle: 1000,
        half_open: 1024,
    });
}

#[test]
fn a_flood_of_ipv6_loses_nothing() {
    flood(&Scene {
        family: "IPv6",
        host: Lab::HOST_V6.into(),
        container: Ipv6Addr::new(0xfd00, 0x17, 0, 0, 0, 0, 0, 2).into(),
        client: Lab::CLIENT_V6.into(),
        sources: ["2001:db8:5::/64", "2001:db8:9::/64"],
        idle: 200,
        half_open: 256,
    });
}

fn flood(scene: &Scene) {
    let &Scene {
        family,
        host,
        container,
        client,
        idle,
        half_open,
        ..
    } = scene;
    raise_file_limit();
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    // What answers the flood goes to the client, which forwards nothing and says nothing.
    for prefix in scene.sources {
        let route = lab.host.links().add_route(net(prefix), client);
        route.expect("a route");
    }
    let target = &lab.containers[0].namespace;
    // The container has to stand the flood too, in its own way.
    target
        .sysctl("net/ipv4/tcp_syncookies", "1")
        .expect("a sysctl");
    let listener = listen(target, at(container, 80));
    let _dns = udp_server(target, container, 53);

    // So many confirmed flows and not one more: a single one of the flood's would be one too many.
    let max_flows = (idle + WAVES.len() * CONNECTIONS_A_WAVE).to_string();
    let max_half_open = half_open.to_string();
    let publish = |port, protocol| match container {
        IpAddr::V4(ip) => format!("{port}{protocol}@{ip}"),
        IpAddr::V6(ip) => format!("{port}{protocol}@{ip}"),
    };
    // Of two ports for one target neither is *the* one, so that a flow that is lost cannot be picked
    // up when the target speaks.
    let ports = [
        publish("8080:80", ""),
        publish("8081:80", ""),
        publish("5353:53", "/udp"),
    ];
    let mut arguments = vec!["--max-flows", &max_flows, "--max-half-open", &max_half_open];
    arguments.extend(ports.iter().flat_map(|port| ["-p", port]));
    let daemon = Daemon::run(&lab, &arguments);

    let published = at(host, 8080);
    let mut connections: Vec<_> = (0..idle)
        .map(|_| Connection::open(&lab.client, &listener, published).0)
        .collect();
    let mut flood = Flood::new(scene, &lab.client);
    for (what, packets) in WAVES {
        let begun = Instant::now();
        let before = flood.sent;
        let wave = Wave::default();
        let mut took = thread::scope(|scope| {
            let flood = scope.spawn(|| flood.wave(packets, half_open, &wave));
            let took: Vec<_> = (0..CONNECTIONS_A_WAVE)
                .take_while(|number| {
                    // Spread over the least that comes, and the first with the tables full of it.
                    let due = TURNS.start() * half_open * (*number as u64 + 5);
                    wave.reaches(due / (CONNECTIONS_A_WAVE as u64 + 5))
                })
                .map(|_| {
                    let (connection, took) = Connection::open(&lab.client, &listener, published);
                    connections.push(connection);
                    took
                })
                .collect();
            wave.over.store(true, Ordering::Relaxed);
            flood.join().expect("the flood goes on");
            took
        });
        let sources = wave.sources.load(Ordering::Relaxed);
        assert!(sources >= TURNS.start() * half_open, "{what}: {sources}");
        assert!(!took.is_empty(), "{what}: no connection in time");
        took.sort();
        let late = took.iter().filter(|took| **took >= Duration::from_secs(1));
        println!(
            "{family}, {what}: {} packets in {:.1?}, {} connections meanwhile, {} of them after a \
             retransmission; the median took {:.1?}, the slowest {:.1?}",
            flood.sent - before,
            begun.elapsed(),
            took.len(),
            late.count(),
            took[took.len() / 2],
            took[took.len() - 1],
        );
    }
    for connection in &mut connections {
        connection.talk();
    }

    let table = daemon.stop();
    println!(
        "{family}: {} connections talk on\n{table}",
        connections.len()
    );
    assert!(!table.contains("(flow-table-full)"), "{table}");
    let web = row(&table, &format!("{}/tcp", at(unspecified(host), 8080)));
    let dns = row(&table, &format!("{}/udp", at(unspecified(host), 5353)));
    // A half-open flow whose other half was evicted counts as well.
    let most = connections.len() as u64 + 2 * half_open;
    assert!(
        (connections.len() as u64..=most).contains(&web.flows),
        "{table}"
    );
    assert!(dns.flows <= 2 * half_open, "{table}");
    // The flood has come, and not been lost on its way.
    let came = web.packets_in + dns.packets_in;
    assert!(came > flood.sent / 2, "{} sent: {table}", flood.sent);
}

/// How far a wave is.
#[derive(Default)]
struct Wave {
    /// How many sources have sent something.
    sources: AtomicU64,
    /// It need not go on, or has ended.
    over: AtomicBool,
}

impl Wave {
    /// Waits until so many sources have sent. `false` if the wave is over.
    fn reaches(&self, sources: u64) -> bool {
        while !self.over.load(Ordering::Relaxed) {
            if self.sources.load(Ordering::Relaxed) >= sources {
                return true;
            }
            thread::yield_now();
        }
        false
    }
}

/// A connection's two ends.
struct Connection {
    client: TcpStream,
    target: TcpStream,
}

impl Connection {
    /// Opens a connection and says hello; also how long that has taken.
    #[track_caller]
    fn open(client: &Namespace, listener: &Socket, to: SocketAddr) -> (Self, Duration) {
        let socket = client.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None));
        let socket = socket.expect("a socket");
        let begun = Instant::now();
        socket
            .connect_timeout(&to.into(), CONNECT_TIMEOUT)
            .expect("connected");
        let mut client = TcpStream::from(socket);
        // The acknowledgement that opens the target's end can be lost; what is said cannot.
        client.write_all(b"hello").expect("sent");
        let (target, _) = listener.accept().expect("accepted");
        let mut target = TcpStream::from(target);
        for stream in [&client, &target] {
            stream.set_nodelay(true).expect("a socket");
            let timeout = stream.set_read_timeout(Some(STREAM_TIMEOUT));
            timeout.expect("a socket");
        }
        assert_eq!(
            target.peer_addr().expect("connected"),
            client.local_addr().expect("connected")
        );
        hear(&mut target, b"hello");
        (Connection { client, target }, begun.elapsed())
    }

    /// The target speaks first: to its client leads nothing but the flow that there is.
    #[track_caller]
    fn talk(&mut self) {
        self.target.write_all(b"still there?").expect("sent");
        hear(&mut self.client, b"still there?");
        self.client.write_all(b"yes").expect("sent");
        hear(&mut self.target, b"yes");
    }
}

#[track_caller]
fn hear(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).expect("is heard");
    assert_eq!(heard, words);
}

/// Packets from addresses that nobody has.
struct Flood<'s> {
    scene: &'s Scene,
    /// Takes whole packets, headers included.
    socket: Socket,
    /// How many sources there were. None comes twice.
    sources: u32,
    /// How many packets were sent.
    sent: u64,
}

impl<'s> Flood<'s> {
    fn new(scene: &'s Scene, client: &Namespace) -> Self {
        const RAW: i32 = nix::libc::IPPROTO_RAW;
        let domain = Domain::for_address(at(scene.host, 0));
        let socket = client.run(|| Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))));
        Flood {
            scene,
            socket: socket.expect("a raw socket"),
            sources: 0,
            sent: 0,
        }
    }

    /// Sends such packets of each of many sources: as many as [`TURNS`] says, until it is over or too
    /// much time has passed.
    fn wave(&mut self, packets: &[Carries], half_open: u64, wave: &Wave) {
        let begun = Instant::now();
        let mut sources = 0;
        // What has to come comes, however slow the machine is.
        while sources < TURNS.start() * half_open
            || (begun.elapsed() < WAVE_AT_MOST
                && !wave.over.load(Ordering::Relaxed)
                && sources < TURNS.end() * half_open)
        {
            let source = self.next_source();
            for carries in packets {
                self.send(*carries, source);
            }
            sources += 1;
            wave.sources.store(sources, Ordering::Relaxed);
            if sources % 64 == 0 {
                // There are others on this machine.
                thread::yield_now();
            }
        }
        wave.over.store(true, Ordering::Relaxed);
    }

    fn send(&mut self, carries: Carries, source: SocketAddr) {
        let port = if carries == Carries::Udp { 5353 } else { 8080 };
        let mut packet = Packet {
            src: source,
            dst: at(self.scene.host, port),
            ..packet(carries, "0.0.0.0:0", "0.0.0.0:0")
        };
        if carries != Carries::Udp {
            packet.payload.clear();
            packet.acknowledges = self.sources.wrapping_mul(0x2545_f491);
        }
        // A raw socket of IPv6 wants no port, which has a meaning of its own there.
        let to = at(self.scene.host, 0).into();
        // No room in a queue is as good as a loss on the way.
        if self.socket.send_to(&packet.network(), &to).is_ok() {
            self.sent += 1;
        }
    }

    /// All different: an odd factor makes a permutation.
    fn next_source(&mut self) -> SocketAddr {
        self.sources += 1;
        let number = self.sources.wrapping_mul(0x9e37_79b1) & 0x00ff_ffff;
        let prefix = net(self.scene.sources[(number >> 23) as usize]);
        let host = (number >> 15 & 0xff) as u8;
        let port = 1024 + (number & 0x7fff) as u16;
        match prefix.addr() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                at([a, b, c, host], port)
            }
            IpAddr::V6(ip) => at(Ipv6Addr::from(ip.to_bits() | u128::from(host)), port),
        }
    }
}

/// A listener that has room for all that may come at once.
fn listen(namespace: &Namespace, address: SocketAddr) -> Socket {
    let socket = namespace.run(|| Socket::new(Domain::for_address(address), Type::STREAM, None));
    let socket = socket.expect("a socket");
    socket.bind(&address.into()).expect("bound");
    socket.listen(4096).expect("listening");
    // Goes for `accept` too.
    let timeout = socket.set_read_timeout(Some(STREAM_TIMEOUT));
    timeout.expect("a socket");
    socket
}

/// The address that stands for every one of this family.
fn unspecified(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    }
}

/// Both ends of a thousand connections are ours.
fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised as far as it may be");
}

/// Sources in the containers' own subnet, from outside. Most distributions filter reverse paths loosely
/// (2), which such packets pass.
#[test]
fn a_flood_that_claims_to_come_from_containers_takes_no_room() {
    let scene = Scene {
        family: "IPv4",
        host: Lab::HOST.into(),
        container: [172, 17, 0, 2].into(),
        client: Lab::CLIENT.into(),
        sources: ["172.17.5.0/24", "172.17.6.0/24"],
        idle: 0,
        half_open: 64,
    };
    let lab = Lab::builder().build().expect("a lab");
    for interface in ["all", "eth0"] {
        let name = format!("net/ipv4/conf/{interface}/rp_filter");
        lab.host.sysctl(&name, "2").expect("a sysctl");
    }
    let listener = listen(&lab.containers[0].namespace, at(scene.container, 80));
    let arguments = [
        "--max-flows",
        "64",
        "--max-half-open",
        "64",
        "-p",
        "8080:80@172.17.0.2",
    ];
    let daemon = Daemon::run(&lab, &arguments);
    let mut flood = Flood::new(&scene, &lab.client);
    flood.wave(WAVES[0].1, scene.half_open, &Wave::default());
    Connection::open(&lab.client, &listener, at(Lab::HOST, 8080))
        .0
        .talk();
    let table = daemon.stop();
    assert!(!table.contains("(flow-table-full)"), "{table}");
}
