//! Established flows go past the host's stack, and what the host has to say takes hold all the same.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portnat::flows::ListedFlow;
use portnat::lab::{Lab, Namespace, Server, probe};

use crate::daemon::Daemon;
use crate::firewall::nft;
use crate::support::{ANSWER, at, eventually, net, payload, seen_by, tcp_server, udp_server};

/// A firewall that trusts connection tracking, as ufw does, and counts what it sees.
const CONNTRACK: &str = "table inet guard {
    counter seen { }
    counter invalid { }
    chain forward {
        type filter hook forward priority 0; policy accept;
        counter name seen
        ct state invalid counter name invalid drop
        ct state established,related accept
    }
}";

/// How much is sent: long enough for several visits to the stack.
const LARGE: usize = 20 * 1024 * 1024;

/// What takes hold does so within this time: two seconds, and what a busy machine makes of them.
const SOON: Duration = Duration::from_secs(4);

/// A lab with a web server in its container, of both families, and the daemon.
struct Scene {
    lab: Lab,
    servers: [Server; 2],
    daemon: Daemon,
}

impl Scene {
    fn new(rules: &str, options: &[&str]) -> Self {
        let lab = Lab::builder().ipv6(true).build().expect("a lab");
        if !rules.is_empty() {
            nft(&lab.host, &["-f", "-"], rules);
        }
        let container = &lab.containers[0];
        let targets = [IpAddr::from(container.address), container.address_v6.into()];
        let servers = targets.map(|target| tcp_server(&container.namespace, target, 80));
        let publish = targets.map(|target| format!("8080:80@{target}"));
        let arguments = ["-p", &publish[0], "-p", &publish[1]];
        let daemon = Daemon::run(&lab, &[&arguments[..], options].concat());
        Scene {
            lab,
            servers,
            daemon,
        }
    }

    /// A connection from outside to the published port, by either family.
    fn connect(&self, host: IpAddr) -> TcpStream {
        connect(&self.lab.client, host, 8080)
    }

    /// Talks until the flow goes past the stack in both directions.
    fn become_fast(&self, stream: &mut TcpStream) {
        eventually("a fast flow", || {
            talk(stream).map_err(|error| error.to_string())?;
            match &*self.path(stream) {
                "fast" => Ok(()),
                path => Err(path.to_owned()),
            }
        });
    }

    /// How the flow's packets go.
    fn path(&self, stream: &TcpStream) -> String {
        let port = stream.local_addr().expect("an address").port();
        let told = self.daemon.told(&["flows", "--json"]);
        let flows: Vec<ListedFlow> = serde_json::from_str(&told).expect("JSON");
        let own = |flow: &&ListedFlow| flow.original.source_port == port;
        flows
            .iter()
            .find(own)
            .map_or_else(|| "none".to_owned(), |flow| flow.path.to_string())
    }

    /// How many packets a counter of [`CONNTRACK`] has.
    fn counted(&self, counter: &str) -> u64 {
        let arguments = ["list", "counter", "inet", "guard", counter];
        let told = nft(&self.lab.host, &arguments, "");
        let words: Vec<_> = told.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "packets");
        words[at.expect("a counter") + 1].parse().expect("a number")
    }

    /// Runs `ip` in the host.
    fn ip(&self, arguments: &[&str]) {
        let status = self.lab.host.command("ip").args(arguments).status();
        assert!(status.expect("ip is installed").success(), "{arguments:?}");
    }
}

const HOSTS: [IpAddr; 2] = [IpAddr::V4(Lab::HOST), IpAddr::V6(Lab::HOST_V6)];

fn connect(namespace: &Namespace, address: IpAddr, port: u16) -> TcpStream {
    let stream = probe::tcp_connect(namespace, None, at(address, port)).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).expect("a timeout");
    stream
}

/// Something is said there and back.
fn talk(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = [0; 4];
    stream.write_all(b"talk")?;
    stream.read_exact(&mut answer)
}

/// Talks until nobody answers.
fn fall_silent(stream: &mut TcpStream) {
    let began = Instant::now();
    let soon = Some(Duration::from_millis(500));
    stream.set_read_timeout(soon).expect("a timeout");
    loop {
        let asked = began.elapsed();
        if talk(stream).is_err() {
            return;
        }
        assert!(asked < SOON, "it goes on as if nothing had been said");
    }
}

