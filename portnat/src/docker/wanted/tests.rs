//! What Docker 20.10 and 28.5 have answered, and what it comes to.

use super::super::client::recorded;
use super::*;
use crate::spec::Wish;

/// The same of both: `web` is in the default network and in `six`, which has IPv6, `rou` in `rt`, which
/// is routed as far as Docker knows the option, `ss` in `six` with all its ports.
fn docker_20() -> Observed {
    recorded(
        include_str!("recorded/networks-20.json"),
        include_str!("recorded/containers-20.json"),
        &[
            include_str!("recorded/web-20.json"),
            include_str!("recorded/rou-20.json"),
            include_str!("recorded/ss-20.json"),
        ],
    )
}

fn docker_28() -> Observed {
    recorded(
        include_str!("recorded/networks-28.json"),
        include_str!("recorded/containers-28.json"),
        &[
            include_str!("recorded/web-28.json"),
            include_str!("recorded/rou-28.json"),
            include_str!("recorded/ss-28.json"),
        ],
    )
}

/// What is published, in words.
fn published(observed: &Observed, ipv6: bool) -> Vec<String> {
    let wanted = Wanted::of(observed, ipv6);
    let mut words: Vec<_> = wanted.specs.iter().map(ToString::to_string).collect();
    words.sort();
    words
}

/// The first container of this name.
fn container<'o>(observed: &'o mut Observed, name: &str) -> &'o mut Container {
    let mut all = observed.containers.iter_mut();
    all.find(|one| one.name == name).expect("a container")
}

#[test]
fn what_docker_publishes() {
    let web = [
        "0.0.0.0:8080:80/tcp@172.18.0.2",
        "127.0.0.1:9000:9000/udp@172.18.0.2",
        "127.0.0.1:9001:9001/udp@172.18.0.2",
        "127.0.0.1:9002:9002/udp@172.18.0.2",
        "127.0.0.1:9003:9003/udp@172.18.0.2",
        "172.19.0.2:80:80/tcp@172.19.0.2",
        "172.19.0.2:81:81/tcp@172.19.0.2",
        "[::1]:86:86/tcp@fd00:33::3",
        "[::]:8080:80/tcp@fd00:33::2",
    ];
    // Docker 20.10 gives other ports to the two families.
    let twenty = [
        "0.0.0.0:32769:99/tcp@172.18.0.3",
        "0.0.0.0:32770:85/tcp@172.18.0.3",
        "[::]:32768:99/tcp@fd00:33::3",
        "[::]:32769:85/tcp@fd00:33::3",
    ];
    let twenty_eight = [
        "0.0.0.0:32768:85/tcp@172.18.0.3",
        "0.0.0.0:32769:99/tcp@172.18.0.3",
        "[::]:32768:85/tcp@fd00:33::3",
        "[::]:32769:99/tcp@fd00:33::3",
    ];
    for (observed, own) in [(docker_20(), twenty), (docker_28(), twenty_eight)] {
        let mut all = [&web[..], &own].concat();
        all.sort_unstable();
        assert_eq!(published(&observed, true), all);
        all.retain(|spec| !spec.starts_with('['));
        assert_eq!(published(&observed, false), all);
    }
}

#[test]
fn labels_are_of_the_ports_that_they_name() {
    let mut observed = docker_28();
    let web = container(&mut observed, "web");
    web.labels = [("portnat.allow.9001/udp".to_owned(), "10.0.0.0/8".to_owned())].into();
    let wanted = Wanted::of(&observed, true);
    let label = |spec: &str| {
        let of = wanted.admission(&spec.parse().expect("a spec"));
        let of = of.expect("they make sense");
        of.allow.first().map(ToString::to_string)
    };
    let net = Some("10.0.0.0/8".to_owned());
    assert_eq!(label("127.0.0.1:9001:9001/udp@172.18.0.2"), net);
    assert_eq!(label("127.0.0.1:9002:9002/udp@172.18.0.2"), None);
    // As it was started, for all ports.
    assert_eq!(label("0.0.0.0:32768:85/tcp@172.18.0.3"), net);
    // Whoever publishes it, at whichever of its addresses.
    assert_eq!(label("7:9001/udp@172.17.0.2"), net);
    assert_eq!(label("7:9001/udp@fd00:33::2"), net);
    assert_eq!(label("7:9001/tcp@172.17.0.2"), None);
    assert_eq!(label("7:9001/udp@172.17.0.77"), None);
    // Two of them are open.
    let row = "9000-9002:9000-9002/udp@172.17.0.2"
        .parse()
        .expect("a spec");
    let why = wanted.admission(&row).expect_err("it is not clear");
    assert!(
        why.contains("container web: its labels do not say the same"),
        "{why}"
    );
    let wish: Wish = "9000-9002:9000-9002/udp@web".parse().expect("a spec");
    let why = wanted.at(wish.named().expect("a name")).expect_err("alike");
    assert!(why.to_string().contains("publish them apart"), "{why}");
    let web = container(&mut observed, "web");
    web.labels.insert("portnat.alow".to_owned(), String::new());
    let wanted = Wanted::of(&observed, true);
    assert!(wanted.refused[0].starts_with("container web is not published: label portnat.alow: "));
    assert!(
        wanted
            .specs
            .iter()
            .all(|spec| spec.target.to_string() != "172.18.0.2")
    );
    // By nobody else either.
    wanted
        .admission(&"7:80@172.17.0.2".parse().expect("a spec"))
        .expect_err("nobody knows whom they let in");
    let wish: Wish = "7:80@web".parse().expect("a spec");
    wanted.at(wish.named().expect("a name")).expect_err("alike");
}

