//! Who may come in by a published port.

use portnat::model::Admission;
use portnat_common::wire::tcp;
use portnat_common::{DropReason, Ticks};

use crate::support::packet::Carries::Tcp;
use crate::support::packet::packet;
use crate::{Host, NEXT, SHOT};

/// Where the port is published, and the clients' network, in each family.
const FAMILIES: [(&str, &str, &str, &str); 2] = [
    ("0.0.0.0", "172.17.0.2:80", "192.0.2.1:8080", "198.51.100."),
    (
        "::",
        "[fd00:17::2]:80",
        "[2001:db8:1::1]:8080",
        "2001:db8:9:",
    ),
];

fn admission(allow: &[&str], deny: &[&str], limit: Option<&str>) -> Admission {
    let nets = |texts: &[&str]| {
        let nets = texts.iter().map(|text| text.parse().expect("a prefix"));
        nets.collect()
    };
    Admission {
        allow: nets(allow),
        deny: nets(deny),
        limit: limit.map(|text| text.parse().expect("a limit")),
    }
}

/// Opens a connection as the client with this number, in its own /64 where that is what counts.
fn asks(host: &mut Host, (_, _, at, network): (&str, &str, &str, &str), number: u16) -> i32 {
    let client = match at.starts_with('[') {
        true => format!("[{network}{number}::7]:40000"),
        false => format!("{network}{number}:40000"),
    };
    host.ingress(&packet(Tcp(tcp::SYN), &client, at).frame()).0
}

#[test]
fn who_may_come_in_is_changed_by_difference() {
    for family @ (address, target, _, _) in FAMILIES {
        let lists = |v4: &[&'static str], v6: &[&'static str]| match address {
            "::" => v6.to_vec(),
            _ => v4.to_vec(),
        };
        let some = lists(&["198.51.100.0/28"], &["2001:db8:9::/60"]);
        let one = lists(&["198.51.100.3/32"], &["2001:db8:9:3::/64"]);
        let other = lists(&["192.0.2.0/24"], &["2001:db8::/48"]);
        let mut host = Host::new();
        for (allow, deny, let_in) in [
            (&[][..], &[][..], [true, true, true]),
            (&some, &one, [true, false, false]),
            (&one, &some, [false, true, false]),
            (&[], &one, [true, false, true]),
            (&other, &[], [false, false, false]),
            (&[], &[], [true, true, true]),
        ] {
            let admission = admission(allow, deny, None);
            host = host.publish_for(address, target, &admission);
            // Each of them anew: who is known goes on.
            for flow in host.datapath.flows::<portnat_common::Ip4>().expect("flows") {
                host.datapath.end(&flow.0).expect("ending");
            }
            for flow in host.datapath.flows::<portnat_common::Ip6>().expect("flows") {
                host.datapath.end(&flow.0).expect("ending");
            }
            let verdicts = [2, 3, 40].map(|number| asks(&mut host, family, number));
            let expected = let_in.map(|let_in| if let_in { NEXT } else { SHOT });
            assert_eq!(verdicts, expected, "{admission:?}");
        }
        assert_eq!(
            host.datapath.drops().expect("drops"),
            [(DropReason::Denied, 8)]
        );
    }
}

#[test]
fn a_source_opens_so_many_and_no_more() {
    for (address, target, at, _) in FAMILIES {
        // In an hour none drops into the bucket while this runs.
        let admission = admission(&[], &[], Some("1/h:3"));
        let mut host = Host::new().publish_for(address, target, &admission);
        for (client, others) in [
            ("198.51.100.7", "198.51.100.8"),
            ("2001:db8:9:7::1", "2001:db8:9:8::1"),
        ] {
            if client.contains(':') != at.contains('[') {
                continue;
            }
            let mut open = |client: &str, port: u16| {
                let client = match client.contains(':') {
                    true => format!("[{client}]:{port}"),
                    false => format!("{client}:{port}"),
                };
                host.ingress(&packet(Tcp(tcp::SYN), &client, at).frame()).0
            };
            let verdicts = [1, 2, 3, 4, 5].map(|port| open(client, port));
            assert_eq!(verdicts, [NEXT, NEXT, NEXT, SHOT, SHOT]);
            // What is open goes on, and others are not concerned.
            assert_eq!([open(client, 3), open(others, 1)], [NEXT, NEXT]);
        }
        assert_eq!(
            host.datapath.drops().expect("drops"),
            [(DropReason::Limited, 2)]
        );
    }
}

#[test]
fn a_limit_lets_in_as_many_as_time_has_dropped() {
    let family @ (address, target, at, _) = FAMILIES[0];
    let mut host = Host::new().publish_for(address, target, &admission(&[], &[], Some("50:2")));
    assert_eq!(asks(&mut host, family, 1), NEXT);
    let begun = host.datapath.now().expect("the time");
    let hz = u64::from(portnat::net::ticks_per_second());
    let mut passed = 0;
    let mut port = 1024;
    loop {
        let client = format!("198.51.100.7:{port}");
        let verdict = host.ingress(&packet(Tcp(tcp::SYN), &client, at).frame()).0;
        port += 1;
        passed += u64::from(verdict == NEXT);
        let Ticks(ticks) = host.datapath.now().expect("the time").since(begun);
        assert!(passed <= 2 + ticks * 50 / hz, "{passed} in {ticks} ticks");
        // Several have dropped in since.
        if passed == 6 || port == u16::MAX {
            break;
        }
    }
    assert_eq!(passed, 6);
}
