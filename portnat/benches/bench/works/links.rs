//! How long nothing leaves a container when an interface goes and comes again.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portnat::lab::Lab;

use super::{interleave, prepare};
use crate::event::Event;
use crate::ground::{Ground, Needs};
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};

/// What happens, and what it is called.
const CASES: [(Event, &str); 3] = [
    (Event::Veth, "a container's veth"),
    (Event::Bridge, "the bridge"),
    (Event::Address, "the uplink's address"),
];

/// How long one packet is waited for before the next is sent.
const PATIENCE: Duration = Duration::from_micros(200);
/// And how long for all of them.
const LONGEST: Duration = Duration::from_secs(20);

/// (o)
pub(crate) fn that_come_again(options: &Options, results: &mut Results) -> Result<()> {
    let peers = options.peers(&[
        Peer::Plain,
        Peer::IptablesLegacy,
        Peer::Nftables,
        Peer::Portnat,
    ]);
    for (event, case) in CASES {
        let what = format!("(o), {case}");
        for round in 0..options.rounds {
            // A host is as new each time: what has gone and come once is not what it was.
            let mut grounds = prepare(&what, &peers, 0, results, |peer| {
                Ground::new(peer, Needs::default())
            });
            let turn = round as usize % grounds.len().max(1);
            grounds.rotate_left(turn);
            interleave(
                &what,
                &options.once(),
                &mut grounds,
                results,
                |peer, ground, results| {
                    let subject = Subject {
                        work: 'o',
                        metric: "time until packets leave again",
                        case: case.to_owned(),
                        unit: Unit::Microseconds,
                    };
                    let took = until_back(ground, event)?;
                    results.add(&subject, peer, took.as_secs_f64() * 1e6);
                    Ok(())
                },
            );
        }
    }
    Ok(())
}

/// From before it happens until a packet of the container's has arrived outside, with the address that
/// it should have.
fn until_back(ground: &Ground, event: Event) -> Result<Duration> {
    let from = match ground.peer.translates() {
        true => event.host(),
        false => ground.container().address.into(),
    };
    let outside = ground
        .lab
        .client
        .run(|| UdpSocket::bind((Lab::CLIENT, 0)))?;
    outside.set_read_timeout(Some(PATIENCE))?;
    let to = outside.local_addr()?;
    ensure!(
        arrives(ground, &outside, to.port(), ground.outside().into())?,
        "nothing arrives before it"
    );
    let begun = Instant::now();
    event.happen(&ground.lab)?;
    while begun.elapsed() < LONGEST {
        if arrives(ground, &outside, to.port(), from)? {
            return Ok(begun.elapsed());
        }
    }
    anyhow::bail!("nothing arrives for {LONGEST:?}")
}

/// Sends a packet, of a flow of its own, and says whether one has arrived from this address since.
fn arrives(ground: &Ground, outside: &UdpSocket, port: u16, from: IpAddr) -> Result<bool> {
    let inside = &ground.container().namespace;
    let socket = inside.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    // There may be no route, or no link.
    let _ = socket.send_to(b"here", (Lab::CLIENT, port));
    let mut said = [0; 8];
    Ok(outside
        .recv_from(&mut said)
        .is_ok_and(|(_, by)| by.ip() == from))
}
