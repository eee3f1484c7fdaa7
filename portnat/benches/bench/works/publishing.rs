//! What it takes to publish many ports, and whether packets pay for it.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use portnat::lab::Lab;

use super::memory::{maps, resident};
use super::{interleave, prepare};
use crate::ground::{Ground, INSIDE, Needs, PUBLISHED};
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::road::{Direction, Road};

/// How many ports are published at once.
const NUMBERS: [u32; 4] = [1, 100, 1000, 60_000];

/// Beyond so many, one rule after the other takes minutes.
const MOST_BY_RULES: u32 = 100;

/// The first port of the host; what is there by default lies elsewhere.
const FIRST: u16 = 2000;

/// How many flows show what packets pay.
const FLOWS: u32 = 64;

/// (h)
pub(crate) fn many_ports(options: &Options, results: &mut Results) -> Result<()> {
    let among = [Peer::IptablesLegacy, Peer::Portnat];
    for number in NUMBERS {
        let case = format!("{number} ports");
        let what = format!("(h), {case}");
        let mut peers = options.peers(&among);
        if number > MOST_BY_RULES && peers.contains(&Peer::IptablesLegacy) {
            peers.retain(|peer| *peer != Peer::IptablesLegacy);
            results.skip(format!("iptables-legacy in {what}: it takes minutes"));
        }
        let mut grounds = prepare(&what, &peers, 0, results, |peer| {
            Ground::new(peer, Needs::default())
        });
        interleave(
            &what,
            options,
            &mut grounds,
            results,
            |peer, ground, results| {
                let subject = |metric, unit| Subject {
                    work: 'h',
                    metric,
                    case: case.clone(),
                    unit,
                };
                let took = subject("time to publish", Unit::Microseconds);
                match peer {
                    Peer::Portnat => {
                        let published = by_portnat(ground, number)?;
                        results.add(&took, peer, published.microseconds);
                        let maps = subject("kernel memory of their entries", Unit::Bytes);
                        results.add(&maps, peer, published.maps);
                        let resident = subject("resident memory of the daemon", Unit::Bytes);
                        results.add(&resident, peer, published.resident);
                    }
                    _ => results.add(&took, peer, by_rules(ground, number)?),
                }
                Ok(())
            },
        );
    }
    Ok(())
}

/// What publishing came to.
struct Published {
    microseconds: f64,
    /// What maps have grown by, in bytes.
    maps: f64,
    /// What the daemon's own memory is, in bytes.
    resident: f64,
}

/// By one command, which is told the whole range and waits until it is published; afterwards nothing is.
fn by_portnat(ground: &Ground, number: u32) -> Result<Published> {
    let daemon = ground.daemon.as_ref().context("portnat runs")?;
    let target = ground.container().address.to_string();
    // What the ground has published is in the way, in the first round.
    let _ = daemon.ask(&["unpublish", &target]);
    let last = u32::from(FIRST) + number - 1;
    let range = format!("{FIRST}-{last}:{FIRST}-{last}");
    let before = maps(daemon.pid())?;
    let begun = Instant::now();
    let done = daemon.ask(&["publish", &target, "-p", &range]);
    let took = begun.elapsed();
    ensure!(done.status.success(), "{}", done.stderr.join(" "));
    let grown = maps(daemon.pid())?.saturating_sub(before);
    let resident = resident(daemon.pid())?;
    let undone = daemon.ask(&["unpublish", &target]);
    ensure!(undone.status.success(), "{}", undone.stderr.join(" "));
    Ok(Published {
        microseconds: took.as_secs_f64() * 1e6,
        maps: grown as f64,
        resident: resident as f64,
    })
}

/// A rule after the other, as Docker does it: whether it is there, and if not that it be. In
/// microseconds.
fn by_rules(ground: &Ground, number: u32) -> Result<f64> {
    let target = ground.container().address;
    let begun = Instant::now();
    for port in (u32::from(FIRST)..).take(number as usize) {
        for (table, chain, rule) in rules(target, port) {
            for action in ["-C", "-A"] {
                let status = ground
                    .lab
                    .host
                    .command("iptables-legacy")
                    .args(["-w", "-t", table, action, chain])
                    .args(rule.split(' '))
                    .stderr(Stdio::null())
                    .status()?;
                // It is not there.
                ensure!(
                    status.success() == (action == "-A"),
                    "iptables-legacy {action} {chain} {rule}: {status}"
                );
            }
        }
    }
    let took = begun.elapsed().as_secs_f64() * 1e6;
    for port in (u32::from(FIRST)..).take(number as usize) {
        for (table, chain, rule) in rules(target, port) {
            ground
                .lab
                .host
                .command("iptables-legacy")
                .args(["-w", "-t", table, "-D", chain])
                .args(rule.split(' '))
                .status()?;
        }
    }
    Ok(took)
}

/// Docker's rules for a port: the table, the chain and the rule.
fn rules(target: Ipv4Addr, port: u32) -> [(&'static str, &'static str, String); 3] {
    let bridge = Lab::BRIDGE;
    [
        (
            "nat",
            "DOCKER",
            format!("! -i {bridge} -p tcp --dport {port} -j DNAT --to-destination {target}:{port}"),
        ),
        (
            "filter",
            "DOCKER",
            format!("-d {target} ! -i {bridge} -o {bridge} -p tcp --dport {port} -j ACCEPT"),
        ),
        (
            "nat",
            "POSTROUTING",
            format!("-s {target} -d {target} -p tcp --dport {port} -j MASQUERADE"),
        ),
    ]
}

/// (i)
pub(crate) fn packets_beside(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(i)";
    // One after the other in each round: a machine that slows down slows all.
    let mut roads = Vec::new();
    for number in [1, 1000, 60_000] {
        let built = prepare(
            WHAT,
            &options.peers(&[Peer::Portnat]),
            FLOWS,
            results,
            |peer| {
                let road = Road::new(peer, Needs { flows: FLOWS }, Direction::In)?;
                publish(&road.ground, number)?;
                Ok(road)
            },
        );
        roads.extend(built.into_iter().map(|(_, road)| (number, road)));
    }
    for _ in 0..options.rounds {
        for (number, road) in &mut roads {
            let flow = road.published(FLOWS);
            road.open(&flow)?;
            let rate = road.measure(&flow, Direction::In, options)?;
            let subject = Subject {
                work: 'i',
                metric: "packets a second",
                case: format!("{number} ports"),
                unit: Unit::PerSecond,
            };
            results.add(&subject, Peer::Portnat, rate.delivered);
        }
        roads.rotate_left(1);
    }
    Ok(())
}

/// Has so many ports of UDP published, among them the one that packets come for.
fn publish(ground: &Ground, number: u32) -> Result<()> {
    let daemon = ground.daemon.as_ref().context("portnat runs")?;
    let target = ground.container().address.to_string();
    let _ = daemon.ask(&["unpublish", &target]);
    let first = u32::from(PUBLISHED);
    // As many as there are from there on, and the rest below.
    let above = number.min(u32::from(u16::MAX) - first + 1);
    let below = number - above;
    let inside = u32::from(INSIDE);
    let mut arguments = vec!["publish".to_owned(), target, "-p".to_owned()];
    arguments.push(format!(
        "{first}-{}:{inside}-{}/udp",
        first + above - 1,
        inside + above - 1
    ));
    if below > 0 {
        let last = u32::from(FIRST) + below - 1;
        arguments.push("-p".to_owned());
        arguments.push(format!("{FIRST}-{last}:{FIRST}-{last}/udp"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = daemon.ask(&arguments);
    ensure!(done.status.success(), "{}", done.stderr.join(" "));
    Ok(())
}
