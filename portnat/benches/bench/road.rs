//! A ground with what makes and counts packets.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use portnat::lab::{Lab, Namespace};

use crate::generator::{Generator, Rate, Stream, fixed};
use crate::ground::{CONTAINER_LINK, Ground, INSIDE, Needs, clients};
use crate::kernel::Object;
use crate::options::Options;
use crate::peers::Peer;
use crate::plan::{End, Way};
use crate::sink::{Depth, Sink};

/// What remote ends listen to: none of the ports that masquerade treats apart, as DNS.
const REMOTE_PORT: u16 = 9000;

/// A container's source ports: some that each peer's masquerade keeps.
const FIRST_LOCAL_PORT: u16 = 10_000;
const LOCAL_PORTS: u32 = 20_000;

/// Clients' source ports.
const FIRST_CLIENT_PORT: u16 = 1024;
pub(crate) const CLIENT_PORTS: u32 = 60_000;

/// How many clients there are behind the client.
pub(crate) const ROWS: u32 = 254;

/// A ground with a generator at each end, and a counter at each.
pub(crate) struct Road {
    pub(crate) ground: Ground,
    pub(crate) client: Generator,
    container: Generator,
    at_client: Sink,
    pub(crate) at_container: Sink,
    /// The bare redirect, and the sink in the host's driver, if that is the peer.
    shortcut: Option<Object>,
    at_uplink: Option<Sink>,
    /// How many flows were begun that shall not come again.
    pub(crate) begun: u32,
}

/// Which way measured packets go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the container.
    In,
    /// From the container to the client.
    Out,
}

/// A flow as both its ends make it, and what each sees.
pub(crate) struct Flow {
    /// From who begins it.
    pub(crate) there: Stream,
    /// From who answers.
    back: Stream,
    /// Who begins it: whether it is the client.
    from_client: bool,
    /// The container's end as packets to it name it.
    pub(crate) inside: (Ipv4Addr, u16),
    /// The end that the client sees.
    outside: (Ipv4Addr, u16),
}

impl Road {
    /// A ground whose bare redirects lead in a direction.
    pub(crate) fn new(peer: Peer, needs: Needs, direction: Direction) -> Result<Self> {
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
    pub(crate) fn published(&self, flows: u32) -> Flow {
        let container = (self.ground.container().address, INSIDE);
        let service = self.ground.service();
        let clients = clients(FIRST_CLIENT_PORT, 1, 1);
        let stream = |source, destination| Stream {
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
    pub(crate) fn masqueraded(&self, flows: u32) -> Flow {
        let container = self.ground.container().address;
        let outside = self.ground.outside();
        let end = |address: Ipv4Addr| End {
            address: address.into(),
            port: FIRST_LOCAL_PORT.into(),
            address_step: 0,
            port_step: 1,
        };
        let remotes = clients(REMOTE_PORT, 1, 0);
        let stream = |source, destination| Stream {
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
    pub(crate) fn open(&mut self, flow: &Flow) -> Result<()> {
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

    /// Sends packets of flows that are there, and counts them.
    pub(crate) fn measure(
        &mut self,
        flow: &Flow,
        direction: Direction,
        options: &Options,
    ) -> Result<Rate> {
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
