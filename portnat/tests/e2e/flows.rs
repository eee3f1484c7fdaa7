//! Flows are told and ended.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use portnat::flows::{FlowList, ListedFlow};
use portnat::lab::{Lab, Server, probe};
use portnat::report::Report;

use crate::daemon::{Daemon, row};
use crate::support::{CONTAINER, at, eventually, tcp_server, udp_server};

const PUBLISH: [&str; 4] = ["-p", "8080:80@172.17.0.2", "-p", "5353:53/udp@172.17.0.2"];

/// A host with four flows: a client's by TCP and UDP, and a container's by TCP and ping.
struct Scene {
    daemon: Daemon,
    client: SocketAddr,
    datagrams: UdpSocket,
    web: TcpStream,
    outward: SocketAddr,
    _streams: [TcpStream; 1],
    _servers: [Server; 3],
    _lab: Lab,
}

impl Scene {
    fn set() -> Self {
        let lab = Lab::builder().build().expect("a lab");
        let container = &lab.containers[0];
        let servers = [
            tcp_server(&container.namespace, container.address, 80),
            udp_server(&container.namespace, container.address, 53),
            tcp_server(&lab.client, Lab::CLIENT, 443),
        ];
        let daemon = Daemon::run(&lab, &PUBLISH);
        let open = probe::tcp_connect(&lab.client, None, at(Lab::HOST, 8080));
        let web = talk(open.expect("a connection"));
        let open = probe::tcp_connect(&container.namespace, None, at(Lab::CLIENT, 443));
        let outward = talk(open.expect("a connection"));
        let datagrams = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353));
        let datagrams = datagrams.expect("a socket");
        ask(&datagrams);
        probe::ping(&container.namespace, Lab::CLIENT, 7, 1).expect("an answer");
        Scene {
            daemon,
            client: web.local_addr().expect("is bound"),
            datagrams,
            web,
            outward: outward.local_addr().expect("is bound"),
            _streams: [outward],
            _servers: servers,
            _lab: lab,
        }
    }

    #[track_caller]
    fn flows(&self, filters: &[&str]) -> Vec<ListedFlow> {
        flows(&self.daemon, filters)
    }

    /// The protocols of the flows that these filters let pass, in the order of the alphabet.
    #[track_caller]
    fn protocols(&self, filters: &[&str]) -> Vec<String> {
        let flows = self.flows(filters);
        let mut protocols: Vec<_> = flows.iter().map(|flow| flow.protocol.to_string()).collect();
        protocols.sort();
        protocols
    }
}

#[track_caller]
fn flows(daemon: &Daemon, filters: &[&str]) -> Vec<ListedFlow> {
    let json = daemon.told(&[&["flows", "--json"], filters].concat());
    let FlowList(flows) = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
    flows
}

/// Says something on a connection and hears it again.
fn talk(mut stream: TcpStream) -> TcpStream {
    stream.write_all(b"hello").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("an answer");
    stream
}

fn ask(socket: &UdpSocket) {
    socket.send(b"hello").expect("sent");
    assert_eq!(socket.recv(&mut [0; 16]).expect("an answer"), 5);
}

