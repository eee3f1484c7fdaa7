//! What a host's links and a user's wishes make of each other.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use portnat_common::subnet::{APART, CLOSED, ROUTED};

use super::*;
use crate::net::LinkKind;
use crate::spec::{Ports, Protocol};

pub(super) fn host() -> Snapshot {
    Snapshot {
        links: vec![
            Link::made(2, "eth0", LinkKind::Device, &["192.0.2.1/24"]),
            Link::made(3, "docker0", LinkKind::Bridge, &["172.17.0.1/16"]),
            Link::made(4, "br-1", LinkKind::Bridge, &["172.18.0.1/16"]),
        ],
    }
}

fn uplinks(desired: &Desired) -> Vec<&str> {
    let mut interfaces: Vec<_> = desired.interfaces.values().collect();
    interfaces.retain(|interface| interface.role == Role::Uplink);
    interfaces
        .into_iter()
        .map(|interface| interface.name.as_str())
        .collect()
}

pub(super) fn masqueraded(desired: &Desired) -> Vec<String> {
    let mut subnets: Vec<_> = desired.v4.subnets.iter().collect();
    subnets.retain(|(_, subnet)| subnet.is_masqueraded());
    let net = |net: &Prefix<Ip4>| format!("{}/{}", Ipv4Addr::from(net.network), net.length);
    subnets.into_iter().map(|(prefix, _)| net(prefix)).collect()
}

#[test]
fn a_docker_host_needs_no_options() {
    let mut host = host();
    let mut veth = Link::made(7, "veth1", LinkKind::Veth, &["192.0.2.77/24"]);
    (veth.master, veth.addresses) = (Some(3), Vec::new());
    host.links.push(veth);
    let desired = Intent::default().desired(&host);
    let roles: Vec<_> = desired
        .interfaces
        .values()
        .map(|i| (i.name.as_str(), i.role))
        .collect();
    let expected = [
        ("eth0", Role::Uplink),
        ("docker0", Role::Bridge),
        ("br-1", Role::Bridge),
        ("veth1", Role::Port),
    ];
    assert_eq!(roles, expected);
    let gateway = Ipv4Addr::new(172, 17, 0, 1);
    assert_eq!(desired.v4.egress[&2], Ipv4Addr::new(192, 0, 2, 1).into());
    assert_eq!(desired.v4.egress[&3], gateway.into());
    assert_eq!(masqueraded(&desired), ["172.17.0.0/16", "172.18.0.0/16"]);
    let docker0 = "172.17.0.0/16".parse::<Ipv4Net>().expect("a prefix").into();
    assert_eq!(
        desired.v4.subnets[&docker0],
        Subnet {
            bridge: 3,
            flags: NetworkMode::Nat.flags()
        }
    );
    assert_eq!(desired.forwarding.len(), 3);
    assert_eq!(desired.v4.local.len(), 3);
}

#[test]
fn a_named_bridge_alone_is_masqueraded_and_the_others_stay_inside() {
    let intent = Intent {
        bridges: vec!["br-1".into()],
        ..Intent::default()
    };
    let desired = intent.desired(&host());
    assert_eq!(uplinks(&desired), ["eth0"]);
    assert_eq!(masqueraded(&desired), ["172.18.0.0/16"]);
}

#[test]
fn a_veth_that_is_named_as_a_bridge_is_no_uplink() {
    let mut host = host();
    host.links
        .push(Link::made(5, "veth0", LinkKind::Veth, &["10.0.0.1/30"]));
    let intent = Intent {
        bridges: vec!["veth0".into()],
        ..Intent::default()
    };
    assert_eq!(uplinks(&intent.desired(&host)), ["eth0"]);
}

