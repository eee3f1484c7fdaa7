use std::net::SocketAddr;
use std::num::NonZeroU16;

use super::*;
use crate::flows::{Ends, Traffic};
use crate::spec::{Ports, Protocol};

fn ends(source: &str, destination: &str) -> Ends {
    let [source, destination]: [SocketAddr; 2] =
        [source, destination].map(|text| text.parse().expect("an address"));
    Ends {
        source: source.ip(),
        source_port: source.port(),
        destination: destination.ip(),
        destination_port: destination.port(),
    }
}

/// A client's flow through port 8080 of the published 8070-8089, and a container's to the outside.
fn flows() -> [(ListedFlow, Option<PublishedPort>); 2] {
    let port = |port| NonZeroU16::new(port).expect("not 0");
    let port = PublishedPort {
        id: 1,
        address: std::net::Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::from_first(port(8070), port(20)).expect("there is room"),
        protocol: Protocol::Tcp,
        target: "172.17.0.2:70".parse().expect("an address"),
    };
    let published = ListedFlow {
        protocol: Transport(6),
        state: "established".into(),
        half_open: false,
        path: "stack".into(),
        age_seconds: 61,
        idle_seconds: 0,
        published: Some("0.0.0.0:8080/tcp".to_owned()),
        original: ends("192.0.2.10:51000", "192.0.2.1:8080"),
        translated: ends("192.0.2.10:51000", "172.17.0.2:80"),
        traffic: Traffic::default(),
    };
    let masqueraded = ListedFlow {
        protocol: Transport(17),
        state: "unanswered".into(),
        published: None,
        original: ends("172.17.0.2:5000", "198.51.100.7:53"),
        translated: ends("192.0.2.1:5000", "198.51.100.7:53"),
        ..published.clone()
    };
    [(published, Some(port)), (masqueraded, None)]
}

/// Which of both are meant.
fn meant(filter: &FlowFilter) -> [bool; 2] {
    flows().map(|(flow, port)| filter.matches(&flow, port.as_ref()))
}

const BOTH: [bool; 2] = [true, true];
const PUBLISHED: [bool; 2] = [true, false];
const MASQUERADED: [bool; 2] = [false, true];
const NEITHER: [bool; 2] = [false, false];

#[test]
fn by_the_published_port() {
    for (text, expected) in [
        ("8080", PUBLISHED),
        ("8080/tcp", PUBLISHED),
        ("8080/udp", NEITHER),
        // Of the range, but not this flow's.
        ("8081", NEITHER),
        ("80", NEITHER),
        ("8000-8080", PUBLISHED),
        ("8081-8099/tcp", NEITHER),
        ("0.0.0.0:8080", PUBLISHED),
        ("192.0.2.1:8080/TCP", PUBLISHED),
        ("192.0.2.2:8080", NEITHER),
        ("[::]:8080", NEITHER),
    ] {
        let port = Some(text.parse().expect(text));
        let filter = FlowFilter {
            port,
            ..Default::default()
        };
        assert_eq!(meant(&filter), expected, "{text}");
    }
}

/// Of the published 8070-8089: whether it is named as a whole, met, and covered.
#[test]
fn a_range_is_named_as_a_whole_or_by_its_first() {
    let [(_, range), _] = flows();
    let range = range.expect("it is published");
    for (text, expected) in [
        ("8070", (true, true, false)),
        ("8071", (false, true, false)),
        ("8070-8089", (true, true, true)),
        ("8070-8089/udp", (false, false, false)),
        ("8000-9000/tcp", (false, true, true)),
        ("8080-9000", (false, true, false)),
        ("192.0.2.1:8070-8089", (false, false, false)),
        ("8090-8099", (false, false, false)),
    ] {
        let filter: PortFilter = text.parse().expect(text);
        let is = (
            filter.names(&range),
            filter.is_in(&range),
            filter.covers(&range),
        );
        assert_eq!(is, expected, "{text}");
    }
    for text in ["8089-8070", "0-80", "80-", "-80", "80-90-99", "+80"] {
        let read: Result<PortFilter, _> = text.parse();
        assert!(read.is_err(), "{text}");
    }
}