fn ends(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> String {
    format!("{} -> {}", source.into(), destination.into())
}

#[track_caller]
fn one(flows: &[ListedFlow], meant: impl Fn(&ListedFlow) -> bool) -> &ListedFlow {
    let found: Vec<_> = flows.iter().filter(|flow| meant(flow)).collect();
    let [flow] = found[..] else {
        panic!("not one, but {found:?} of {flows:#?}");
    };
    flow
}

#[test]
fn each_flow_is_told_once_with_both_its_directions() {
    let scene = Scene::set();
    let target: IpAddr = CONTAINER.parse().expect("an address");
    let flows = scene.flows(&[]);
    assert_eq!(flows.len(), 4, "{flows:#?}");
    assert!(
        flows.iter().all(|flow| flow.idle_seconds < 60),
        "{flows:#?}"
    );

    let web = one(&flows, |flow| {
        flow.published.as_deref() == Some("0.0.0.0:8080/tcp")
    });
    assert_eq!(web.protocol.to_string(), "tcp");
    assert_eq!(web.state, "established");
    assert_eq!(
        web.original.to_string(),
        ends(scene.client, at(Lab::HOST, 8080))
    );
    assert_eq!(
        web.translated.to_string(),
        ends(scene.client, at(target, 80))
    );
    // SYN, ACK and data; SYN-ACK and data.
    assert!(web.traffic.packets_in >= 3, "{web:?}");
    assert!(web.traffic.packets_out >= 2, "{web:?}");

    let dns = one(&flows, |flow| {
        flow.published.as_deref() == Some("0.0.0.0:5353/udp")
    });
    assert_eq!(dns.state, "answered");
    // IPv4's and UDP's header, and what was said.
    let traffic = &dns.traffic;
    assert_eq!([traffic.packets_in, traffic.packets_out], [1, 1]);
    assert_eq!([traffic.bytes_in, traffic.bytes_out], [33, 33]);

    let outward = one(&flows, |flow| flow.original.destination_port == 443);
    assert_eq!(
        (&*outward.state, &outward.published),
        ("established", &None)
    );
    assert_eq!(
        outward.original.to_string(),
        ends(scene.outward, at(Lab::CLIENT, 443))
    );
    assert_eq!(outward.translated.source, IpAddr::from(Lab::HOST));
    assert_eq!(outward.translated.destination, IpAddr::from(Lab::CLIENT));

    let ping = one(&flows, |flow| flow.protocol.to_string() == "icmp");
    assert_eq!((&*ping.state, &ping.published), ("query", &None));
    assert_eq!(ping.original.source, target);
    assert_eq!(ping.translated.source, IpAddr::from(Lab::HOST));

    // The same for people.
    let table = scene.daemon.told(&["flows"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    let line = table.lines().find(|line| line.contains(":8080/tcp"));
    let words: Vec<_> = line.expect("a line").split_whitespace().collect();
    assert_eq!(words[..2], ["tcp", "established"], "{table}");
    assert!(["fast", "stack"].contains(&words[2]), "{table}");
    let tuples = format!("{} {}", web.original, web.translated);
    assert_eq!(words[5..11].join(" "), tuples, "{table}");
    scene.daemon.stop();
}

/// A FIN is seen, and the flow stays for those that come late.
#[test]
fn a_closed_connection_is_closing() {
    let scene = Scene::set();
    drop(scene.web);
    eventually("closing the connection", || {
        let flows = flows(&scene.daemon, &["--port", "8080"]);
        let web = one(&flows, |_| true);
        (web.state == "closing")
            .then_some(())
            .ok_or(web.state.clone())
    });
    scene.daemon.stop();
}

#[test]
fn filters() {
    let scene = Scene::set();
    let client = scene.client.to_string();
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--port", "8080"], &["tcp"]),
        (&["--port", "0.0.0.0:5353/udp"], &["udp"]),
        (&["--port", "192.0.2.1:5353"], &["udp"]),
        (&["--port", "5353/tcp"], &[]),
        (&["--target", "172.17.0.2"], &["tcp", "udp"]),
        (&["--target", "172.17.0.2:53"], &["udp"]),
        (&["--client", "172.17.0.0/16"], &["icmp", "tcp"]),
        (&["--client", &client], &["tcp"]),
        (&["--client", "192.0.2.0/24", "--proto", "udp"], &["udp"]),
        (&["--proto", "tcp"], &["tcp", "tcp"]),
        (&["--proto", "icmp"], &["icmp"]),
        (&["--client", "::/0"], &[]),
        (&["--port", "8080", "--target", "172.17.0.2:53"], &[]),
    ];
    for (filters, protocols) in cases {
        assert_eq!(scene.protocols(filters), protocols, "{filters:?}");
    }
    let ended = scene.daemon.ask(&["flows", "--port", "http"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    let [line] = &ended.stderr[..] else {
        panic!("not one line: {ended:#?}");
    };
    assert!(line.contains("no port of the host: \"http\""), "{line}");
    scene.daemon.stop();
}

#[test]
fn flows_that_are_flushed_are_gone() {
    let scene = Scene::set();
    let flush = |filters: &[&str]| scene.daemon.told(&[&["flows", "flush"], filters].concat());
    assert_eq!(flush(&["--client", "198.51.100.0/24"]), "ended 0 flows\n");
    assert_eq!(
        flush(&["--proto", "udp", "--port", "5353"]),
        "ended 1 flow\n"
    );
    assert_eq!(scene.protocols(&[]), ["icmp", "tcp", "tcp"]);
    // What it has carried is not forgotten, and the next datagram begins anew.
    let table = scene.daemon.told(&["ls"]);
    let dns = row(&table, "0.0.0.0:5353/udp");
    assert_eq!([dns.flows, dns.packets_in, dns.packets_out], [0, 1, 1]);
    ask(&scene.datagrams);
    assert_eq!(scene.protocols(&["--port", "5353"]), ["udp"]);
    assert_eq!(
        row(&scene.daemon.told(&["ls"]), "0.0.0.0:5353/udp").packets_in,
        2
    );

    // An acknowledgement that comes late is a new beginning too.
    eventually("ending all", || {
        flush(&["--all"]);
        let left = scene.flows(&[]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    scene.daemon.stop();
}

#[test]
fn not_everything_is_flushed_by_mistake() {
    let scene = Scene::set();
    let ended = scene.daemon.ask(&["flows", "flush"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    assert!(ended.stderr[0].contains("--all"), "{ended:#?}");
    let ended = scene
        .daemon
        .ask(&["flows", "flush", "--all", "--proto", "tcp"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    assert_eq!(scene.flows(&[]).len(), 4);
    scene.daemon.stop();
}

/// More than fits in one piece of an answer, and is ended at a time.
#[test]
fn many_flows_of_ipv6() {
    const FLOWS: usize = 600;
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0];
    let target = container.address_v6;
    let _server = udp_server(&container.namespace, target, 53);
    let publish = format!("5353:53/udp@{target}");
    // On a machine with much to do the last one may be long in coming.
    let patient = ["--timeout", "udp-half-open=600", "--max-half-open", "4096"];
    let daemon = Daemon::run(&lab, &[&patient[..], &["-p", &publish]].concat());
    let open = || {
        let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST_V6, 5353));
        let socket = socket.expect("a socket");
        ask(&socket);
        socket
    };
    let sockets: Vec<_> = (0..FLOWS).map(|_| open()).collect();
    let source = |socket: &UdpSocket| socket.local_addr().expect("is bound");
    let mut asked: Vec<_> = sockets.iter().map(source).collect();
    let flows = flows(&daemon, &["--port", "[::]:5353"]);
    let source = |flow: &ListedFlow| at(flow.original.source, flow.original.source_port);
    let mut told: Vec<_> = flows.iter().map(source).collect();
    asked.sort();
    told.sort();
    assert_eq!(told.len(), asked.len());
    assert!(told == asked, "others are told of");
    assert!(
        flows
            .iter()
            .all(|flow| flow.translated.destination == IpAddr::from(target))
    );

    let flushed = daemon.told(&["flows", "flush", "--target", &format!("[{target}]:53")]);
    assert_eq!(flushed, format!("ended {FLOWS} flows\n"));
    assert_eq!(daemon.told(&["flows", "--json"]), "[\n]\n");
    daemon.stop();
}

/// What SIGUSR1 and the end print.
#[test]
fn ls_is_the_table_at_the_end() {
    let scene = Scene::set();
    drop(scene.web);
    let table = scene.daemon.told(&["ls"]);
    let json = scene.daemon.told(&["ls", "--json"]);
    let report: Report = serde_json::from_str(&json).expect("JSON");
    // Each in both families.
    assert_eq!(report.ports.len(), 4, "{json}");
    let dns = &report.ports[2];
    assert_eq!(
        (dns.sides.port, dns.sides.target_port, dns.totals.flows),
        (5353, 53, 1)
    );
    assert_eq!(dns.totals.traffic.bytes_out, 33);
    let at_the_end = scene.daemon.stop();
    for table in [&table, &at_the_end] {
        assert_eq!(row(table, "0.0.0.0:5353/udp").bytes_out, 33, "{table}");
        assert_eq!(row(table, "0.0.0.0:8080/tcp").flows, 1, "{table}");
    }
    let heading = |table: &str| table.lines().next().map(str::to_owned);
    assert_eq!(heading(&table), heading(&at_the_end));
}
