use std::net::Ipv4Addr;

use portnat_common::Subnet;
use portnat_common::subnet::{CLOSED, ROUTED};

use super::*;
use crate::model::tests::{host, masqueraded};
use crate::model::{PublishedPort, Role};
use crate::spec::{Ports, Protocol};

fn port(id: u32, number: u16, target: &str) -> PublishedPort {
    PublishedPort {
        id,
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::from(std::num::NonZeroU16::new(number).expect("not 0")),
        protocol: Protocol::Tcp,
        target: target.parse().expect("an address and a port"),
    }
}

/// A network that leads nowhere, of whose subnets all do.
#[test]
fn nothing_is_translated_or_forwarded_at_the_bridge_of_an_internal_network() {
    let mut host = host();
    let mut veth = Link::made(7, "veth1", LinkKind::Veth, &[]);
    veth.master = Some(4);
    host.links.push(veth);
    let with = |flags: [u32; 2]| {
        let subnet = |net: &str, flags| {
            let bridge = "br-1".to_owned();
            (
                net.parse().expect("a prefix"),
                ManagedSubnet { bridge, flags },
            )
        };
        let subnets = [
            subnet("172.18.0.0/16", flags[0]),
            subnet("fd00:18::/64", flags[1]),
        ];
        let managed = Managed {
            subnets: subnets.into(),
            ..Managed::default()
        };
        Intent {
            managed,
            ..Intent::default()
        }
    };
    let intent = with([CLOSED; 2]);
    let desired = intent.desired(&host);
    assert_eq!(desired.interfaces[&4].role, Role::Internal);
    assert!(!desired.interfaces.contains_key(&7), "nor at its ports");
    assert!(!desired.forwarding.contains("br-1"));
    assert_eq!(desired.gates.into_keys().collect::<Vec<_>>(), [2, 3]);
    // Its own addresses are the host's all the same.
    assert_eq!(desired.v4.local.len(), 3);

    // Another address at the bridge, which Docker does not know of, makes nothing else of it; nor does a
    // prefix around it that is to be masqueraded. A mode does.
    let mut host_with_more = host.clone();
    let both = &["172.18.0.1/16", "10.77.0.1/24"];
    host_with_more.links[2] = Link::made(4, "br-1", LinkKind::Bridge, both);
    let around = Intent {
        masquerade: vec!["172.16.0.0/12".parse().expect("a prefix")],
        ..intent.clone()
    };
    for (intent, host) in [(&intent, &host_with_more), (&around, &host)] {
        let desired = intent.desired(host);
        assert_eq!(desired.interfaces[&4].role, Role::Internal);
        let behind = desired
            .v4
            .subnets
            .values()
            .filter(|subnet| subnet.bridge == 4);
        assert!(behind.into_iter().all(Subnet::is_internal));
    }
    let said = Intent {
        networks: vec!["br-1=nat".parse().expect("a mode")],
        ..intent.clone()
    };
    assert_eq!(said.desired(&host).interfaces[&4].role, Role::Bridge);

    let half = with([CLOSED, ROUTED]).desired(&host);
    assert_eq!(half.interfaces[&4].role, Role::Bridge);
    assert!(half.interfaces.contains_key(&7));
    assert_eq!(half.gates.into_keys().collect::<Vec<_>>(), [2, 3, 4]);
}

/// It may be an internal one.
#[test]
fn a_bridge_of_which_docker_has_not_told_leads_nowhere() {
    let mut host = host();
    let new = "br-0123456789ab";
    host.links
        .push(Link::made(5, new, LinkKind::Bridge, &["172.19.0.1/16"]));
    let mut intent = Intent::default();
    assert_eq!(intent.desired(&host).interfaces[&5].role, Role::Bridge);
    intent.managed.awaits = true;
    let role = |intent: &Intent, index| intent.desired(&host).interfaces[&index].role;
    assert_eq!(role(&intent, 5), Role::Internal);
    assert_eq!(role(&intent, 3), Role::Internal, "docker0");
    assert_eq!(role(&intent, 4), Role::Bridge, "Docker gives no such names");
    assert_eq!(masqueraded(&intent.desired(&host)), ["172.18.0.0/16"]);
    let named = Intent {
        bridges: vec!["br-*".into()],
        ..intent.clone()
    };
    assert_eq!(role(&named, 5), Role::Bridge);
    // Docker has told of it, though its network has no subnet.
    let mut told = intent.clone();
    told.managed.bridges.insert(new.to_owned());
    assert_eq!(role(&told, 5), Role::Bridge);

    let said = |intent: &Intent| intent.out_of_reach(&host).collect::<Vec<_>>();
    intent.published = vec![port(1, 8080, "172.19.0.2:80")];
    let until = "until Docker tells of br-0123456789ab, or --bridge or --network does";
    let words = format!("nobody comes by 0.0.0.0:8080/tcp to 172.19.0.2, {until}");
    assert_eq!(said(&intent), [words]);
    intent.managed.awaits = false;
    assert_eq!(said(&intent), [""; 0]);
}

#[test]
fn who_publishes_into_an_internal_network_is_told() {
    let bridge = "br-1".to_owned();
    let inner = ManagedSubnet {
        bridge,
        flags: CLOSED,
    };
    let net = "172.18.0.0/16".parse().expect("a prefix");
    let intent = Intent {
        managed: Managed {
            subnets: [(net, inner)].into(),
            ..Managed::default()
        },
        published: vec![
            port(1, 8080, "172.17.0.2:80"),
            port(2, 8081, "172.18.0.2:80"),
        ],
        ..Intent::default()
    };
    let said: Vec<_> = intent.out_of_reach(&host()).collect();
    assert_eq!(
        said,
        ["nobody comes by 0.0.0.0:8081/tcp to 172.18.0.2, whose network is internal"]
    );
}
