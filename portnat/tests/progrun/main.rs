//! The loaded programs under BPF_PROG_TEST_RUN: named packets go in, and what comes out is compared
//! byte for byte. Nothing is attached anywhere, and no packet leaves a namespace of its own. Needs
//! root.

mod accelerate;
mod across;
mod admission;
mod bypass;
mod fast;
mod fixtures;
mod fragments;
mod internal;
mod lending;
mod model;
mod ranges;
mod sctp;

#[path = "../../../portnat-common/tests/nat/support/mod.rs"]
#[expect(dead_code, reason = "some of it only the native tests need")]
mod support;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use ipnet::{Ipv4Net, Ipv6Net};
use portnat::datapath::{AttachMode, Datapath, LoadOptions, UdpMapping, XdpMode};
use portnat::lab::Namespace;
use portnat::model::{Admission, Desired, PublishedPort, Tables};
use portnat::spec::{Ports, Protocol};
use portnat_common::subnet::{CLOSED, MASQUERADED};
use portnat_common::{Settings, Subnet, V6};
use support::world::{TestFamily as _, World};

/// The kernel's verdicts.
const NEXT: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;
/// The index that BPF_PROG_TEST_RUN gives the interface of a packet.
const INTERFACE: u32 = 1;
/// An interface that forwarded packets came in by.
const ELSEWHERE: u32 = 7;

/// A datapath of a host at 192.0.2.1 with containers in 172.17.0.0/16, as the tests' `World` is.
struct Host {
    datapath: Datapath,
    desired: Desired,
    /// Where programs run: fragments that they release come in by its loopback interface.
    namespace: Namespace,
}

/// The life times that the RFCs ask for.
fn standard_settings() -> Settings {
    Settings::new(portnat::net::ticks_per_second().into(), (32768, 60999))
}

fn options(max_flows: u32) -> LoadOptions {
    LoadOptions {
        max_flows,
        max_half_open: max_flows.max(64),
        max_flows_per_container: u32::MAX,
        udp_mapping: UdpMapping::EndpointIndependent,
        mark: None,
        attach: AttachMode::Auto,
        xdp: XdpMode::Off,
        trace: false,
    }
}

impl Host {
    fn new() -> Self {
        Self::with_flows(64)
    }

    fn with_flows(max_flows: u32) -> Self {
        Self::with(max_flows, standard_settings())
    }

    fn with(max_flows: u32, settings: Settings) -> Self {
        Self::with_limit(max_flows, u32::MAX, settings)
    }

    fn with_limit(max_flows: u32, max_flows_per_container: u32, settings: Settings) -> Self {
        let options = LoadOptions {
            max_flows_per_container,
            ..options(max_flows)
        };
        Self::loaded(&options, &settings)
    }

    /// UDP is masqueraded as TCP is.
    fn without_mappings() -> Self {
        let options = LoadOptions {
            udp_mapping: UdpMapping::AddressAndPortDependent,
            ..options(64)
        };
        Self::loaded(&options, &standard_settings())
    }

    fn loaded(options: &LoadOptions, settings: &Settings) -> Self {
        let datapath = Datapath::load(options, settings).expect("loading, as root");
        let mut desired = Desired::default();
        for address in [World::HOST, World::GATEWAY, Ipv4Addr::LOCALHOST] {
            desired.v4.local.insert(address.into(), 1);
        }
        for prefix in ["172.17.0.0/16", "172.18.0.0/16"] {
            let prefix: Ipv4Net = prefix.parse().expect("a prefix");
            let subnet = Subnet {
                bridge: World::BRIDGE,
                flags: MASQUERADED | CLOSED,
            };
            desired.v4.subnets.insert(prefix.into(), subnet);
        }
        desired.gates = [INTERFACE, ELSEWHERE, World::BRIDGE]
            .map(|index| (index, 1))
            .into();
        desired.v4.egress.insert(INTERFACE, World::HOST.into());
        for address in V6::OWN {
            desired.v6.local.insert(V6::address(address), 1);
        }
        for prefix in ["fd00:17::/64", "fd00:18::/64"] {
            let prefix: Ipv6Net = prefix.parse().expect("a prefix");
            let subnet = Subnet {
                bridge: World::BRIDGE,
                flags: MASQUERADED | CLOSED,
            };
            desired.v6.subnets.insert(prefix.into(), subnet);
        }
        desired.v6.egress.insert(INTERFACE, V6::address(V6::OWN[0]));
        let namespace = Namespace::new().expect("a namespace, as root");
        let host = Host {
            datapath,
            desired,
            namespace,
        };
        host.applied()
    }

    /// Publishes `port` at `address` for `target`.
    fn publish(self, protocol: Protocol, address: &str, port: u16, target: &str) -> Self {
        self.publish_range(protocol, address, (port, port), target)
    }

    /// Publishes the ports from `first` to `last` for those from `target`'s on.
    fn publish_range(
        mut self,
        protocol: Protocol,
        address: &str,
        (first, last): (u16, u16),
        target: &str,
    ) -> Self {
        let port = |port| NonZeroU16::new(port).expect("not 0");
        let (v4, v6) = (&self.desired.v4, &self.desired.v6);
        let published = v4.ports().count() + v6.ports().count();
        let port = PublishedPort {
            id: published as u32 + 1,
            address: address.parse().expect("an address"),
            ports: Ports::new(port(first), port(last)).expect("in order"),
            protocol,
            target: target.parse().expect("an address and a port"),
        };
        self.desired.publish(&port);
        self.applied()
    }

    /// Publishes TCP port 8080 at `address` for `target`, for some.
    fn publish_for(mut self, address: &str, target: &str, admission: &Admission) -> Self {
        const PORT: NonZeroU16 = NonZeroU16::new(8080).expect("not 0");
        let port = PublishedPort {
            id: 1,
            address: address.parse().expect("an address"),
            ports: Ports::new(PORT, PORT).expect("in order"),
            protocol: Protocol::Tcp,
            target: target.parse().expect("an address and a port"),
        };
        self.desired = Desired {
            v4: Tables {
                published: BTreeMap::new(),
                admissions: BTreeMap::new(),
                ..self.desired.v4
            },
            v6: Tables {
                published: BTreeMap::new(),
                admissions: BTreeMap::new(),
                ..self.desired.v6
            },
            limits: BTreeMap::new(),
            ..self.desired
        };
        self.desired.publish_for(&port, admission);
        self.applied()
    }

    fn applied(mut self) -> Self {
        let attached = self
            .datapath
            .apply(&self.desired)
            .expect("filling the tables");
        assert!(attached.failed.is_empty(), "there is nothing to attach");
        self
    }

    /// Runs a frame in from the uplink.
    fn ingress(&mut self, frame: &[u8]) -> (i32, Vec<u8>) {
        self.run("nat_in", frame, INTERFACE)
    }

    /// Runs a forwarded frame out by the uplink.
    fn egress(&mut self, frame: &[u8]) -> (i32, Vec<u8>) {
        self.run("uplink_out", frame, ELSEWHERE)
    }

    /// Runs a program on a frame that came in by an interface.
    fn run(&mut self, program: &str, frame: &[u8], came_in: u32) -> (i32, Vec<u8>) {
        let datapath = &mut self.datapath;
        self.namespace
            .run(|| datapath.test_run(program, frame, came_in))
            .expect("running a program")
    }
}