/// As Docker's proxy does, which is switched off.
#[test]
fn ipv6_is_served_where_no_address_is_named() {
    let mut observed = docker_28();
    observed.containers.retain(|one| one.name == "web");
    let web = container(&mut observed, "web");
    web.endpoints.retain(|endpoint| endpoint.v6.is_none());
    web.ports.retain(|port| port.address.is_ipv4());
    let wanted = Wanted::of(&observed, true);
    let words: Vec<_> = wanted.unlisted.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["[::]:8080:80/tcp@172.17.0.2"]);
    container(&mut observed, "web").everywhere.clear();
    assert!(Wanted::of(&observed, true).unlisted.is_empty());
}

#[test]
fn the_way_outside_is_of_the_highest_priority_or_of_both_families_or_the_first() {
    let mut observed = docker_28();
    observed.containers.retain(|one| one.name == "web");
    let leads_to = |observed: &Observed| {
        let first = published(observed, false).swap_remove(0);
        first
            .rsplit('@')
            .next()
            .map(str::to_owned)
            .expect("a target")
    };
    assert_eq!(leads_to(&observed), "172.18.0.2", "six, which has both");
    for endpoint in &mut container(&mut observed, "web").endpoints {
        endpoint.priority = i64::from(endpoint.name == "bridge");
    }
    assert_eq!(leads_to(&observed), "172.17.0.2");
    for endpoint in &mut container(&mut observed, "web").endpoints {
        (endpoint.priority, endpoint.v6) = (0, None);
    }
    assert_eq!(leads_to(&observed), "172.17.0.2", "bridge, before six");
    for network in &mut observed.networks {
        network.internal = network.name == "bridge";
    }
    assert_eq!(leads_to(&observed), "172.18.0.2");
    observed.networks.clear();
    assert_eq!(published(&observed, true), [""; 0]);
}