#[test]
fn by_the_target() {
    for (text, expected) in [
        ("172.17.0.2", PUBLISHED),
        ("172.17.0.2:80", PUBLISHED),
        ("172.17.0.2:8080", NEITHER),
        ("198.51.100.7:53", MASQUERADED),
        ("0.0.0.0/0", BOTH),
        ("::/0", NEITHER),
    ] {
        let target = Some(text.parse().expect(text));
        let filter = FlowFilter {
            target,
            ..Default::default()
        };
        assert_eq!(meant(&filter), expected, "{text}");
    }
}

#[test]
fn by_the_client() {
    for (text, expected) in [
        ("192.0.2.10", PUBLISHED),
        ("::ffff:192.0.2.10", PUBLISHED),
        ("192.0.2.0/24", PUBLISHED),
        // A host's bits do not matter behind a prefix.
        ("192.0.2.200/24:51000", PUBLISHED),
        ("192.0.2.0/24:51001", NEITHER),
        ("172.16.0.0/12:5000", MASQUERADED),
    ] {
        let client = Some(text.parse().expect(text));
        let filter = FlowFilter {
            client,
            ..Default::default()
        };
        assert_eq!(meant(&filter), expected, "{text}");
    }
}

#[test]
fn by_everything_that_is_said() {
    let mut filter = FlowFilter::default();
    assert!(filter.is_everything());
    assert_eq!(meant(&filter), BOTH);
    filter.proto = Some(Transport(17));
    assert!(!filter.is_everything());
    assert_eq!(meant(&filter), MASQUERADED);
    filter.client = Some("192.0.2.10".parse().expect("an address"));
    assert_eq!(meant(&filter), NEITHER);
}

#[test]
fn each_spelling_is_read_again() {
    for text in [
        "8080",
        "8080/tcp",
        "8080-8099/tcp",
        "192.0.2.1:8080",
        "[::1]:8080/udp",
    ] {
        let filter: PortFilter = text.parse().expect(text);
        assert_eq!(filter.to_string(), text);
    }
    for (text, canonical) in [
        ("172.17.0.2", "172.17.0.2/32"),
        ("172.17.0.0/16:80", "172.17.0.0/16:80"),
        ("fd00::2", "fd00::2/128"),
        // No port: it is an address.
        ("fd00::2:80", "fd00::2:80/128"),
        ("[fd00::2]", "fd00::2/128"),
        ("[fd00::2]:80", "[fd00::2/128]:80"),
        ("[fd00::/8]:80", "[fd00::/8]:80"),
    ] {
        let filter: EndFilter = text.parse().expect(text);
        assert_eq!(filter.to_string(), canonical, "{text}");
        assert_eq!(canonical.parse(), Ok(filter));
    }
}

#[test]
fn what_makes_no_sense() {
    for text in [
        "", "0", "65536", "-1", "+80", "http", "8080/", "8080/xyz", ":8080", "host:80", "::8080:",
    ] {
        assert!(text.parse::<PortFilter>().is_err(), "{text}");
    }
    for text in [
        "",
        "web",
        "172.17.0.2:",
        "172.17.0.2:+80",
        "172.17.0.2:65536",
        "172.17.0.0/33",
        "fd00::/64:80",
        "[fd00::2]80",
        "[fd00::2",
        ":80",
    ] {
        assert!(text.parse::<EndFilter>().is_err(), "{text}");
    }
}

#[test]
fn what_waits_is_meant_by_its_ports_of_the_host() {
    let wanted = |text: &str| {
        let wish: crate::spec::Wish = text.parse().expect(text);
        wish.mapping()
    };
    for (filter, spec, is_meant) in [
        ("8080", "8080:80@web", true),
        ("8080", "8081:80@web", false),
        ("8080/udp", "8080:80@web", false),
        ("8080/udp", "8080:80/udp@web", true),
        ("0.0.0.0:8080", "8080:80@web", true),
        ("192.0.2.1:8080", "8080:80@web", false),
        ("192.0.2.1:8080", "192.0.2.1:8080:80@web", true),
        ("8000-8009", "8001-8002:81-82@web", true),
        // A part, and one that is not chosen yet.
        ("8001", "8001-8002:81-82@web", false),
        ("80", "80@web", false),
    ] {
        let filter: PortFilter = filter.parse().expect(filter);
        assert_eq!(
            filter.covers_wanted(&wanted(spec)),
            is_meant,
            "{filter} {spec}"
        );
    }
}
