//! Packets a second, from a generator to a counter.

use anyhow::{Context as _, Result};
use portnat::lab::{Lab, Namespace};

use super::{interleave, prepare};
use crate::generator::{Generator, Stream, fixed};
use crate::ground::{CONTAINER_LINK, Ground, Needs, clients};
use crate::kernel::Object;
use crate::options::Options;
use crate::peers::Peer;
use crate::plan::{End, UDP, Way};
use crate::results::{Results, Subject, Unit};
use crate::sink::{Depth, Sink};

/// What remote ends listen to: none of the ports that masquerade treats apart, as DNS.
const REMOTE_PORT: u16 = 9000;

/// A container's source ports: some that each peer's masquerade keeps.
const FIRST_LOCAL_PORT: u16 = 10_000;
const LOCAL_PORTS: u32 = 20_000;

/// Clients' source ports.
const FIRST_CLIENT_PORT: u16 = 1024;
const CLIENT_PORTS: u32 = 60_000;

/// How many clients there are behind the client.
const ROWS: u32 = 254;

const RATE: &str = "packets a second";

/// Who can bring packets of any kind on their way.
const ALL: [Peer; 9] = [
    Peer::Plain,
    Peer::IptablesLegacy,
    Peer::Nftables,
    Peer::DockerProxy,
    Peer::Portnat,
    Peer::TcRedirect,
    Peer::XdpRedirect,
    Peer::XdpRedirectStack,
    Peer::XdpDrop,
];

/// A ground with a generator at each end, and a counter at each.
struct Road {
    ground: Ground,
    client: Generator,
    container: Generator,
    at_client: Sink,
    at_container: Sink,
    /// The bare redirect, and the sink in the host's driver, if that is the peer.
    shortcut: Option<Object>,
    at_uplink: Option<Sink>,
    /// How many flows were begun that shall not come again.
    begun: u32,
}

