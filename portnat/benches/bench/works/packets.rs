//! Packets a second, from a generator to a counter.

use anyhow::Result;

use super::{interleave, prepare};
use crate::ground::Needs;
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};
use crate::road::{CLIENT_PORTS, Direction, Flow, ROWS, Road};

const RATE: &str = "packets a second";

/// Who can bring packets of any kind on their way.
const ALL: [Peer; 10] = [
    Peer::Plain,
    Peer::IptablesLegacy,
    Peer::Nftables,
    Peer::DockerProxy,
    Peer::Portnat,
    Peer::PortnatXdp,
    Peer::TcRedirect,
    Peer::XdpRedirect,
    Peer::XdpRedirectStack,
    Peer::XdpDrop,
];

/// Who brings nothing out in a way of its own: the proxy's answers come from sockets that only real
/// packets open, drops have none, and with XDP portnat's go by TC.
const NOT_BACK: [Peer; 3] = [Peer::DockerProxy, Peer::XdpDrop, Peer::PortnatXdp];

/// (a)
pub(crate) fn inbound(options: &Options, results: &mut Results) -> Result<()> {
    for flows in options.flows(&[64, 1000, 55_000, 500_000]) {
        established(
            options,
            results,
            'a',
            RATE,
            flows,
            &ALL,
            Direction::In,
            |road| road.published(flows),
        );
    }
    Ok(())
}

/// (b)
pub(crate) fn reply(options: &Options, results: &mut Results) -> Result<()> {
    let peers = without(&NOT_BACK);
    for flows in options.flows(&[64, 55_000]) {
        established(
            options,
            results,
            'b',
            RATE,
            flows,
            &peers,
            Direction::Out,
            |road| road.published(flows),
        );
    }
    Ok(())
}

/// (c)
pub(crate) fn masquerade(options: &Options, results: &mut Results) -> Result<()> {
    let inwards = without(&[Peer::DockerProxy, Peer::XdpDrop]);
    let outwards = without(&NOT_BACK);
    for flows in options.flows(&[64, 55_000]) {
        let flow = |road: &Road| road.masqueraded(flows);
        let (out, back) = ("packets a second out", "packets a second back");
        established(
            options,
            results,
            'c',
            out,
            flows,
            &outwards,
            Direction::Out,
            flow,
        );
        established(
            options,
            results,
            'c',
            back,
            flows,
            &inwards,
            Direction::In,
            flow,
        );
    }
    Ok(())
}

/// (e)
pub(crate) fn new_flows(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(e)";
    let peers = options.peers(&[
        Peer::Plain,
        Peer::IptablesLegacy,
        Peer::Nftables,
        Peer::Portnat,
    ]);
    let mut roads = prepare(WHAT, &peers, 0, results, |peer| {
        Road::new(peer, Needs::default(), Direction::In)
    });
    interleave(WHAT, options, &mut roads, results, |peer, road, results| {
        let flow = road.published(ROWS * CLIENT_PORTS);
        road.at_container.expect(None, Some(flow.inside), false)?;
        let stream = flow.there.part(road.begun, u32::MAX);
        let rate = {
            let sink = &road.at_container;
            road.client
                .blast(&stream, options.warm_up(), options.time(), || sink.count())?
        };
        // Whole rows, a little more than was sent; when all clients were there they come anew, and
        // what is kept of them is as old as can be.
        let seconds = (options.warm_up() + options.time()).as_secs_f64();
        let rows = (rate.offered * seconds * 1.2) as u32 / CLIENT_PORTS + 1;
        road.begun = (road.begun / CLIENT_PORTS + rows) % ROWS * CLIENT_PORTS;
        let subject = |metric, unit| Subject {
            work: 'e',
            metric,
            case: "UDP".to_owned(),
            unit,
        };
        results.add(
            &subject("new flows a second", Unit::PerSecond),
            peer,
            rate.delivered,
        );
        results.add(
            &subject("of those offered", Unit::Share),
            peer,
            rate.delivered / rate.offered,
        );
        Ok(())
    });
    Ok(())
}

fn without(peers: &[Peer]) -> Vec<Peer> {
    ALL.into_iter()
        .filter(|peer| !peers.contains(peer))
        .collect()
}

/// Measures packets of flows that are there.
#[expect(
    clippy::too_many_arguments,
    reason = "one call for each kind of packets"
)]
fn established(
    options: &Options,
    results: &mut Results,
    work: char,
    metric: &'static str,
    flows: u32,
    among: &[Peer],
    direction: Direction,
    flow: impl Fn(&Road) -> Flow,
) {
    let case = format!("{flows} flows");
    let what = format!("({work}), {case}");
    let mut roads = prepare(&what, &options.peers(among), flows, results, |peer| {
        Road::new(peer, Needs { flows }, direction)
    });
    interleave(
        &what,
        options,
        &mut roads,
        results,
        |peer, road, results| {
            let flow = flow(road);
            road.open(&flow)?;
            let rate = road.measure(&flow, direction, options)?;
            let subject = |metric, unit| Subject {
                work,
                metric,
                case: case.clone(),
                unit,
            };
            results.add(&subject(metric, Unit::PerSecond), peer, rate.delivered);
            let share = rate.delivered / rate.offered;
            if peer != Peer::DockerProxy && share < 0.5 {
                crate::say(&format!(
                    "{} in {what}: only {:.0} % arrived",
                    peer.name(),
                    share * 100.0
                ));
            }
            Ok(())
        },
    );
}