#[test]
fn prefixes_to_masquerade_replace_the_bridges_and_are_networks() {
    let only = |prefix: &str| Intent {
        masquerade: vec![prefix.parse().expect("a prefix")],
        ..Intent::default()
    };
    let desired = only("10.1.2.3/8").desired(&host());
    assert_eq!(masqueraded(&desired), ["10.0.0.0/8"]);
    // The bridges are known all the same: a container still reaches its own published port.
    assert_eq!(desired.v4.subnets.len(), 3);
    let desired = only("172.17.5.0/24").desired(&host());
    assert_eq!(masqueraded(&desired), ["172.17.5.0/24"]);
    let part = "172.17.5.0/24".parse::<Ipv4Net>().expect("a prefix").into();
    assert_eq!(desired.v4.subnets[&part].bridge, 3);
    let desired = only("172.16.0.0/12").desired(&host());
    assert_eq!(
        masqueraded(&desired),
        ["172.16.0.0/12", "172.17.0.0/16", "172.18.0.0/16"]
    );
}

#[test]
fn an_unknown_interface_is_named() {
    let intent = Intent {
        uplinks: vec!["eth7".into()],
        ..Intent::default()
    };
    let error = intent
        .check(&host())
        .expect_err("there is none")
        .to_string();
    assert!(error.contains("eth7"), "{error}");
}

