//! What is measured.

mod bulk;
mod bystander;
mod connections;
mod containers;
mod latency;
mod links;
mod memory;
mod packets;
mod programs;
mod publishing;

use anyhow::Result;

use crate::options::Options;
use crate::peers::Peer;
use crate::results::Results;

/// A work.
pub(crate) struct Work {
    pub(crate) letter: char,
    pub(crate) title: &'static str,
    pub(crate) run: fn(&Options, &mut Results) -> Result<()>,
}

/// All of them.
pub(crate) static WORKS: &[Work] = &[
    Work {
        letter: 'a',
        title: "64-byte UDP of established flows, in",
        run: packets::inbound,
    },
    Work {
        letter: 'b',
        title: "64-byte UDP of established flows, the answers",
        run: packets::reply,
    },
    Work {
        letter: 'c',
        title: "64-byte UDP, masqueraded",
        run: packets::masquerade,
    },
    Work {
        letter: 'd',
        title: "new TCP connections",
        run: connections::new_connections,
    },
    Work {
        letter: 'e',
        title: "new UDP flows, each packet one",
        run: packets::new_flows,
    },
    Work {
        letter: 'f',
        title: "latency of requests, half a round trip",
        run: latency::requests,
    },
    Work {
        letter: 'g',
        title: "bulk TCP",
        run: bulk::bulk,
    },
    Work {
        letter: 'h',
        title: "publishing many ports of TCP",
        run: publishing::many_ports,
    },
    Work {
        letter: 'i',
        title: "64-byte UDP of established flows, in, beside many published ports",
        run: publishing::packets_beside,
    },
    Work {
        letter: 'j',
        title: "memory of flows",
        run: memory::per_flow,
    },
    Work {
        letter: 'k',
        title: "real connections during a SYN flood",
        run: connections::during_a_flood,
    },
    Work {
        letter: 'l',
        title: "portnat's programs alone",
        run: programs::programs,
    },
    Work {
        letter: 'm',
        title: "latency from the host and from the container itself, half a round trip",
        run: latency::from_inside,
    },
    Work {
        letter: 'n',
        title: "64-byte UDP of the host itself",
        run: bystander::bystander,
    },
    Work {
        letter: 'o',
        title: "interfaces that come again",
        run: links::that_come_again,
    },
    Work {
        letter: 'p',
        title: "docker run with many ports of TCP",
        run: containers::with_ports,
    },
];

impl Work {
    pub(crate) fn title_of(letter: char) -> &'static str {
        WORKS
            .iter()
            .find(|work| work.letter == letter)
            .map_or("", |work| work.title)
    }
}

/// Builds what each peer needs, without those that cannot be measured, which are told.
pub(crate) fn prepare<G>(
    what: &str,
    peers: &[Peer],
    flows: u32,
    results: &mut Results,
    mut build: impl FnMut(Peer) -> Result<G>,
) -> Vec<(Peer, G)> {
    crate::say(what);
    let mut ready = Vec::new();
    for &peer in peers {
        let lack = peer.missing().or_else(|| peer.too_many(flows));
        let built = match lack {
            Some(lack) => Err(lack),
            None => build(peer).map_err(|error| format!("{error:#}")),
        };
        match built {
            Ok(ground) => ready.push((peer, ground)),
            Err(lack) => results.skip(format!("{} in {what}: {lack}", peer.name())),
        }
    }
    ready
}

/// Has each peer measured once a round, and each round begin with another peer.
pub(crate) fn interleave<G>(
    what: &str,
    options: &Options,
    peers: &mut Vec<(Peer, G)>,
    results: &mut Results,
    mut measure: impl FnMut(Peer, &mut G, &mut Results) -> Result<()>,
) {
    for round in 0..options.rounds {
        let mut failed = Vec::new();
        for (peer, ground) in peers.iter_mut() {
            if let Err(error) = measure(*peer, ground, results) {
                results.skip(format!(
                    "{} in {what}, from round {round} on: {error:#}",
                    peer.name()
                ));
                failed.push(*peer);
            }
        }
        peers.retain(|(peer, _)| !failed.contains(peer));
        if !peers.is_empty() {
            peers.rotate_left(1);
        }
    }
}
