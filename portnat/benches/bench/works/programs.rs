//! What portnat's programs take for a packet, alone (BPF_PROG_TEST_RUN).

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use ipnet::Ipv4Net;
use portnat::datapath::{AttachMode, Datapath, LoadOptions, UdpMapping, XdpMode};
use portnat::lab::{Lab, Namespace};
use portnat::model::{Desired, PublishedPort};
use portnat::spec::Protocol;
use portnat_common::subnet::{CLOSED, MASQUERADED};
use portnat_common::{Settings, Subnet};
use statrs::statistics::Statistics as _;

use crate::ground::{INSIDE, PUBLISHED};
use crate::kernel::Object;
use crate::machine;
use crate::options::Options;
use crate::peers::Peer;
use crate::results::{Results, Subject, Unit};

const CLIENT: Ipv4Addr = Lab::CLIENT;
const HOST: Ipv4Addr = Lab::HOST;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);

/// The interface that packets of test runs are at, one that forwarded ones came in by, and none.
const HERE: u32 = 1;
const ELSEWHERE: u32 = 7;
const NOWHERE: u32 = 0;

/// The kernel's verdict for a packet that the next program may have.
const NEXT: i32 = -1;

/// How often a packet is run a round. Not by `repeat`, which would run what the packet has become.
const RUNS: usize = 2000;

/// A packet, and what sees it.
struct Case {
    name: &'static str,
    program: &'static str,
    packet: Vec<u8>,
    came_in: u32,
    /// Whether it is translated; all others go on untouched.
    translated: bool,
}

/// (l)
pub(crate) fn programs(options: &Options, results: &mut Results) -> Result<()> {
    if options.peers(&[Peer::Portnat]).is_empty() {
        return Ok(());
    }
    results.skip(
        "instructions in (l): the kernel counts none for a program, and virtual machines often \
         have no counter of the processor's"
            .to_owned(),
    );
    let namespace = Namespace::new()?;
    let mut datapath = load()?;
    let mut object = Object::load()?;
    let cases = cases();
    let rounds = options.rounds;
    namespace.run(|| {
        machine::pin_generator()?;
        open_flows(&mut datapath)?;
        for case in &cases {
            let (verdict, packet) = datapath.test_run(case.program, &case.packet, case.came_in)?;
            let translated = packet != case.packet;
            ensure!(
                verdict == NEXT && translated == case.translated,
                "{}: verdict {verdict}, translated: {translated}",
                case.name
            );
        }
        for _ in 0..rounds {
            for case in &cases {
                let time = typical(|| {
                    Ok(datapath.test_run_time(case.program, &case.packet, case.came_in)?)
                })?;
                let nothing = typical(|| object.run_nothing(&case.packet))?;
                let subject = Subject {
                    work: 'l',
                    metric: "time beyond a program that does nothing",
                    case: format!("{}: {}", case.program, case.name),
                    unit: Unit::Nanoseconds,
                };
                results.add(&subject, Peer::Portnat, time - nothing);
            }
        }
        Ok(())
    })
}

/// What many runs take, in nanoseconds: the mean of the middle half. A median would be as coarse as
/// the kernel's clock.
fn typical(mut run: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let mut times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let middle = &times[RUNS / 4..RUNS * 3 / 4];
    Ok(middle.iter().map(|time| time.as_nanos() as f64).mean())
}

/// The datapath of a host as the labs have it, attached to nothing.
fn load() -> Result<Datapath> {
    let options = LoadOptions {
        max_flows: 262_144,
        max_half_open: 32_768,
        max_flows_per_container: 65_536,
        udp_mapping: UdpMapping::EndpointIndependent,
        mark: None,
        attach: AttachMode::Auto,
        xdp: XdpMode::Off,
        trace: false,
    };
    let ticks = portnat::net::ticks_per_second().into();
    let mut datapath = Datapath::load(&options, &Settings::new(ticks, (32_768, 60_999)))?;
    let mut desired = Desired::default();
    for address in [HOST, GATEWAY, Ipv4Addr::LOCALHOST] {
        desired.v4.local.insert(address.into(), 1);
    }
    let subnet = Subnet {
        bridge: ELSEWHERE,
        flags: MASQUERADED | CLOSED,
    };
    desired.v4.subnets.insert(SUBNET.into(), subnet);
    desired.v4.egress.insert(HERE, HOST.into());
    for (id, protocol) in [(1, Protocol::Tcp), (2, Protocol::Udp)] {
        desired.publish(&PublishedPort {
            id,
            address: Ipv4Addr::UNSPECIFIED.into(),
            ports: NonZeroU16::new(PUBLISHED).context("is not 0")?.into(),
            protocol,
            target: (CONTAINER, INSIDE).into(),
        });
    }
    let attached = datapath.apply(&desired)?;
    ensure!(attached.failed.is_empty(), "there is nothing to attach");
    Ok(datapath)
}

/// A packet, its answer, another packet: then a flow is confirmed.
fn open_flows(datapath: &mut Datapath) -> Result<()> {
    let (there, back) = published();
    let (out, answer) = masqueraded();
    for (program, packet, came_in) in [
        ("nat_in", &there, HERE),
        ("uplink_out", &back, ELSEWHERE),
        ("nat_in", &there, HERE),
        ("uplink_out", &out, ELSEWHERE),
        ("nat_in", &answer, HERE),
        ("uplink_out", &out, ELSEWHERE),
    ] {
        datapath.test_run(program, packet, came_in)?;
    }
    Ok(())
}

/// A published flow's packets, in and out.
fn published() -> (Vec<u8>, Vec<u8>) {
    (
        udp((CLIENT, 51_000), (HOST, PUBLISHED)),
        udp((CONTAINER, INSIDE), (CLIENT, 51_000)),
    )
}

/// A masqueraded flow's packets, out and in. Its port is one that is kept.
fn masqueraded() -> (Vec<u8>, Vec<u8>) {
    (
        udp((CONTAINER, 10_000), (CLIENT, 9000)),
        udp((CLIENT, 9000), (HOST, 10_000)),
    )
}

fn cases() -> Vec<Case> {
    let (there, back) = published();
    let (out, answer) = masqueraded();
    let inwards = udp((CLIENT, 51_000), (CONTAINER, INSIDE));
    let case = |name, program, packet, came_in, translated| Case {
        name,
        program,
        packet,
        came_in,
        translated,
    };
    vec![
        case("to a published port", "nat_in", there, HERE, true),
        case("the answer", "uplink_out", back, ELSEWHERE, true),
        case("masqueraded", "uplink_out", out, ELSEWHERE, true),
        case("the answer to masqueraded", "nat_in", answer, HERE, true),
        case(
            "translated already, to the bridge",
            "bridge_out",
            inwards,
            HERE,
            false,
        ),
        case(
            "to the host",
            "nat_in",
            udp((CLIENT, 51_000), (HOST, 1000)),
            HERE,
            false,
        ),
        case(
            "to the host, a port that masquerade may lend",
            "nat_in",
            udp((CLIENT, 51_000), (HOST, 20_000)),
            HERE,
            false,
        ),
        case(
            "from the host",
            "uplink_out",
            udp((HOST, 40_000), (CLIENT, 9000)),
            NOWHERE,
            false,
        ),
    ]
}

fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .udp(from.1, to.1)
        .write(&mut packet, &[b'p'; 22])
        .expect("a vector takes all");
    packet
}
