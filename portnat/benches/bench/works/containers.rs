//! What a `docker run -p` takes, Docker's own way and with portnat.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use portnat::lab::Lab;

use crate::daemon::Daemon;
use crate::dockerd::{Dockerd, WITHOUT_RULES, Which, sleeping};
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::support::INTERVAL;

/// How many ports in a row a container has.
const NUMBERS: [u16; 4] = [1, 100, 500, 5000];

/// The first port of the host, and of the container; what is there by default lies elsewhere.
const FIRST: u16 = 10_000;

/// Each round starts Dockers anew, which takes longer than most of what is measured.
const MOST_ROUNDS: u32 = 3;

/// Who is not done by then is not waited for.
const LIMIT: Duration = Duration::from_secs(90);

/// For how long what is there afterwards comes to rest.
const REST: Duration = Duration::from_secs(1);

/// What one of them took.
enum Taken {
    Done {
        seconds: f64,
        memory: f64,
    },
    /// Not within [`LIMIT`].
    TooLong,
}

/// (p)
pub(crate) fn with_ports(options: &Options, results: &mut Results) -> Result<()> {
    let among = [Peer::DockerStable, Peer::DockerNewest, Peer::Portnat];
    let mut peers = options.peers(&among);
    peers.retain(|peer| {
        // portnat is beside the newest Docker.
        let needed = if peer.is_portnat() {
            Peer::DockerNewest
        } else {
            *peer
        };
        let lack = needed.missing();
        if let Some(lack) = &lack {
            results.skip(format!("{} in (p): {lack}", peer.name()));
        }
        lack.is_none()
    });
    let mut given_up = BTreeSet::new();
    for _ in 0..options.rounds.min(MOST_ROUNDS) {
        for number in NUMBERS {
            for peer in &peers {
                if given_up.contains(&(*peer, number)) {
                    continue;
                }
                let again = once(*peer, number, results).unwrap_or_else(|error| {
                    let peer = peer.name();
                    results.skip(format!("{peer} in (p), {number} ports: {error:#}"));
                    false
                });
                if !again {
                    given_up.insert((*peer, number));
                }
            }
        }
        if !peers.is_empty() {
            peers.rotate_left(1);
        }
    }
    Ok(())
}

/// Returns whether it is worth another time.
fn once(peer: Peer, number: u16, results: &mut Results) -> Result<bool> {
    let case = format!("{number} ports");
    crate::say(&format!("(p), {case}: {}", peer.name()));
    // In a test it would be enough to panic.
    let run = AssertUnwindSafe(|| measure(peer, number));
    let taken = catch_unwind(run).map_err(|_| anyhow!("{} did not get ready", peer.name()))?;
    let subject = |metric, unit| Subject {
        work: 'p',
        metric,
        case: case.clone(),
        unit,
    };
    match taken? {
        Taken::Done { seconds, memory } => {
            results.add(
                &subject("time until it is published", Unit::Seconds),
                peer,
                seconds,
            );
            let all = subject("what all processes have more (Pss)", Unit::Bytes);
            results.add(&all, peer, memory);
            Ok(true)
        }
        Taken::TooLong => {
            let limit = LIMIT.as_secs();
            results.skip(format!(
                "{} in (p), {case}: not done after {limit} s",
                peer.name()
            ));
            Ok(false)
        }
    }
}

fn measure(peer: Peer, number: u16) -> Result<Taken> {
    let lab = Lab::builder().containers(0).ipv6(true).build()?;
    let (which, arguments) = match peer {
        Peer::DockerStable => (Which::Stable, &[][..]),
        Peer::DockerNewest => (Which::Newest, &[][..]),
        _ => (Which::Newest, &WITHOUT_RULES[..]),
    };
    let docker = Dockerd::start(&lab.host, which, arguments).ok_or_else(|| anyhow!("no Docker"))?;
    let portnat = peer
        .is_portnat()
        .then(|| Daemon::run(&lab, &["--docker", &docker.socket()]));
    // What is loaded once is not a port's.
    docker.run("warm", &[]);
    thread::sleep(REST);
    let before = memory()?;

    let last = FIRST + (number - 1);
    let ports = format!("{FIRST}-{last}:{FIRST}-{last}");
    let run = ["run", "-d", "--name", "web", "-p", &ports];
    let begun = Instant::now();
    if !is_done(docker.command(&[&run[..], &sleeping()].concat()), begun)? {
        return Ok(Taken::TooLong);
    }
    if let Some(portnat) = &portnat {
        let end = format!("{last}\n");
        while !portnat.ask(&["port", "web"]).stdout.ends_with(&end) {
            if begun.elapsed() > LIMIT {
                return Ok(Taken::TooLong);
            }
            thread::sleep(INTERVAL);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    thread::sleep(REST);
    let memory = memory()?.saturating_sub(before);
    Ok(Taken::Done {
        seconds,
        memory: memory as f64,
    })
}

/// Whether a command has done its work within the limit; it is ended then.
fn is_done(mut command: Command, begun: Instant) -> Result<bool> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "docker run: {status}");
            return Ok(true);
        }
        if begun.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(INTERVAL);
    }
}

/// What all processes have together that we have started, in bytes: pages of several by parts.
fn memory() -> Result<u64> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let id: Option<u32> = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, in which anything may stand: the state, the parent.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parents.extend(id.zip(parent));
    }
    let own = std::process::id();
    let mut ours = BTreeSet::from([own]);
    loop {
        let many = ours.len();
        let children = parents.iter().filter(|(_, parent)| ours.contains(parent));
        let children: Vec<u32> = children.map(|(id, _)| *id).collect();
        ours.extend(children);
        if ours.len() == many {
            break;
        }
    }
    ours.remove(&own);
    let of_one = |id: &u32| {
        // It may have ended meanwhile.
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Ok(ours.iter().filter_map(of_one).sum::<u64>() * 1024)
}