#[test]
fn long_rows_are_ranges() {
    let port = |number: u16| NonZeroU16::new(number).expect("not 0");
    let row = |first: u16, count: u16, shift: u16| {
        (first..first + count).map(move |number| Single {
            address: Ipv6Addr::UNSPECIFIED.into(),
            protocol: Protocol::Udp,
            target: Ipv6Addr::LOCALHOST.into(),
            host: port(number),
            container: port(number + shift),
        })
    };
    let words = |singles: BTreeSet<Single>| {
        let rows = rows(&singles, &Labels::default());
        rows.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let long = row(1000, ROW, 7).chain(row(65519, ROW, 0)).collect();
    assert_eq!(
        words(long),
        [
            "[::]:1000-1015:1007-1022/udp@::1",
            "[::]:65519-65534:65519-65534/udp@::1"
        ]
    );
    assert_eq!(words(row(1000, ROW - 1, 7).collect()).len(), 15);
    // They lead to others in between.
    let broken = row(1000, 8, 0).chain(row(1008, 8, 1)).collect();
    assert_eq!(words(broken).len(), 16);
}

#[test]
fn networks_are_what_their_options_say() {
    let flags_of = |options: &[(&str, &str)], internal, v6| {
        let named = |(name, value): &(&str, &str)| {
            (
                format!("com.docker.network.bridge.{name}"),
                value.to_string(),
            )
        };
        let options = options.iter().map(named).collect();
        let network = Network {
            internal,
            options,
            ..Network::default()
        };
        flags(&network, v6)
    };
    let nat = MASQUERADED | CLOSED;
    assert_eq!(flags_of(&[], false, false), nat);
    assert_eq!(flags_of(&[], true, false), CLOSED);
    for (value, masqueraded) in [("false", false), ("0", false), ("true", true), ("no", true)] {
        let options = [("enable_ip_masquerade", value)];
        let expected = if masqueraded { nat } else { CLOSED | BYPASSES };
        assert_eq!(flags_of(&options, false, true), expected, "{value}");
        // Without iptables Docker says so of its default network.
        let default = [options[0], ("default_bridge", "true")];
        assert_eq!(flags_of(&default, false, false), nat);
    }
    let modes = [
        ("gateway_mode_ipv4", "routed"),
        ("gateway_mode_ipv6", "nat-unprotected"),
    ];
    assert_eq!(flags_of(&modes, false, false), ROUTED);
    assert_eq!(flags_of(&modes, false, true), MASQUERADED | ISOLATED);
    let as_itself = [modes[1], ("enable_ip_masquerade", "false")];
    assert_eq!(flags_of(&as_itself, false, true), ISOLATED);
    assert_eq!(
        flags_of(&[("gateway_mode_ipv4", "isolated")], false, false),
        CLOSED
    );
}

#[test]
fn networks_without_communication_keep_their_containers_apart() {
    let mut observed = docker_28();
    // The default one says that there is.
    assert!(Wanted::of(&observed, true).managed.apart.is_empty());
    let mut networks = observed.networks.iter_mut();
    let six = networks
        .find(|network| network.name == "six")
        .expect("is there");
    let option = "com.docker.network.bridge.enable_icc".to_owned();
    six.options.insert(option, "false".to_owned());
    let bridge = six.bridge.clone();
    assert_eq!(Wanted::of(&observed, true).managed.apart, [bridge].into());
}

#[test]
fn addresses_have_names() {
    let wanted = Wanted::of(&docker_28(), true);
    let name = |address: &str| {
        let named = &wanted.names[&address.parse::<IpAddr>().expect("an address")];
        (named.container.as_str(), named.network.as_str())
    };
    assert_eq!(name("172.17.0.2"), ("web", "bridge"));
    assert_eq!(name("fd00:33::2"), ("web", "six"));
    assert_eq!(name("172.19.0.2"), ("rou", "rt"));
    let subnets = wanted.managed.subnets.iter();
    let subnets = subnets.map(|(net, it)| (net.to_string(), it.bridge.as_str()));
    let subnets: Vec<_> = subnets.collect();
    assert_eq!(subnets[0], ("172.17.0.0/16".to_owned(), "docker0"));
    assert_eq!(subnets[1].1, subnets[3].1, "both families of six");
    assert!(subnets[1].1.starts_with("br-") && subnets[1].1.len() == 15);
}

/// By the same ways as what Docker publishes.
#[test]
fn a_container_that_is_named_is_at_its_address() {
    let mut observed = docker_28();
    let at = |observed: &Observed, text: &str| {
        let wish: Wish = text.parse().expect(text);
        let wanted = Wanted::of(observed, true);
        let spec = wanted.at(wish.named().expect("a name"));
        spec.map(|spec| spec.to_string())
            .map_err(|why| why.to_string())
    };
    for (text, wanted) in [
        ("9:90@web", "9:90/tcp@172.18.0.2"),
        ("192.0.2.1:9:90@web", "192.0.2.1:9:90/tcp@172.18.0.2"),
        ("[::1]:9:90@web", "[::1]:9:90/tcp@fd00:33::2"),
    ] {
        assert_eq!(at(&observed, text).as_deref(), Ok(wanted));
    }
    let why = at(&observed, "9:90@wob").expect_err("is not there");
    assert!(
        why.starts_with("9:90/tcp@wob: Docker has no running"),
        "{why}"
    );
    for network in &mut observed.networks {
        network.internal = true;
    }
    let why = at(&observed, "9:90@web").expect_err("nothing is published there");
    assert!(
        why.contains("network bridge of this container is --internal"),
        "{why}"
    );
    container(&mut observed, "web").endpoints.clear();
    let why = at(&observed, "9:90@web").expect_err("has no address");
    assert!(why.contains("docker network connect"), "{why}");
}
