//! New TCP connections, with nobody else there and during a flood.

use anyhow::Result;

use super::{interleave, prepare};
use crate::flood::Flood;
use crate::ground::{Ground, INSIDE, Needs};
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::talk::{self, Threads};

/// How many SYNs a second a flood has: what each peer can stand beside real connections, and more
/// than any table of half-open flows has room for.
const FLOOD: u32 = 20_000;

/// A ground with a web server in the container.
struct Site {
    ground: Ground,
    _server: Threads,
}

impl Site {
    fn new(peer: Peer) -> Result<Self> {
        let ground = Ground::new(peer, Needs::default())?;
        // As many connections at once as there are ports, which come by again soon.
        let range = "net/ipv4/ip_local_port_range";
        ground.lab.client.sysctl(range, "1024 65535")?;
        let container = ground.container();
        let server = talk::serve(&container.namespace, (container.address, INSIDE))?;
        Ok(Self {
            ground,
            _server: server,
        })
    }

    /// Connections a second.
    fn rate(&self, options: &Options) -> Result<f64> {
        let clients = talk::ask(&self.ground.lab.client, self.ground.service());
        talk::rate(&clients, options.warm_up(), options.time())
    }
}

/// (d)
pub(crate) fn new_connections(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(d)";
    let peers = options.peers(&Peer::REAL);
    let mut sites = prepare(WHAT, &peers, 0, results, Site::new);
    interleave(WHAT, options, &mut sites, results, |peer, site, results| {
        let subject = Subject {
            work: 'd',
            metric: "connections a second",
            case: "a request each".to_owned(),
            unit: Unit::PerSecond,
        };
        results.add(&subject, peer, site.rate(options)?);
        Ok(())
    });
    Ok(())
}

/// (k)
pub(crate) fn during_a_flood(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(k)";
    let peers = options.peers(&Peer::REAL);
    let mut sites = prepare(WHAT, &peers, 0, results, Site::new);
    interleave(WHAT, options, &mut sites, results, |peer, site, results| {
        let subject = |case: &str| Subject {
            work: 'k',
            metric: "connections a second",
            case: case.to_owned(),
            unit: Unit::PerSecond,
        };
        results.add(&subject("in peace"), peer, site.rate(options)?);
        let flood = Flood::begin(&site.ground.lab, site.ground.service(), FLOOD)?;
        let rate = site.rate(options)?;
        flood.end();
        let case = format!("under {FLOOD} SYNs a second");
        results.add(&subject(&case), peer, rate);
        Ok(())
    });
    Ok(())
}