/// What waits for its turn at a port or at its bridge is not overtaken, and nothing is where all goes
/// through the stack.
#[test]
fn packets_pass_the_stack_at_plain_ports_of_plain_bridges() {
    let fast = |wanted: bool, bridge: &str, port: &str| {
        let mut host = host();
        let mut veth = Link::made(7, "veth1", LinkKind::Veth, &["192.0.2.77/24"]);
        (veth.master, veth.addresses) = (Some(3), Vec::new());
        (veth.leads_elsewhere, veth.qdisc) = (true, port.to_owned());
        host.links.push(veth);
        host.links[1].qdisc = bridge.to_owned();
        let intent = Intent {
            fast: wanted,
            ..Intent::default()
        };
        let desired = intent.desired(&host);
        let fast = desired.interfaces.values().filter(|link| link.fast);
        fast.map(|link| link.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fast(true, "noqueue", "noqueue"), ["veth1"]);
    for (wanted, bridge, port) in [
        (false, "noqueue", "noqueue"),
        (true, "tbf", "noqueue"),
        (true, "noqueue", "tbf"),
    ] {
        assert!(fast(wanted, bridge, port).is_empty(), "{bridge}, {port}");
    }
}

#[test]
fn a_bridges_mode_says_what_its_subnet_is() {
    let flags = |intent: &Intent| -> Vec<u32> {
        let desired = intent.desired(&host());
        desired.v4.subnets.values().map(|it| it.flags).collect()
    };
    let [nat, unprotected, routed] = NetworkMode::ALL.map(NetworkMode::flags);
    let mut intent = Intent::default();
    assert_eq!(flags(&intent), [nat, nat]);
    intent.networks = vec!["br-1=routed".parse().expect("a mode")];
    assert_eq!(flags(&intent), [nat, routed]);
    // A prefix that holds both makes no mode that was said another.
    intent.masquerade = vec!["172.16.0.0/12".parse().expect("a prefix")];
    assert_eq!(flags(&intent), [nat, nat, routed]);
    intent.masquerade = vec!["10.0.0.0/8".parse().expect("a prefix")];
    intent.networks = vec!["docker0=nat-unprotected".parse().expect("a mode")];
    assert_eq!(flags(&intent), [nat, unprotected, 0]);
}

#[test]
fn a_port_of_a_routed_container_is_open_and_not_published() {
    let port = |id, first: u16, last: u16| {
        let port = |port| std::num::NonZeroU16::new(port).expect("not 0");
        PublishedPort {
            id,
            address: Ipv4Addr::UNSPECIFIED.into(),
            ports: Ports::new(port(first), port(last)).expect("in order"),
            protocol: Protocol::Tcp,
            target: "172.18.0.2:80".parse().expect("an address and a port"),
        }
    };
    let mut intent = Intent {
        published: vec![port(1, 8080, 8080)],
        networks: vec!["br-1=routed".parse().expect("a mode")],
        ..Intent::default()
    };
    let desired = intent.desired(&host());
    assert!(desired.v4.published.is_empty());
    let ports: Vec<_> = desired.v4.targets().keys().map(|key| key.port).collect();
    assert_eq!(ports, [80]);
    assert!(intent.check(&host()).is_ok());
    // A range from 80 to 83 is one block.
    intent.published.push(port(2, 9000, 9003));
    let desired = intent.desired(&host());
    assert!(desired.v4.ranges.is_empty());
    let blocks: Vec<_> = desired.v4.target_blocks().into_keys().collect();
    let [(_, _, block)] = blocks[..] else {
        panic!("{blocks:?}");
    };
    assert_eq!((block.first, block.bits), (80, 2));
    // Nobody comes in by it who could be asked.
    let limit = Admission {
        limit: Some("5".parse().expect("a limit")),
        ..Admission::default()
    };
    intent.admissions.insert(1, limit);
    let error = intent.check(&host()).expect_err("routed").to_string();
    assert!(error.starts_with("target 172.18.0.2 is behind"), "{error}");
}

#[test]
fn a_mode_of_what_is_no_bridge_is_refused() {
    for (networks, error) in [
        (
            &["eth0=nat"][..],
            "interface eth0 cannot be a bridge: it has a mode",
        ),
        (
            &["br-1=nat", "br-1=routed"],
            "interface br-1 cannot be a bridge: it is given",
        ),
        (&["br-2=nat"], ""),
    ] {
        let networks = networks.iter().map(|text| text.parse().expect("a mode"));
        let intent = Intent {
            networks: networks.collect(),
            ..Intent::default()
        };
        let refused = intent.check(&host()).expect_err(error).to_string();
        assert!(refused.starts_with(error), "{refused}");
    }
}

/// Docker's networks are what it says, unless the user says otherwise.
#[test]
fn networks_of_somebody_else_are_as_he_says() {
    let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
    let managed = |bridge: &str, flags| ManagedSubnet {
        bridge: bridge.to_owned(),
        flags,
    };
    let mut intent = Intent {
        // Docker's count beside it.
        bridges: vec!["docker0".parse().expect("a name")],
        managed: Managed {
            bridges: ["br-1".to_owned(), "br-2".to_owned()].into(),
            subnets: [
                (net("172.18.0.0/16"), managed("br-1", CLOSED)),
                (net("fd00:18::/64"), managed("br-1", ROUTED)),
                (net("172.19.0.0/16"), managed("br-2", CLOSED)),
            ]
            .into(),
            ..Managed::default()
        },
        ..Intent::default()
    };
    let host = host();
    let flags = |intent: &Intent| {
        let subnets = intent.subnets(&intent.bridge_links(&host));
        let words = subnets
            .iter()
            .map(|(net, subnet)| (net.to_string(), *subnet));
        words.collect::<BTreeMap<_, _>>()
    };
    let subnets = flags(&intent);
    // The bridge of the last is still to come.
    assert_eq!(subnets.len(), 3, "{subnets:?}");
    let subnet = |bridge, flags| Subnet { bridge, flags };
    assert_eq!(
        subnets["172.17.0.0/16"],
        subnet(3, NetworkMode::Nat.flags())
    );
    assert_eq!(subnets["172.18.0.0/16"], subnet(4, CLOSED));
    assert_eq!(subnets["fd00:18::/64"], subnet(4, ROUTED));
    intent.networks = vec!["br-1=nat-unprotected".parse().expect("a mode")];
    let subnets = flags(&intent);
    let unprotected = subnet(4, NetworkMode::NatUnprotected.flags());
    assert_eq!(subnets["172.18.0.0/16"], unprotected);
    assert_eq!(subnets["fd00:18::/64"], unprotected);
    // Kept apart they are in any mode.
    intent.managed.apart.insert("br-1".to_owned());
    let apart = subnet(4, NetworkMode::NatUnprotected.flags() | APART);
    assert_eq!(flags(&intent)["172.18.0.0/16"], apart);
}
