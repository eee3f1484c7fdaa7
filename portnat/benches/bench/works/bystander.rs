//! What the host's own traffic pays for somebody who is attached to its uplink.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use portnat::lab::Lab;

use super::{interleave, prepare};
use crate::generator::{Generator, Stream, fixed};
use crate::ground::{Ground, Needs, clients};
use crate::kernel::Object;
use crate::options::Options;
use crate::peers::Peer;
use crate::plan::EXPECTED;
use crate::results::{Results, Subject, Unit};
use crate::sink::{Depth, Sink};
use crate::talk;

/// Ports of the host: one that masquerade never lends, and one that it could.
const PORTS: [(u16, &str); 2] = [
    (1000, "in, to port 1000"),
    (20_000, "in, to a port that masquerade may lend"),
];

/// Where the host's own datagrams go.
const REMOTE_PORT: u16 = 9000;

/// How long they are, behind UDP's header: as the generator's.
const LENGTH: usize = 22;

/// How many flows outsiders have with the host.
const FLOWS: u32 = 1000;

/// A ground with sockets of the host that count.
struct Host {
    ground: Ground,
    generator: Generator,
    listeners: Vec<Listener>,
    at_client: Sink,
}

/// A socket, and who counts there.
struct Listener {
    object: Object,
    _socket: UdpSocket,
}

impl Host {
    fn new(peer: Peer) -> Result<Self> {
        let ground = Ground::new(peer, Needs::default())?;
        let lab = &ground.lab;
        let listeners = PORTS
            .iter()
            .map(|(port, _)| {
                let socket = lab.host.run(|| UdpSocket::bind((Lab::HOST, *port)))?;
                let mut object = Object::load()?;
                object.attach_socket(&socket, "sink_socket")?;
                Ok(Listener {
                    object,
                    _socket: socket,
                })
            })
            .collect::<Result<_>>()?;
        let to = lab.host.links().mac(Lab::UPLINK)?;
        let mut at_client = Sink::attach(&lab.client, Lab::UPLINK, Depth::Stack)?;
        at_client.expect(Some((Lab::HOST, 0)), None, false)?;
        Ok(Self {
            generator: Generator::new(&lab.client, Lab::UPLINK, to)?,
            listeners,
            at_client,
            ground,
        })
    }

    /// Packets a second that the host sends by a socket.
    fn sent(&self, options: &Options) -> Result<f64> {
        let remote = (Ipv4Addr::from(clients(0, 0, 0).address), REMOTE_PORT);
        let _sender = talk::fire(&self.ground.lab.host, remote, LENGTH)?;
        thread::sleep(options.warm_up());
        let (started, before) = (Instant::now(), self.at_client.count()?);
        thread::sleep(options.time());
        let sent = self.at_client.count()? - before;
        ensure!(sent > 0, "nothing arrives");
        Ok(sent as f64 / started.elapsed().as_secs_f64())
    }
}

/// (n)
pub(crate) fn bystander(options: &Options, results: &mut Results) -> Result<()> {
    const WHAT: &str = "(n)";
    // Conntrack is active where there are rules, and bystanders pay for that too.
    let peers = options.peers(&[
        Peer::Plain,
        Peer::IptablesLegacy,
        Peer::Nftables,
        Peer::Portnat,
    ]);
    let mut hosts = prepare(WHAT, &peers, 0, results, Host::new);
    interleave(WHAT, options, &mut hosts, results, |peer, host, results| {
        let subject = |case: &str| Subject {
            work: 'n',
            metric: "packets a second",
            case: case.to_owned(),
            unit: Unit::PerSecond,
        };
        for ((port, case), listener) in PORTS.iter().zip(&host.listeners) {
            let stream = Stream {
                source: clients(1024, 1, 1),
                destination: fixed(Lab::HOST, *port),
                row: FLOWS,
                flows: FLOWS,
            };
            let counted = || Ok(listener.object.counted()?[EXPECTED as usize]);
            let (warm_up, time) = (options.warm_up(), options.time());
            let rate = host.generator.blast(&stream, warm_up, time, counted)?;
            results.add(&subject(case), peer, rate.delivered);
        }
        results.add(&subject("out"), peer, host.sent(options)?);
        Ok(())
    });
    Ok(())
}