/// There are few packets that the firewall sees, none that it calls invalid, and both sides see the
/// end.
#[test]
fn a_large_transfer_ends_well_under_a_firewall_that_trusts_connection_tracking() {
    let scene = Scene::new(CONNTRACK, &[]);
    for (host, server) in HOSTS.into_iter().zip(&scene.servers) {
        let before = scene.counted("seen");
        let sent = payload(LARGE);
        let answer = probe::tcp_echo(&scene.lab.client, at(host, 8080), &sent).expect("all of it");
        assert!(answer == sent, "something else comes back");
        let client = if host.is_ipv4() {
            IpAddr::from(Lab::CLIENT)
        } else {
            Lab::CLIENT_V6.into()
        };
        assert_eq!(seen_by(server), [client]);
        // Two thousand packets of 64 KiB at the very least, if all went through the stack.
        let seen = scene.counted("seen") - before;
        assert!((6..400).contains(&seen), "the firewall saw {seen} packets");
    }
    assert_eq!(scene.counted("invalid"), 0);
    let table = scene.daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}

/// What a container opens, too, and by way of its host's address.
#[test]
fn a_containers_own_connections_go_past_the_stack() {
    let scene = Scene::new(CONNTRACK, &[]);
    let container = &scene.lab.containers[0].namespace;
    for address in [IpAddr::from(Lab::CLIENT), Lab::CLIENT_V6.into()] {
        let server = tcp_server(&scene.lab.client, address, 443);
        let mut stream = connect(container, address, 443);
        scene.become_fast(&mut stream);
        let host = if address.is_ipv4() {
            HOSTS[0]
        } else {
            HOSTS[1]
        };
        assert_eq!(seen_by(&server), [host]);
    }
    assert_eq!(scene.counted("invalid"), 0);
}

#[test]
fn a_new_rule_takes_hold_at_once_for_new_and_soon_for_running_connections() {
    let scene = Scene::new(CONNTRACK, &[]);
    let mut streams = HOSTS.map(|host| scene.connect(host));
    for stream in &mut streams {
        scene.become_fast(stream);
    }
    let rule = [
        "insert", "rule", "inet", "guard", "forward", "tcp", "dport", "80", "drop",
    ];
    nft(&scene.lab.host, &rule, "");
    for host in HOSTS {
        probe::tcp_connect(&scene.lab.client, None, at(host, 8080)).expect_err("dropped");
    }
    for stream in &mut streams {
        fall_silent(stream);
    }
}

