//! Whatever can happen to a host happens at random, under a load that must not break: connections, datagrams
//! and pings of both families, published and masqueraded.
//!
//! By itself it takes half a minute; `cargo xtask chaos --seconds N` lets it go on.

mod load;
mod turn;

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use portnat::lab::{Lab, Server};

use super::place::{Place, kill};
use crate::daemon::Daemon;
use crate::firewall::nft;
use crate::picture::{Holdings, Picture};
use crate::support::{eventually, tcp_server, udp_server};
use load::Load;
use turn::Turn;

/// How long, in seconds, where nobody says so.
const BRIEFLY: u64 = 30;

/// How much a daemon may grow while everything happens to it, in KiB: what its allocator keeps.
const GROWTH: u64 = 4096;

/// A host, what it publishes, and a container that moves.
struct Scene {
    lab: Lab,
    place: Place,
    /// The last byte of the second container's address.
    moved_to: u8,
    /// Ports beside those of the load, which come and go.
    extra: Vec<u16>,
    _servers: Vec<Server>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::builder().ipv6(true).containers(2).build();
        let lab = lab.expect("a lab");
        // A link that goes down and up keeps its addresses in IPv6 too, and has them at once.
        for link in ["all", Lab::UPLINK, Lab::BRIDGE] {
            for (name, value) in [("keep_addr_on_down", "1"), ("accept_dad", "0")] {
                let name = format!("net/ipv6/conf/{link}/{name}");
                lab.host.sysctl(&name, value).expect("set");
            }
        }
        // What is left to masquerade is less than a container asks for.
        let own = format!("1024 {}", u16::MAX - Turn::PORTS);
        let range = "net/ipv4/ip_local_port_range";
        lab.host.sysctl(range, &own).expect("set");
        let [steady, moving] = &lab.containers[..] else {
            panic!("two containers");
        };
        let servers = vec![
            tcp_server(&steady.namespace, steady.address, 80),
            tcp_server(&steady.namespace, steady.address_v6, 80),
            udp_server(&steady.namespace, steady.address, 53),
            udp_server(&moving.namespace, Ipv4Addr::UNSPECIFIED, 53),
            tcp_server(&lab.client, Lab::CLIENT, 7),
            udp_server(&lab.client, Lab::CLIENT, 7),
            udp_server(&lab.client, Lab::CLIENT_V6, 7),
        ];
        let scene = Scene {
            lab,
            place: Place::new(),
            moved_to: 3,
            extra: vec![9000],
            _servers: servers,
        };
        scene.write_config();
        scene
    }

    /// What is to be published, in order.
    fn wanted(&self) -> Vec<String> {
        let steady = &self.lab.containers[0];
        let (v4, v6) = (steady.address, steady.address_v6);
        let mut specs = vec![
            format!("0.0.0.0:8080:80@{v4}/tcp"),
            format!("[::]:8080:80@{v6}/tcp"),
            format!("0.0.0.0:5353:53@{v4}/udp"),
            format!("0.0.0.0:5354:53@172.17.0.{}/udp", self.moved_to),
        ];
        let extra = self.extra.iter();
        specs.extend(extra.map(|port| format!("0.0.0.0:{port}:80@{v4}/tcp")));
        specs.sort_unstable();
        specs
    }

    /// Has the config file say that.
    fn write_config(&self) {
        // It says the protocol behind the ports.
        let specs = self.wanted().into_iter().map(|spec| {
            let (spec, protocol) = spec.split_once('/').expect("a protocol");
            let (ports, target) = spec.split_once('@').expect("a target");
            format!("{ports}/{protocol}@{target}")
        });
        let text = format!("publish = {:?}\n", specs.collect::<Vec<_>>());
        fs::write(self.place.file(), text).expect("written");
    }

    fn daemon(&self) -> Daemon {
        let file = self.place.file();
        let file = file.to_str().expect("text");
        let flows = ["--max-flows", "1024", "--max-flows-per-container", "700"];
        let arguments = [&["--persist", "--config", file], &flows[..]].concat();
        self.place.run(&self.lab, &arguments)
    }

    /// What is published, in order.
    fn published(&self) -> Vec<String> {
        let report = self.place.told(&["ls", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let text = |port: &serde_json::Value, name| port[name].as_str().expect(name).to_owned();
        let number = |port: &serde_json::Value, name| port[name].as_u64().expect(name);
        let ports = report["ports"].as_array().expect("an array").iter();
        let mut ports: Vec<_> = ports
            .map(|port| {
                let address = match text(port, "address") {
                    v6 if v6.contains(':') => format!("[{v6}]"),
                    v4 => v4,
                };
                let (host, inside) = (number(port, "port"), number(port, "target_port"));
                let (target, protocol) = (text(port, "target"), text(port, "protocol"));
                format!("{address}:{host}:{inside}@{target}/{protocol}")
            })
            .collect();
        ports.sort_unstable();
        ports
    }
}

/// What a process holds on to: descriptors, threads, and KiB of memory.
fn held(pid: Pid) -> (usize, usize, u64) {
    let count = |folder: &str| {
        let entries = fs::read_dir(format!("/proc/{pid}/{folder}"));
        entries.expect("it runs").count()
    };
    let memory = crate::privileges::status(pid.as_raw(), "VmRSS");
    let memory = memory.split_whitespace().next().expect("a number");
    (
        count("fd"),
        count("task"),
        memory.parse().expect("a number"),
    )
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn everything_happens_and_nothing_breaks() {
    let seconds = number("PORTNAT_CHAOS_SECONDS").unwrap_or(BRIEFLY);
    let seed = number("PORTNAT_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: PORTNAT_CHAOS_SEED={seed} begins with the same turns");
    let mut dice = fastrand::Rng::with_seed(seed);

    let mut scene = Scene::new();
    let before = Picture::of(&scene.lab.host);
    let mut daemon = scene.daemon();
    let load = Load::start(&scene.lab);
    let mut turns = [0_u32; Turn::ALL.len()];
    // First all of them; then those that one daemon lives to see, which must not grow by that.
    for (turns_of, lives) in [(&Turn::ALL[..], false), (Turn::LIVED, true)] {
        let end = Instant::now() + Duration::from_secs(seconds) / 2;
        let first = held(daemon.pid());
        while Instant::now() < end {
            let turn = turns_of[dice.usize(..turns_of.len())];
            println!("{turn:?}");
            daemon = turn.happen(&mut scene, daemon, &mut dice);
            load.goes_on(&format!("after {turn:?}"));
            assert_eq!(scene.published(), scene.wanted(), "after {turn:?}");
            turns[Turn::ALL
                .iter()
                .position(|one| *one == turn)
                .expect("is one")] += 1;
        }
        // Both halves begin and end alike.
        scene.extra = vec![9000];
        scene.write_config();
        if lives {
            scene.place.told(&["reload"]);
            // A connection that parts and a thread that may be used again stay for seconds; a leak stays.
            let last = eventually("no more descriptors, threads, KiB", || {
                let last = held(daemon.pid());
                let grown =
                    last.0 > first.0 + 1 || last.1 > first.1 + 1 || last.2 > first.2 + GROWTH;
                if grown { Err((first, last)) } else { Ok(last) }
            });
            println!("descriptors, threads, KiB: {first:?}, then {last:?}");
        } else {
            kill(daemon);
            daemon = scene.daemon();
        }
    }
    for (turn, times) in Turn::ALL.iter().zip(turns) {
        println!("{times:4} × {turn:?}");
    }
    println!("{}", load.end());

    nft(&scene.lab.host, &["flush", "ruleset"], "");
    let holdings = Holdings::of(daemon.pid());
    daemon.stop();
    scene.place.clean_up(&scene.lab);
    assert_eq!(Picture::of(&scene.lab.host), before);
    assert!(scene.place.pinned().is_empty());
    assert!(scene.place.records().is_empty());
    holdings.wait_until_gone();
}
