//! One TCP connection that carries as much as it can.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{interleave, prepare};
use crate::ground::{Ground, INSIDE, Needs};
use crate::machine;
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::talk::{self, Threads};

/// (g)
pub(crate) fn bulk(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(g)";
    let peers = options.peers(&Peer::REAL);
    let mut grounds = prepare(WHAT, &peers, 0, results, |peer| {
        let ground = Ground::new(peer, Needs::default())?;
        let container = ground.container();
        let server = talk::swallow(&container.namespace, (container.address, INSIDE))?;
        Ok((ground, server))
    });
    interleave(
        WHAT,
        options,
        &mut grounds,
        results,
        |peer, (ground, server), results| {
            let (gbits, cpu) = pour(ground, server, options)?;
            let subject = |metric, unit| Subject {
                work: 'g',
                metric,
                case: "one connection".to_owned(),
                unit,
            };
            results.add(&subject("throughput", Unit::GbitPerSecond), peer, gbits);
            // Of the whole machine: who else works on it is seen here, too.
            results.add(&subject("CPU time", Unit::CpuSecondsPerGbit), peer, cpu);
            Ok(())
        },
    );
    Ok(())
}

/// Gbit a second, and seconds of CPU time for each Gbit.
fn pour(ground: &Ground, server: &Threads, options: &Options) -> Result<(f64, f64)> {
    let client = talk::pour(&ground.lab.client, ground.service());
    thread::sleep(options.warm_up());
    let (started, bytes, busy) = (Instant::now(), server.done(), machine::busy()?);
    thread::sleep(options.time());
    let (bytes, busy) = (server.done() - bytes, machine::busy()? - busy);
    let seconds = started.elapsed().as_secs_f64();
    ensure!(
        bytes > 0,
        "nothing gets through ({} failures)",
        client.failed()
    );
    let gbits = bytes as f64 * 8.0 / 1e9;
    Ok((gbits / seconds, busy / gbits))
}
