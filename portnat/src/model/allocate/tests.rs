//! Which ports specs are given on a host where some are in use.

use std::collections::BTreeSet;
use std::io;

use super::*;

/// A host where processes have some ports, of whatever protocol and at whatever address.
struct Host {
    ports: HostPorts,
    busy: BTreeSet<u16>,
    allocator: Allocator,
    taken: Vec<PublishedPort>,
}

impl Host {
    fn new() -> Self {
        Host {
            ports: HostPorts {
                ephemeral: (50_000, 50_009),
                reserved: Vec::new(),
                ipv6: true,
            },
            busy: BTreeSet::new(),
            allocator: Allocator::default(),
            taken: Vec::new(),
        }
    }

    fn without_ipv6() -> Self {
        let mut host = Self::new();
        host.ports.ipv6 = false;
        host
    }

    /// Publishes and returns what is published now.
    fn publish(&mut self, texts: &[&str]) -> Result<Vec<String>, String> {
        let specs: Vec<PublishSpec> = texts.iter().map(|text| text.parse().expect(text)).collect();
        let busy = &self.busy;
        let mut reserve =
            |wanted: PortRange, _| match wanted.ports().find(|port| busy.contains(&port.get())) {
                Some(port) => Err(ReserveError::Bind {
                    address: wanted.at(port),
                    protocol: wanted.protocol,
                    cause: io::Error::from_raw_os_error(nix::libc::EADDRINUSE),
                    holder: None,
                }),
                None => Ok(()),
            };
        let given = self
            .allocator
            .allocate(&specs, &self.taken, &self.ports, &mut reserve)
            .map_err(|error| error.to_string())?;
        let given: Vec<_> = given.into_iter().map(|given| given.port).collect();
        self.taken.extend(given.iter().cloned());
        Ok(given.iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    fn publishes(&mut self, text: &str, expected: &[&str]) {
        let published = self.publish(&[text]).expect("there are free ones");
        assert_eq!(published, expected, "{text}");
    }

    #[track_caller]
    fn refuses(&mut self, text: &str, expected: &str) {
        let error = self.publish(&[text]).expect_err("not free");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn without_an_address_both_families_have_the_same_port() {
    let mut host = Host::new();
    host.publishes(
        "8080:80@172.17.0.2",
        &[
            "0.0.0.0:8080/tcp -> 172.17.0.2:80",
            "[::]:8080/tcp -> 172.17.0.2:80",
        ],
    );
    host.publishes(
        "80@172.17.0.2",
        &[
            "0.0.0.0:50000/tcp -> 172.17.0.2:80",
            "[::]:50000/tcp -> 172.17.0.2:80",
        ],
    );
    // Free in one of them only.
    host.publishes(
        "[::]:50001:81@172.17.0.2",
        &["[::]:50001/tcp -> 172.17.0.2:81"],
    );
    host.publishes(
        "82@172.17.0.2",
        &[
            "0.0.0.0:50002/tcp -> 172.17.0.2:82",
            "[::]:50002/tcp -> 172.17.0.2:82",
        ],
    );
    host.publishes("80@fd00::2", &["[::]:50003/tcp -> [fd00::2]:80"]);
    host.refuses(
        "8080:80@fd00::2",
        "Bind for [::]:8080 failed: port is already allocated",
    );
}

#[test]
fn a_port_for_both_addresses_of_a_container_leads_to_its_own_in_each_family() {
    for specs in [
        ["8080-8089:80-89@172.17.0.2", "8080-8089:80-89@fd00::2"],
        ["8080-8089:80-89@fd00::2", "8080-8089:80-89@172.17.0.2"],
    ] {
        let mut published = Host::new().publish(&specs).expect("one for each");
        published.sort();
        assert_eq!(
            published,
            [
                "0.0.0.0:8080-8089/tcp -> 172.17.0.2:80-89",
                "[::]:8080-8089/tcp -> [fd00::2]:80-89"
            ]
        );
    }
    // Of the whole range, or it is a conflict.
    let error = Host::new().publish(&["8080:80@fd00::2", "8080-8081:80-81@172.17.0.2"]);
    let error = error.expect_err("8081 would be nowhere in IPv6");
    assert!(error.contains("Bind for [::]:8080 failed"), "{error}");
    let error = Host::new().publish(&["8080:80@172.17.0.2", "[::1]:8080:80@fd00::2"]);
    error.expect_err("that one is the host's own");
}

#[test]
fn without_ipv6_there_is_ipv4() {
    let mut host = Host::without_ipv6();
    host.publishes("8080:80@172.17.0.2", &["0.0.0.0:8080/tcp -> 172.17.0.2:80"]);
}

#[test]
fn a_range_is_one_entry() {
    let mut host = Host::new();
    host.publishes(
        "8000-8010:80-90/udp@172.17.0.2",
        &[
            "0.0.0.0:8000-8010/udp -> 172.17.0.2:80-90",
            "[::]:8000-8010/udp -> 172.17.0.2:80-90",
        ],
    );
    host.publishes(
        "8010:80@172.17.0.2",
        &[
            "0.0.0.0:8010/tcp -> 172.17.0.2:80",
            "[::]:8010/tcp -> 172.17.0.2:80",
        ],
    );
    host.refuses(
        "192.0.2.1:8005-8020:1-16/udp@172.17.0.3",
        "Bind for 192.0.2.1:8005 failed: port is already allocated: 192.0.2.1:8005-8020:1-16/udp@172.17.0.3 \
         and 0.0.0.0:8000-8010/udp -> 172.17.0.2:80-90 both publish it",
    );
    assert_eq!(host.taken.len(), 4);
}

#[test]
fn a_process_in_the_middle_of_a_range_is_in_the_way() {
    let mut host = Host::new();
    host.busy.insert(8005);
    host.refuses(
        "8000-8010:80-90@172.17.0.2",
        "publishing 8000-8010:80-90/tcp@172.17.0.2: failed to bind host port 0.0.0.0:8005/tcp: address",
    );
    assert!(host.taken.is_empty());
    // What failed has left no trace.
    host.publishes(
        "192.0.2.1:8000:80@172.17.0.2",
        &["192.0.2.1:8000/tcp -> 172.17.0.2:80"],
    );
}

#[test]
fn of_a_pool_the_first_free_port_is_taken() {
    let mut host = Host::without_ipv6();
    host.busy.extend([8000, 8002]);
    let mut pool = |expected: &str| {
        host.publishes(
            "8000-8003:80@172.17.0.2",
            &[&format!("0.0.0.0:{expected}/tcp -> 172.17.0.2:80")],
        );
    };
    pool("8001");
    pool("8003");
    host.refuses(
        "8000-8003:80@172.17.0.2",
        "failed to bind host port 0.0.0.0:8002/tcp: address already in use",
    );
    host.busy.clear();
    host.publishes(
        "8000-8002:80@172.17.0.2",
        &["0.0.0.0:8000/tcp -> 172.17.0.2:80"],
    );
    host.publishes(
        "8000-8002:80@172.17.0.2",
        &["0.0.0.0:8002/tcp -> 172.17.0.2:80"],
    );
    host.refuses("8000-8003:80@172.17.0.2", "all ports are allocated");
}

#[test]
fn ten_ports_of_a_pool_are_tried() {
    let mut host = Host::without_ipv6();
    host.busy.extend(8000..8010);
    host.refuses(
        "8000-8020:80@172.17.0.2",
        "failed to bind host port 0.0.0.0:8009/tcp",
    );
    host.busy.remove(&8009);
    host.publishes(
        "8000-8020:80@172.17.0.2",
        &["0.0.0.0:8009/tcp -> 172.17.0.2:80"],
    );
}

#[test]
fn exact_ports_come_before_pools_and_these_before_ephemeral_ones() {
    let mut host = Host::without_ipv6();
    host.ports.ephemeral = (50_000, 50_002);
    let published = host.publish(&[
        "80@172.17.0.2",
        "50000-50002:81@172.17.0.2",
        "50000:82@172.17.0.2",
    ]);
    assert_eq!(
        published.expect("there are three"),
        [
            "0.0.0.0:50002/tcp -> 172.17.0.2:80",
            "0.0.0.0:50001/tcp -> 172.17.0.2:81",
            "0.0.0.0:50000/tcp -> 172.17.0.2:82"
        ]
    );
}

#[test]
fn ephemeral_ports_go_round_and_skip_what_the_administrator_keeps() {
    let mut host = Host::without_ipv6();
    host.ports.reserved = vec![(50_001, 50_003), (60_000, 60_001)];
    host.busy.insert(50_005);
    let mut next = |container: u16, expected: u16| {
        host.publishes(
            &format!("{container}@172.17.0.2"),
            &[&format!("0.0.0.0:{expected}/tcp -> 172.17.0.2:{container}")],
        );
        // It is published no more, and rests all the same.
        host.taken.clear();
    };
    for (container, port) in [50_000, 50_004, 50_006, 50_007, 50_008, 50_009, 50_000]
        .into_iter()
        .enumerate()
    {
        next(container as u16 + 1, port);
    }
    // Another protocol has a round of its own.
    host.publishes("9/udp@172.17.0.2", &["0.0.0.0:50000/udp -> 172.17.0.2:9"]);
}

#[test]
fn ten_ephemeral_ports_are_tried() {
    let mut host = Host::without_ipv6();
    host.ports.ephemeral = (50_000, 50_020);
    host.busy.extend(50_000..50_010);
    host.refuses(
        "80@172.17.0.2",
        "failed to bind host port 0.0.0.0:50009/tcp: address",
    );
    host.busy.extend(50_000..50_021);
    host.busy.remove(&50_009);
    host.publishes("80@172.17.0.2", &["0.0.0.0:50009/tcp -> 172.17.0.2:80"]);
    host.ports.ephemeral = (50_009, 50_009);
    host.refuses("81@172.17.0.2", "all ports are allocated");
}

#[test]
fn an_ephemeral_range_is_as_few_rows_as_are_free() {
    let mut host = Host::without_ipv6();
    host.publishes(
        "80-82@172.17.0.2",
        &["0.0.0.0:50000-50002/tcp -> 172.17.0.2:80-82"],
    );
    host.busy.insert(50_005);
    host.publishes(
        "90-93@172.17.0.2",
        &[
            "0.0.0.0:50003-50004/tcp -> 172.17.0.2:90-91",
            "0.0.0.0:50006-50007/tcp -> 172.17.0.2:92-93",
        ],
    );
    host.refuses("1-5@172.17.0.2", "all ports are allocated");
    // The last two, and round to the first.
    host.taken.remove(0);
    host.publishes(
        "1-3@172.17.0.2",
        &[
            "0.0.0.0:50008-50009/tcp -> 172.17.0.2:1-2",
            "0.0.0.0:50000/tcp -> 172.17.0.2:3",
        ],
    );
}

#[test]
fn a_spec_gets_its_ephemeral_ports_again() {
    let mut host = Host::without_ipv6();
    let first = host
        .publish(&["80@172.17.0.2", "81-82@172.17.0.3"])
        .expect("free");
    host.taken.clear();
    let others = host.publish(&["80@172.17.0.4"]).expect("free");
    assert_eq!(others, ["0.0.0.0:50003/tcp -> 172.17.0.4:80"]);
    let again = host
        .publish(&["81-82@172.17.0.3", "80@172.17.0.2"])
        .expect("free");
    assert_eq!([&again[1], &again[0]], [&first[0], &first[1]]);

    // What it had is left to it while there are others, and then not.
    host.taken.clear();
    for port in (50_004..=50_009).chain([50_000]) {
        host.publishes(
            &format!("{port}@172.17.0.5"),
            &[&format!("0.0.0.0:{port}/tcp -> 172.17.0.5:{port}")],
        );
    }

    // A new process is told, and somebody has one of them by now.
    let mut host = Host::without_ipv6();
    let had = [
        ("80@172.17.0.2", "50007"),
        ("81@172.17.0.2", "50008"),
        ("82@172.17.0.2", "50000"),
    ];
    let had = had.map(|(spec, ports)| {
        let ports = ports.parse().expect("ports");
        (spec.parse().expect("a spec"), vec![ports])
    });
    host.allocator = Allocator::remembering(had);
    host.busy.insert(50_008);
    host.publishes("80@172.17.0.2", &["0.0.0.0:50007/tcp -> 172.17.0.2:80"]);
    // Not the one that another may come back for.
    host.publishes("81@172.17.0.2", &["0.0.0.0:50001/tcp -> 172.17.0.2:81"]);
    host.ports.ephemeral = (50_000, 50_001);
    host.publishes("83@172.17.0.2", &["0.0.0.0:50000/tcp -> 172.17.0.2:83"]);
}

#[test]
fn the_same_port_on_two_addresses_is_two_ports() {
    let mut host = Host::new();
    let specs = [
        "198.51.100.1:8080:80@172.17.0.2",
        "198.51.100.2:8080:81@172.17.0.2",
        "198.51.100.2:8080:81/udp@172.17.0.2",
    ];
    let published = host.publish(&specs).expect("all are free");
    assert_eq!(published[0], "198.51.100.1:8080/tcp -> 172.17.0.2:80");
    assert_eq!(published.len(), 3);
}

#[test]
fn a_port_published_twice_is_refused_and_both_specs_are_named() {
    for second in [
        "198.51.100.3:8081:81/tcp@172.17.0.3",
        "0.0.0.0:8081:81/tcp@172.17.0.3",
    ] {
        let first = "198.51.100.3:8081:80/tcp@172.17.0.2";
        let error = Host::new().publish(&[first, second]).expect_err("twice");
        let both = format!("port is already allocated: {second} and {first} both publish it");
        assert!(error.ends_with(&both), "{error}");
    }
}
