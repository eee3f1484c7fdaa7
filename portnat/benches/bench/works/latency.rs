//! How long a request takes, by sockperf.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use portnat::lab::{Lab, Namespace};

use super::{interleave, prepare};
use crate::ground::{Ground, INSIDE, Needs, PUBLISHED};
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::tools;

const SOCKPERF: &str = "sockperf";

/// What is told of the distribution, in percent.
const PERCENTILES: [(&str, &str); 3] = [("50.000", "p50"), ("99.000", "p99"), ("99.900", "p99.9")];

/// How many messages a second are a load, and after how many one is answered.
const LOAD: &str = "20000";
const ANSWERED: &str = "100";

/// A way to ask.
#[derive(Clone, Copy)]
enum Mode {
    /// One request after the other's answer.
    PingPong,
    /// Among many messages.
    UnderLoad,
}

/// Ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Neither fails but on one that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// (f)
pub(crate) fn requests(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(f)";
    let peers = options.peers(&Peer::REAL);
    let mut grounds = prepare(WHAT, &peers, 0, results, |peer| with_server(peer, &[]));
    interleave(
        WHAT,
        options,
        &mut grounds,
        results,
        |peer, (ground, _), results| {
            for (mode, case) in [(Mode::PingPong, "idle"), (Mode::UnderLoad, "under load")] {
                let (address, port) = ground.service();
                let latency = ask(&ground.lab.client, address, port, mode, &[], options)?;
                add(results, 'f', case, peer, latency);
            }
            Ok(())
        },
    );
    Ok(())
}

/// (m)
pub(crate) fn from_inside(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(m)";
    // By TCP: the proxy answers UDP from another address than was asked.
    const TCP: &[&str] = &["--tcp"];
    let peers = options.peers(&[Peer::Plain, Peer::DockerProxy, Peer::Portnat]);
    let mut grounds = prepare(WHAT, &peers, 0, results, |peer| with_server(peer, TCP));
    interleave(
        WHAT,
        options,
        &mut grounds,
        results,
        |peer, (ground, _), results| {
            let host = &ground.lab.host;
            let (address, port) = match peer {
                // What there is without a published port.
                Peer::Plain => ground.service(),
                _ => (Ipv4Addr::LOCALHOST, PUBLISHED),
            };
            let latency = ask(host, address, port, Mode::PingPong, TCP, options)?;
            add(results, 'm', "localhost", peer, latency);
            if peer.translates() {
                let inside = &ground.container().namespace;
                let latency = ask(inside, Lab::HOST, PUBLISHED, Mode::PingPong, TCP, options)?;
                add(results, 'm', "hairpin", peer, latency);
            }
            Ok(())
        },
    );
    Ok(())
}

fn add(results: &mut Results, work: char, case: &str, peer: Peer, latency: [f64; 3]) {
    for ((_, metric), value) in PERCENTILES.iter().zip(latency) {
        let subject = Subject {
            work,
            metric,
            case: case.to_owned(),
            unit: Unit::Microseconds,
        };
        results.add(&subject, peer, value);
    }
}

/// A ground with a server in the container.
fn with_server(peer: Peer, arguments: &[&str]) -> Result<(Ground, Server)> {
    let ground = Ground::new(peer, Needs::default())?;
    let container = ground.container();
    let child = container
        .namespace
        .command(SOCKPERF)
        .args(["server", "-i", &container.address.to_string()])
        .args(["-p", &INSIDE.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting sockperf (Debian: sockperf)")?;
    let server = Server(child);
    wait_for_listener(&container.namespace, !arguments.is_empty())?;
    Ok((ground, server))
}

/// Waits until somebody listens to the container's port.
fn wait_for_listener(namespace: &Namespace, tcp: bool) -> Result<()> {
    let (table, state) = if tcp {
        ("/proc/thread-self/net/tcp", " 0A ")
    } else {
        ("/proc/thread-self/net/udp", " 07 ")
    };
    let port = format!(":{INSIDE:04X} ");
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let sockets = namespace.run(|| std::fs::read_to_string(table))?;
        if sockets
            .lines()
            .any(|line| line.contains(&port) && line.contains(state))
        {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("sockperf does not listen");
}

/// The percentiles in microseconds, of half a round trip as sockperf tells it.
fn ask(
    namespace: &Namespace,
    address: Ipv4Addr,
    port: u16,
    mode: Mode,
    arguments: &[&str],
    options: &Options,
) -> Result<[f64; 3]> {
    let mut command = namespace.command(SOCKPERF);
    match mode {
        Mode::PingPong => command.arg("ping-pong"),
        Mode::UnderLoad => command.args(["under-load", "--mps", LOAD, "--reply-every", ANSWERED]),
    };
    // Whole seconds only.
    let seconds = options.seconds.ceil().to_string();
    command
        .args(["-i", &address.to_string(), "-p", &port.to_string()])
        .args(["-t", &seconds])
        .args(arguments);
    let said = tools::output(command, "")?;
    let mut latency = [0.0; 3];
    for ((percentile, name), value) in PERCENTILES.iter().zip(&mut latency) {
        *value = percentile_in(&said, percentile)
            .with_context(|| format!("sockperf does not tell {name}:\n{said}"))?;
    }
    ensure!(latency[0] > 0.0, "sockperf has measured nothing");
    Ok(latency)
}

/// `sockperf: ---> percentile 99.900 =   12.345`
fn percentile_in(said: &str, percentile: &str) -> Option<f64> {
    let line = said
        .lines()
        .find(|line| line.contains("percentile") && line.contains(percentile))?;
    line.split_once('=')?.1.trim().parse().ok()
}
