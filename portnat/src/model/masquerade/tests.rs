use std::net::Ipv4Addr;

use portnat_common::Subnet;

use super::*;
use crate::model::{Network, Prefix};

fn host() -> Snapshot {
    let uplink = ["192.0.2.1/24", "192.0.2.7/24", "2001:db8:1::7/64"];
    Snapshot {
        links: vec![
            Link::made(2, "eth0", LinkKind::Device, &uplink),
            Link::made(
                3,
                "docker0",
                LinkKind::Bridge,
                &["172.17.0.1/16", "fd00:17::1/64"],
            ),
            Link::made(4, "br-1", LinkKind::Bridge, &["172.18.0.1/16"]),
        ],
    }
}

fn intent(masquerade: &[&str], bypass: &[&str]) -> Intent {
    Intent {
        masquerade: masquerade
            .iter()
            .map(|text| text.parse().expect(text))
            .collect(),
        bypass: bypass
            .iter()
            .map(|text| text.parse().expect(text))
            .collect(),
        ..Intent::default()
    }
}

fn v4(desired: &Desired, net: &str) -> Subnet {
    let net: ipnet::Ipv4Net = net.parse().expect("a prefix");
    desired.v4.subnets[&Prefix::from(net)]
}

/// As what a subnet is masqueraded, where that is said.
fn named(desired: &Desired, net: &str) -> Option<Ipv4Addr> {
    let key = v4(desired, net).named_address()?;
    Some((*desired.v4.egress.get(&key)?).into())
}

#[test]
fn a_prefix_is_read_as_it_is_written() {
    for text in [
        "172.17.0.0/16",
        "172.17.0.0/16,to=192.0.2.7",
        "fd00::/8,to=2001:db8::7",
    ] {
        let one: Masquerade = text.parse().expect(text);
        assert_eq!(one.to_string(), text);
    }
    for (text, why) in [
        ("172.17.0.0", "172.17.0.0"),
        ("172.17.0.0/33", "172.17.0.0/33"),
        ("172.17.0.0/16,192.0.2.7", "is no option of a prefix"),
        ("172.17.0.0/16,to=host", "\"host\""),
        ("172.17.0.0/16,to=2001:db8::7", "not of one family"),
        ("fd00::/8,to=192.0.2.7", "not of one family"),
        (
            "172.17.0.0/16,to=127.0.0.1",
            "no address that others could answer",
        ),
        (
            "172.17.0.0/16,to=0.0.0.0",
            "no address that others could answer",
        ),
        ("fd00::/8,to=fe80::1", "no address that others could answer"),
    ] {
        let error = text.parse::<Masquerade>().expect_err(text);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_subnet_is_masqueraded_as_the_address_that_is_said_of_it() {
    let mut intent = intent(
        &[
            "172.17.0.0/16,to=192.0.2.7",
            "172.16.0.0/12",
            "172.17.5.0/24,to=192.0.2.1",
        ],
        &[],
    );
    let mut host = host();
    let desired = intent.desired(&host);
    intent.check(&host).expect("it is sound");
    let seven = Some(Ipv4Addr::new(192, 0, 2, 7));
    assert_eq!(named(&desired, "172.17.0.0/16"), seven);
    assert_eq!(
        named(&desired, "172.17.5.0/24"),
        Some(Ipv4Addr::new(192, 0, 2, 1))
    );
    for plain in ["172.16.0.0/12", "172.18.0.0/16"] {
        assert!(v4(&desired, plain).is_masqueraded());
        assert_eq!(v4(&desired, plain).named_address(), None);
    }
    // Interfaces have theirs as before.
    assert_eq!(desired.v4.egress[&2], Ipv4Addr::new(192, 0, 2, 1).into());
    assert_eq!(desired.v4.egress.len(), 5);
    // A bridge inside has the address of the prefix around it, whatever its mode.
    intent.masquerade = vec!["172.16.0.0/12,to=192.0.2.7".parse().expect("a prefix")];
    intent.networks = vec![Network {
        bridge: "docker0".to_owned(),
        mode: NetworkMode::NatUnprotected,
    }];
    let desired = intent.desired(&host);
    assert_eq!(named(&desired, "172.17.0.0/16"), seven);
    assert!(!v4(&desired, "172.17.0.0/16").is_closed());
    assert!(v4(&desired, "172.18.0.0/16").is_closed());
    assert_eq!(intent.missing_egress(&host).count(), 0);

    // Without the address nothing is lent in its place.
    host.links[0].addresses.remove(1);
    let desired = intent.desired(&host);
    assert!(v4(&desired, "172.17.0.0/16").named_address().is_some());
    assert_eq!(named(&desired, "172.17.0.0/16"), None);
    let missing: Vec<_> = intent.missing_egress(&host).collect();
    assert_eq!(
        missing,
        ["what 172.16.0.0/12 sends outside is dropped until this host has the address 192.0.2.7"]
    );
    let error = intent.check(&host).expect_err("the host has it not");
    assert!(error.to_string().contains("192.0.2.7"), "{error}");
}

#[test]
fn a_prefix_is_masqueraded_in_one_way() {
    let host = host();
    let twice = intent(
        &["172.17.0.0/16,to=192.0.2.7", "172.17.3.4/16,to=192.0.2.1"],
        &[],
    );
    let error = twice.check(&host).expect_err("it is said twice");
    assert!(error.to_string().contains("172.17.3.4/16"), "{error}");
    let same = intent(&["172.17.0.0/16,to=192.0.2.7"; 2], &[]);
    same.check(&host).expect("nothing else is said");
}

#[test]
fn what_is_not_masqueraded_to_is_told_to_subnets_that_are_masqueraded() {
    let host = host();
    let desired = Intent::default().desired(&host);
    assert!(desired.v4.bypass.is_empty());
    assert!(!v4(&desired, "172.17.0.0/16").bypasses());
    let mut intent = intent(&["172.17.0.0/16"], &["10.1.2.3/8", "fd00::/8"]);
    let desired = intent.desired(&host);
    let ten: ipnet::Ipv4Net = "10.0.0.0/8".parse().expect("a prefix");
    assert_eq!(desired.v4.bypass, [(ten.into(), 1)].into());
    assert_eq!(desired.v6.bypass.len(), 1);
    assert!(v4(&desired, "172.17.0.0/16").bypasses());
    assert!(
        !v4(&desired, "172.18.0.0/16").bypasses(),
        "it is not masqueraded"
    );
    // What has begun goes on, when there are none any more.
    (intent.bypass, intent.bypassed) = (Vec::new(), true);
    let desired = intent.desired(&host);
    assert!(desired.v4.bypass.is_empty());
    assert!(v4(&desired, "172.17.0.0/16").bypasses());
}

#[test]
fn an_addresses_number_is_its_own() {
    let mut numbers: Vec<_> = (0..=255_u8)
        .map(|last| number(Ipv4Addr::new(192, 0, 2, last).into()))
        .chain((0..256).map(|last| number(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]))))
        .collect();
    assert!(numbers.iter().all(|number| (1..1 << 24).contains(number)));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 512);
}