/// Which way measured packets go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the client to the container.
    In,
    /// From the container to the client.
    Out,
}

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
    // The proxy's answers come from sockets that only real packets open; drops have none.
    let peers = without(&[Peer::DockerProxy, Peer::XdpDrop]);
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
    let peers = without(&[Peer::DockerProxy, Peer::XdpDrop]);
    for flows in options.flows(&[64, 55_000]) {
        let flow = |road: &Road| road.masqueraded(flows);
        let (out, back) = ("packets a second out", "packets a second back");
        established(
            options,
            results,
            'c',
            out,
            flows,
            &peers,
            Direction::Out,
            flow,
        );
        established(
            options,
            results,
            'c',
            back,
            flows,
            &peers,
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

/// A flow as both its ends make it, and what each sees.
struct Flow {
    /// From who begins it.
    there: Stream,
    /// From who answers.
    back: Stream,
    /// Who begins it: whether it is the client.
    from_client: bool,
    /// The container's end as packets to it name it.
    inside: (std::net::Ipv4Addr, u16),
    /// The end that the client sees.
    outside: (std::net::Ipv4Addr, u16),
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

impl Road {
    fn new(peer: Peer, needs: Needs, direction: Direction) -> Result<Self> {
        let ground = Ground::new(peer, needs)?;
        let (lab, container) = (&ground.lab, ground.container());
        let host = lab.host.links();
        let to_host = host.mac(Lab::UPLINK)?;
        let to_bridge = host.mac(Lab::BRIDGE)?;
        let depth = |at| match peer {
            Peer::XdpRedirect if at == direction => Depth::Driver,
            _ => Depth::Stack,
        };
        let inside = &container.namespace;
        let mut road = Self {
            client: Generator::new(&lab.client, Lab::UPLINK, to_host)?,
            container: Generator::new(inside, CONTAINER_LINK, to_bridge)?,
            at_client: Sink::attach(&lab.client, Lab::UPLINK, depth(Direction::Out))?,
            at_container: Sink::attach(inside, CONTAINER_LINK, depth(Direction::In))?,
            shortcut: None,
            at_uplink: None,
            begun: 0,
            ground,
        };
        road.take_shortcut(direction)?;
        Ok(road)
    }

    /// Attaches the bare programs, for the way that is measured.
    fn take_shortcut(&mut self, direction: Direction) -> Result<()> {
        let lab = &self.ground.lab;
        let container = self.ground.container();
        let (entry, exit): (&str, &str) = match direction {
            Direction::In => (Lab::UPLINK, &container.port),
            Direction::Out => (&container.port, Lab::UPLINK),
        };
        let (receiver, link): (&Namespace, &str) = match direction {
            Direction::In => (&container.namespace, CONTAINER_LINK),
            Direction::Out => (&lab.client, Lab::UPLINK),
        };
        let way = Way {
            interface: lab.host.links().index(exit)?,
            destination: receiver.links().mac(link)?,
            ..Way::default()
        };
        let mut object = Object::load()?;
        object.set_way(way)?;
        match self.ground.peer {
            // A real uplink has no other end in another namespace to hand over to.
            Peer::TcRedirect if direction == Direction::In => {
                object.attach_tc(&lab.host, entry, "hand_over")?;
            }
            Peer::TcRedirect => object.attach_tc(&lab.host, entry, "pass_on")?,
            Peer::XdpRedirect | Peer::XdpRedirectStack => {
                object.attach_xdp(&lab.host, entry, "pass_on_xdp")?;
            }
            Peer::XdpDrop => {
                self.at_uplink = Some(Sink::attach(&lab.host, entry, Depth::Driver)?);
            }
            _ => return Ok(()),
        }
        self.shortcut = Some(object);
        Ok(())
    }

    /// Flows from clients to the published port.
    fn published(&self, flows: u32) -> Flow {
        let container = (self.ground.container().address, crate::ground::INSIDE);
        let service = self.ground.service();
        let clients = clients(FIRST_CLIENT_PORT, 1, 1);
        let stream = |source, destination| Stream {
            protocol: UDP,
            source,
            destination,
            row: CLIENT_PORTS,
            flows,
        };
        Flow {
            there: stream(clients, fixed(service.0, service.1)),
            back: stream(fixed(container.0, container.1), clients),
            from_client: true,
            inside: container,
            outside: service,
        }
    }

    /// Flows from the container to others.
    fn masqueraded(&self, flows: u32) -> Flow {
        let container = self.ground.container().address;
        let outside = self.ground.outside();
        let end = |address: std::net::Ipv4Addr| End {
            address: address.into(),
            port: FIRST_LOCAL_PORT.into(),
            address_step: 0,
            port_step: 1,
        };
        let remotes = clients(REMOTE_PORT, 1, 0);
        let stream = |source, destination| Stream {
            protocol: UDP,
            source,
            destination,
            row: LOCAL_PORTS,
            flows,
        };
        Flow {
            there: stream(end(container), remotes),
            back: stream(remotes, end(outside)),
            from_client: false,
            inside: (container, 0),
            outside: (outside, 0),
        }
    }

    /// Has the flows be there, as users' traffic would: a packet, its answer, another packet.
    fn open(&mut self, flow: &Flow) -> Result<()> {
        if !self.ground.peer.translates() || self.ground.peer == Peer::DockerProxy {
            return Ok(());
        }
        self.at_container
            .expect(None, Some(flow.inside), flow.from_client)?;
        self.at_client
            .expect(Some(flow.outside), None, !flow.from_client)?;
        let (generator, answers) = if flow.from_client {
            (&mut self.client, &self.at_client)
        } else {
            (&mut self.container, &self.at_container)
        };
        let before = answers.count()?;
        generator.open(&flow.there)?;
        let answered = answers.count()? - before;
        // Each packet was answered, or else flows are missing.
        let expected = u64::from(flow.there.flows) * 2;
        if answered < expected {
            crate::say(&format!(
                "{}: {answered} of {expected} answers while {} flows were opened",
                self.ground.peer.name(),
                flow.there.flows
            ));
        }
        Ok(())
    }

    fn measure(
        &mut self,
        flow: &Flow,
        direction: Direction,
        options: &Options,
    ) -> Result<crate::generator::Rate> {
        self.at_container.expect(None, Some(flow.inside), false)?;
        self.at_client.expect(Some(flow.outside), None, false)?;
        let from_client = direction == Direction::In;
        let (generator, sink) = if from_client {
            (&mut self.client, &self.at_container)
        } else {
            (&mut self.container, &self.at_client)
        };
        let sink = self.at_uplink.as_ref().unwrap_or(sink);
        let stream = if from_client == flow.from_client {
            &flow.there
        } else {
            &flow.back
        };
        generator
            .blast(stream, options.warm_up(), options.time(), || sink.count())
            .context("measuring")
    }
}