/// A firewall refuses in the container's name, and nobody would know the container's address.
#[test]
fn a_reset_of_the_firewalls_comes_from_the_published_port() {
    let scene = Scene::new(CONNTRACK, &[]);
    let mut running = HOSTS.map(|host| scene.connect(host));
    for stream in &mut running {
        scene.become_fast(stream);
    }
    let rule = "insert rule inet guard forward tcp dport 80 reject with tcp reset";
    nft(&scene.lab.host, &["-f", "-"], rule);
    for host in HOSTS {
        let refused = probe::tcp_connect(&scene.lab.client, None, at(host, 8080));
        let refused = refused.expect_err("the firewall refuses");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{host}");
    }
    for mut stream in running {
        let began = Instant::now();
        let reset = loop {
            let asked = began.elapsed();
            match talk(&mut stream) {
                Err(error) => break error,
                Ok(()) => assert!(asked < SOON, "it is not refused"),
            }
        };
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_route_that_is_taken_away_is_not_taken_any_more() {
    let scene = Scene::new("", &[]);
    let mut stream = scene.connect(HOSTS[0]);
    scene.become_fast(&mut stream);
    let client = Lab::CLIENT.to_string();
    scene.ip(&["route", "add", "blackhole", &client]);
    fall_silent(&mut stream);
    scene.ip(&["route", "del", "blackhole", &client]);
    let mut again = scene.connect(HOSTS[0]);
    scene.become_fast(&mut again);
}

/// The daemon cannot attach anything to the new one; packets find it all the same.
#[test]
fn a_veth_that_is_replaced_under_a_stopped_daemon_is_found() {
    let scene = Scene::new("", &[]);
    let mut stream = scene.connect(HOSTS[0]);
    scene.become_fast(&mut stream);
    scene.daemon.signal(Signal::SIGSTOP);
    let container = &scene.lab.containers[0];
    let (inside, host) = (container.namespace.links(), scene.lab.host.links());
    let bridge = &scene.lab.bridges[0];
    inside
        .delete("eth0")
        .and_then(|()| inside.add_veth("eth0", &scene.lab.host, "veth-new"))
        .and_then(|()| host.set_master("veth-new", &bridge.name))
        .and_then(|()| inside.add_address("eth0", net("172.17.0.2/16")))
        .and_then(|()| inside.add_default_route(bridge.gateway.into()))
        .expect("another veth");
    eventually("an answer by the new one", || talk(&mut stream));
    scene.daemon.signal(Signal::SIGCONT);
}

/// A bridge that forgets where its containers are floods, and nobody gets another's packets for it.
#[test]
fn a_bridge_that_floods_costs_nothing() {
    let lab = Lab::builder().containers(2).build().expect("a lab");
    let container = &lab.containers[0];
    let _server = udp_server(&container.namespace, container.address, 53);
    let daemon = Daemon::run(&lab, &["-p", "5353:53/udp@172.17.0.2"]);
    let socket = probe::udp_connect(&lab.client, None, at(Lab::HOST, 5353)).expect("a socket");
    let talk = || {
        let mut answer = [0; 8];
        socket.send(b"hello")?;
        socket.recv(&mut answer)
    };
    let status = lab
        .host
        .command("ip")
        .args([
            "link",
            "set",
            "docker0",
            "type",
            "bridge",
            "ageing_time",
            "0",
        ])
        .status();
    assert!(status.expect("ip is installed").success());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        talk().expect("an answer to each");
    }
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}

/// A flow that pauses is seen by the firewall when it goes on: connection tracking may have forgotten
/// it.
#[test]
fn a_pause_ends_in_the_stack() {
    let scene = Scene::new(CONNTRACK, &[]);
    let mut stream = scene.connect(HOSTS[0]);
    scene.become_fast(&mut stream);
    eventually("a pause", || match &*scene.path(&stream) {
        "stack" => Ok(()),
        path => Err(path.to_owned()),
    });
    let before = scene.counted("seen");
    talk(&mut stream).expect("an answer");
    assert!(scene.counted("seen") >= before + 2, "both directions");
}

#[test]
fn it_can_be_switched_off_and_then_all_is_as_without_it() {
    let scene = Scene::new(CONNTRACK, &["--fast-path", "off"]);
    let liberal = "net/netfilter/nf_conntrack_tcp_be_liberal";
    assert_eq!(scene.lab.host.sysctl_get(liberal).expect("conntrack"), "0");
    let mut stream = scene.connect(HOSTS[0]);
    let began = Instant::now();
    let (before, mut turns) = (scene.counted("seen"), 0);
    while began.elapsed() < Duration::from_millis(500) {
        talk(&mut stream).expect("an answer");
        turns += 1;
    }
    assert!(scene.counted("seen") - before >= 2 * turns);
    assert_eq!(scene.path(&stream), "stack");
}

/// The sysctl is set for as long as portnat runs.
#[test]
fn connection_tracking_is_told_and_told_again_at_the_end() {
    let liberal = "net/netfilter/nf_conntrack_tcp_be_liberal";
    let scene = Scene::new(CONNTRACK, &[]);
    let host = &scene.lab.host;
    assert_eq!(host.sysctl_get(liberal).expect("conntrack"), "1");
    scene.daemon.stop();
    assert_eq!(host.sysctl_get(liberal).expect("conntrack"), "0");
}

#[test]
fn translated_packets_are_marked_for_the_hosts_rules() {
    const RULES: &str = "table inet marked {
        counter ours { }
        counter others { }
        chain forward {
            type filter hook forward priority 0; policy accept;
            meta mark & 0xff00 == 0x1200 counter name ours
            meta mark & 0xff00 != 0x1200 counter name others
        }
    }";
    let scene = Scene::new(RULES, &["--mark", "0x1200/0xff00", "--fast-path", "off"]);
    let dns = udp_server(&scene.lab.client, Lab::CLIENT, 53);
    let mut stream = scene.connect(HOSTS[0]);
    talk(&mut stream).expect("an answer");
    let container = &scene.lab.containers[0].namespace;
    probe::udp_echo(container, dns.address(), b"?").expect("an answer");
    let counted = |name| {
        nft(
            &scene.lab.host,
            &["list", "counter", "inet", "marked", name],
            "",
        )
    };
    // What the container sends is translated behind the rules.
    for name in ["ours", "others"] {
        assert!(!counted(name).contains("packets 0 "), "{name}");
    }
}
