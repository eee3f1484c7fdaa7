//! Prefixes to which containers speak as themselves, and addresses that subnets name.

use portnat::model::Prefix;
use portnat_common::subnet::{BYPASSES, masqueraded_as};
use portnat_common::wire::tcp;
use portnat_common::{DropReason, Ip4, Ip6, Subnet};

use crate::fixtures::becomes;
use crate::support::packet::Carries::{EchoReply, EchoRequest, FragmentationNeeded, Tcp, Udp};
use crate::support::packet::packet;
use crate::support::world::{TestFamily as _, World};
use crate::{Host, NEXT, SHOT};

/// A container, who is not masqueraded to, who is, the host, and another address of its own.
const FAMILIES: [[&str; 5]; 2] = [
    [
        "172.17.0.2",
        "10.1.2.3",
        "203.0.113.5",
        "192.0.2.1",
        "192.0.2.77",
    ],
    [
        "[fd00:17::2]",
        "[2001:db8:9::7]",
        "[2001:db8:5::5]",
        "[2001:db8:1::1]",
        "[2001:db8:1::77]",
    ],
];

/// A host whose subnets have these flags beside.
fn host(flags: u32) -> Host {
    let mut host = Host::new();
    let key = |number| {
        let subnet = Subnet {
            bridge: 0,
            flags: masqueraded_as(number),
        };
        subnet.named_address().expect("it names one")
    };
    let ten: ipnet::Ipv4Net = "10.0.0.0/8".parse().expect("a prefix");
    let nine: ipnet::Ipv6Net = "2001:db8:9::/48".parse().expect("a prefix");
    let (v4, v6) = (&mut host.desired.v4, &mut host.desired.v6);
    v4.bypass.insert(Prefix::<Ip4>::from(ten), 1);
    v6.bypass.insert(Prefix::<Ip6>::from(nine), 1);
    let [named4, named6] = FAMILIES.map(|ends| ends[4].trim_matches(['[', ']']));
    let named4: std::net::Ipv4Addr = named4.parse().expect("an address");
    let named6: std::net::Ipv6Addr = named6.parse().expect("an address");
    v4.egress.insert(key(7), named4.into());
    v6.egress.insert(key(7), named6.into());
    v4.local.insert(named4.into(), 1);
    v6.local.insert(named6.into(), 1);
    assert_eq!(v4.egress[&crate::INTERFACE], World::HOST.into());
    assert_eq!(
        v6.egress[&crate::INTERFACE],
        portnat_common::V6::address(portnat_common::V6::OWN[0])
    );
    for subnet in v4.subnets.values_mut().chain(v6.subnets.values_mut()) {
        subnet.flags |= flags;
    }
    host.applied()
}

#[test]
fn what_is_not_masqueraded_goes_out_as_it_is_and_is_answered() {
    for [container, partner, remote, own, _] in FAMILIES {
        for (there, back, port) in [
            (Tcp(tcp::SYN), Tcp(tcp::SYN | tcp::ACK), 53),
            (Udp, Udp, 53),
            (EchoRequest, EchoReply, 0),
        ] {
            let mut host = host(BYPASSES);
            let inside = format!("{container}:5353");
            let outside = format!("{partner}:{port}");
            let asks = packet(there, &inside, &outside);
            let answers = packet(back, &outside, &inside);
            assert_eq!(host.ingress(&answers.frame()).0, SHOT, "nobody has asked");
            for _ in 0..2 {
                becomes(host.egress(&asks.frame()), &asks);
                becomes(host.ingress(&answers.frame()), &answers);
            }
            let drops = host.datapath.drops().expect("drops");
            assert_eq!(drops, [(DropReason::DirectAccess, 1)]);
            // Others see the host.
            let asks = packet(there, &inside, &format!("{remote}:{port}"));
            let seen = packet(there, &format!("{own}:5353"), &format!("{remote}:{port}"));
            becomes(host.egress(&asks.frame()), &seen);
        }
        // And of errors about it.
        let mut host = host(BYPASSES);
        let asks = packet(Udp, &format!("{container}:5353"), &format!("{partner}:53"));
        let mut quoted = asks.network();
        quoted.truncate(48);
        let router = partner.replace("::7", "::fe").replace(".3", ".254");
        let error = packet(
            FragmentationNeeded,
            &format!("{router}:0"),
            &format!("{container}:0"),
        );
        let error = error.saying(&quoted);
        assert_eq!(host.ingress(&error.frame()).0, SHOT);
        assert_eq!(host.egress(&asks.frame()).0, NEXT);
        becomes(host.ingress(&error.frame()), &error);
    }
}

#[test]
fn a_subnet_is_masqueraded_as_the_address_that_it_names() {
    for [container, _, remote, _, named] in FAMILIES {
        let mut host = host(masqueraded_as(7));
        let [inside, outside, lent] = [(container, 5353), (remote, 53), (named, 5353)]
            .map(|(who, port)| format!("{who}:{port}"));
        for (there, back) in [(Tcp(tcp::SYN), Tcp(tcp::SYN | tcp::ACK)), (Udp, Udp)] {
            let out = host.egress(&packet(there, &inside, &outside).frame());
            becomes(out, &packet(there, &lent, &outside));
            let answer = host.ingress(&packet(back, &outside, &lent).frame());
            becomes(answer, &packet(back, &outside, &inside));
        }
        // The address goes, and nothing is sent as another one.
        host.desired
            .v4
            .egress
            .retain(|key, _| *key == crate::INTERFACE);
        host.desired
            .v6
            .egress
            .retain(|key, _| *key == crate::INTERFACE);
        let mut host = host.applied();
        let new = packet(Udp, &format!("{container}:5354"), &outside);
        assert_eq!(host.egress(&new.frame()).0, SHOT);
        let drops = host.datapath.drops().expect("drops");
        assert_eq!(drops, [(DropReason::NoEgressAddress, 1)]);
    }
}
