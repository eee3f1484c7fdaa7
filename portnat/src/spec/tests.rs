//! One test a rule of the grammar, and the round trip for all specs there are.

use std::error::Error as _;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;

fn spec(text: &str) -> PublishSpec {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    text.parse::<PublishSpec>().expect_err(text).to_string()
}

/// What the error says is behind it: Docker's own text leaves that out.
fn cause(text: &str) -> String {
    let error = text.parse::<PublishSpec>().expect_err(text);
    error
        .source()
        .expect("an invalid port has a cause")
        .to_string()
}

/// Host address, host port (0 when ephemeral) and container port.
fn parts(text: &str) -> (Option<String>, u16, u16) {
    let spec = PublishSpec::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let single = |ports: Ports| ports.single().expect("one port").get();
    (
        spec.host_ip.map(|ip| ip.to_string()),
        spec.host_ports.map_or(0, single),
        single(spec.container_ports),
    )
}

/// Host ports and container ports as they are shown.
fn ranges(text: &str) -> (Option<String>, String) {
    let spec = spec(text);
    let host = spec.host_ports.map(|ports| ports.to_string());
    (host, spec.container_ports.to_string())
}

#[test]
fn every_part_that_may_be_left_out() {
    assert_eq!(parts("80@172.17.0.2"), (None, 0, 80));
    assert_eq!(parts(":80@172.17.0.2"), (None, 0, 80));
    assert_eq!(parts("::80@172.17.0.2"), (None, 0, 80));
    assert_eq!(parts(":8080:80@172.17.0.2"), (None, 8080, 80));
    assert_eq!(parts("8080:80@172.17.0.2"), (None, 8080, 80));
    assert_eq!(
        parts("127.0.0.1::80@172.17.0.2"),
        (Some("127.0.0.1".into()), 0, 80)
    );
    assert_eq!(
        parts("127.0.0.1:8080:80@172.17.0.2"),
        (Some("127.0.0.1".into()), 8080, 80)
    );
    assert_eq!(spec("80@172.17.0.2").target.to_string(), "172.17.0.2");
}

#[test]
fn all_before_the_last_two_parts_is_the_address() {
    assert_eq!(parts("::1:80:80@172.17.0.2"), (Some("::1".into()), 80, 80));
    assert_eq!(
        parts("[::1]:80:80@172.17.0.2"),
        (Some("::1".into()), 80, 80)
    );
    assert_eq!(parts("::::80@172.17.0.2"), (Some("::".into()), 0, 80));
    assert_eq!(
        parts("[127.0.0.1]:80:80@172.17.0.2"),
        (Some("127.0.0.1".into()), 80, 80)
    );
    assert_eq!(parts("[]:80:80@172.17.0.2"), (None, 80, 80));
}

#[test]
fn port_0_of_the_host_is_ephemeral() {
    assert_eq!(spec("0:80@172.17.0.2"), spec("80@172.17.0.2"));
    assert_eq!(
        spec("127.0.0.1:0:80@172.17.0.2"),
        spec("127.0.0.1::80@172.17.0.2")
    );
}

#[test]
fn ports_are_decimal() {
    assert_eq!(parts("0123:080@172.17.0.2"), (None, 123, 80));
    assert_eq!(parts("1:65535@172.17.0.2"), (None, 1, 65535));
}

#[test]
fn a_range_of_one_port_is_a_port() {
    assert_eq!(parts("8080-8080:80-80@172.17.0.2"), (None, 8080, 80));
}

#[test]
fn the_protocol_is_tcp_unless_said_and_in_either_case() {
    assert_eq!(spec("80@172.17.0.2").protocol, Protocol::Tcp);
    assert_eq!(spec("80/@172.17.0.2").protocol, Protocol::Tcp);
    assert_eq!(spec("80/TCP@172.17.0.2").protocol, Protocol::Tcp);
    assert_eq!(spec("53/Udp@172.17.0.2").protocol, Protocol::Udp);
    assert_eq!(spec("80/SCTP@172.17.0.2").protocol, Protocol::Sctp);
    assert_eq!(refusal("80/ICMP@172.17.0.2"), "invalid proto: icmp");
    assert_eq!(refusal("80/tcp/udp@172.17.0.2"), "invalid proto: tcp/udp");
}

#[test]
fn protocols_have_iana_numbers() {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    assert_eq!(all.map(Protocol::number), [6, 17, 132]);
}

#[test]
fn a_container_port_is_needed() {
    assert_eq!(refusal(""), "no port specified: <empty>");
    assert_eq!(refusal("@172.17.0.2"), "no port specified: <empty>");
    assert_eq!(
        refusal("8080:@172.17.0.2"),
        "no port specified: 8080:<empty>"
    );
    assert_eq!(
        refusal("0.0.0.0:80:/tcp@172.17.0.2"),
        "no port specified: 0.0.0.0:80:/tcp<empty>"
    );
}

#[test]
fn the_host_is_an_address_not_a_name() {
    assert_eq!(
        refusal("localhost:80:80@172.17.0.2"),
        "invalid IP address: localhost"
    );
    assert_eq!(
        refusal("10.0.0:80:80@172.17.0.2"),
        "invalid IP address: 10.0.0"
    );
    assert_eq!(refusal("[::1:80:80@172.17.0.2"), "invalid IP address: [::1");
    assert_eq!(
        refusal("[fe80::1%eth0]:80:80@172.17.0.2"),
        "invalid IP address: fe80::1%eth0"
    );
}

#[test]
fn an_invalid_port_is_named_and_its_cause_is_kept() {
    assert_eq!(refusal("8080:web@172.17.0.2"), "invalid containerPort: web");
    assert_eq!(
        cause("8080:web@172.17.0.2"),
        "invalid port 'web': invalid syntax"
    );
    assert_eq!(refusal("web:80@172.17.0.2"), "invalid hostPort: web");
    assert_eq!(refusal("65536:80@172.17.0.2"), "invalid hostPort: 65536");
    let out_of_range = "invalid port '65536': value out of range (0-65535)";
    assert_eq!(cause("65536:80@172.17.0.2"), out_of_range);
    assert_eq!(cause("65536@172.17.0.2"), out_of_range);
    assert!(cause("99999999999999999999999@172.17.0.2").ends_with("value out of range (0-65535)"));
    assert_eq!(refusal("-1:80@172.17.0.2"), "invalid hostPort: -1");
    assert_eq!(refusal("80:0@172.17.0.2"), "invalid containerPort: 0");
}

#[test]
fn ranges_of_one_length_a_pool_and_ephemeral_ranges() {
    let some = |host: &str, container: &str| (Some(host.to_owned()), container.to_owned());
    assert_eq!(
        ranges("8000-8010:80-90@172.17.0.2"),
        some("8000-8010", "80-90")
    );
    assert_eq!(
        ranges("[::1]:8000-8010:80-90/udp@172.17.0.2"),
        some("8000-8010", "80-90")
    );
    assert_eq!(
        ranges("1-65535:1-65535@172.17.0.2"),
        some("1-65535", "1-65535")
    );
    let pool = spec("8000-8010:80@172.17.0.2");
    assert_eq!(pool.pool(), pool.host_ports);
    assert_eq!(ranges("8000-8010:80@172.17.0.2"), some("8000-8010", "80"));
    assert_eq!(spec("8000-8010:80-90@172.17.0.2").pool(), None);
    assert_eq!(spec("8000:80@172.17.0.2").pool(), None);
    for text in ["80-90@172.17.0.2", "192.0.2.1::80-90@172.17.0.2"] {
        assert_eq!(ranges(text), (None, "80-90".to_owned()), "{text}");
    }
}

#[test]
fn ranges_that_docker_refuses() {
    for (text, container, host) in [
        ("8000-9000:80-90", "80-90", "8000-9000"),
        ("8000:80-90", "80-90", "8000"),
        ("0:80-90", "80-90", "0"),
    ] {
        assert_eq!(
            refusal(&format!("{text}@172.17.0.2")),
            format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            )
        );
    }
    assert_eq!(refusal("90-80@172.17.0.2"), "invalid containerPort: 90-80");
    assert_eq!(cause("90-80@172.17.0.2"), "invalid port range: 90-80");
    assert_eq!(refusal("80-:80@172.17.0.2"), "invalid hostPort: 80-");
    assert_eq!(
        refusal("80-90-100@172.17.0.2"),
        "invalid containerPort: 80-90-100"
    );
    assert_eq!(refusal("0-10:80@172.17.0.2"), "invalid hostPort: 0-10");
    assert_eq!(refusal("0-10@172.17.0.2"), "invalid containerPort: 0-10");
    assert_eq!(
        refusal("8000-8010:80-90"),
        "missing target: 8000-8010:80-90: add @ADDRESS, for example 8000-8010:80-90@172.17.0.2"
    );
}

#[test]
fn a_default_address_is_for_specs_that_name_none() {
    let on = |text: &str, address: &str| {
        let address = address.parse().expect("an address");
        spec(text).or_on(address).map(|spec| spec.to_string())
    };
    assert_eq!(
        on("80@172.17.0.2", "127.0.0.1"),
        Ok("127.0.0.1::80/tcp@172.17.0.2".to_owned())
    );
    assert_eq!(
        on("192.0.2.1:80:80@172.17.0.2", "127.0.0.1"),
        Ok("192.0.2.1:80:80/tcp@172.17.0.2".to_owned())
    );
    let refused = on("80:80@fd00::2", "127.0.0.1").expect_err("an IPv6 target");
    assert_eq!(
        refused.to_string(),
        "127.0.0.1:80:80/tcp@fd00::2: an IPv6 target cannot be published on an IPv4 address"
    );
}

#[test]
fn ipv6_is_written_with_brackets_or_without() {
    let canonical = "[2001:db8::1]:8080:80/tcp@fd00::2";
    for text in [
        canonical,
        "2001:db8::1:8080:80@[fd00::2]",
        "[2001:DB8:0::1]:8080:80@fd00:0::2",
    ] {
        assert_eq!(spec(text).to_string(), canonical, "{text}");
    }
    assert_eq!(spec("80@[fd00::2]").to_string(), "80/tcp@fd00::2");
    assert_eq!(
        spec("[::]::80/udp@fd00::2").to_string(),
        "[::]::80/udp@fd00::2"
    );
}

#[test]
fn an_ipv4_target_answers_ipv6_clients_but_not_the_other_way_round() {
    for (text, canonical) in [
        (
            "[2001:db8::1]:80:80@172.17.0.2",
            "[2001:db8::1]:80:80/tcp@172.17.0.2",
        ),
        ("::1:80:80@172.17.0.2", "[::1]:80:80/tcp@172.17.0.2"),
    ] {
        assert_eq!(spec(text).to_string(), canonical);
    }
    let text = "192.0.2.1:80:80@fd00::2";
    assert_eq!(
        refusal(text),
        format!("{text}: an IPv6 target cannot be published on an IPv4 address")
    );
}

#[test]
fn a_mapped_address_is_the_ipv4_address_that_it_maps() {
    assert_eq!(
        spec("[::ffff:192.0.2.1]:80:80@::ffff:172.17.0.2"),
        spec("192.0.2.1:80:80@172.17.0.2")
    );
}

#[test]
fn a_link_local_target_lacks_its_link() {
    assert_eq!(
        refusal("80@[FE80::2]"),
        "invalid target: fe80::2: a link-local address does not say on which link: \
         give another address of the container, for example fd00::2"
    );
    assert!(refusal("80@fe80::2%eth0").starts_with("invalid target: fe80::2%eth0: give"));
}

#[test]
fn a_target_is_needed_and_is_a_containers_address() {
    assert_eq!(
        refusal("8080:80"),
        "missing target: 8080:80: add @ADDRESS, for example 8080:80@172.17.0.2"
    );
    for target in [
        "",
        "web",
        "172.17.0",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "1.2.3.4@5.6.7.8",
        "::",
        "::1",
        "ff02::1",
        "::ffff:127.0.0.1",
    ] {
        assert_eq!(
            refusal(&format!("80@{target}")),
            format!(
                "invalid target: {target}: \
                 give the container's own address, for example 172.17.0.2"
            )
        );
    }
}

#[test]
fn dockers_faults_are_named_before_a_missing_target() {
    assert_eq!(refusal("localhost:80:80"), "invalid IP address: localhost");
}

fn any_ports() -> impl Strategy<Value = Ports> {
    any::<(NonZeroU16, NonZeroU16)>()
        .prop_map(|(a, b)| Ports::new(a.min(b), a.max(b)).expect("in order"))
}

/// Host ports and container ports that go together.
fn any_pair() -> impl Strategy<Value = (Option<Ports>, Ports)> {
    let equal = (any_ports(), any::<NonZeroU16>()).prop_map(|(host, first)| {
        let room = NonZeroU16::MAX.get() - first.get() + 1;
        let count = NonZeroU16::new(host.count().get().min(room)).expect("not 0");
        let [host, container] = [host.first(), first]
            .map(|first| Ports::from_first(first, count).expect("there is room"));
        (Some(host), container)
    });
    prop_oneof![
        equal,
        (any_ports(), any::<NonZeroU16>()).prop_map(|(pool, port)| (Some(pool), port.into())),
        any::<(NonZeroU16, NonZeroU16)>().prop_map(|(host, port)| (Some(host.into()), port.into())),
        any_ports().prop_map(|ports| (None, ports)),
        any::<NonZeroU16>().prop_map(|port| (None, port.into())),
    ]
}

prop_compose! {
    /// Any spec the grammar can express, whether or not portnat can serve it.
    fn any_spec()(
        host_ip in any::<Option<IpAddr>>().prop_map(|ip| ip.map(|ip| ip.to_canonical())),
        (host_ports, container_ports) in any_pair(),
        protocol in prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)],
        target in any::<IpAddr>().prop_map(|ip| ip.to_canonical()).prop_filter("not a host's address", |ip| is_host(*ip)),
    ) -> PublishSpec {
        PublishSpec { host_ip, host_ports, container_ports, protocol, target }
    }
}

proptest! {
    #[test]
    fn parsing_undoes_display(spec in any_spec()) {
        prop_assert_eq!(PublishSpec::parse(&spec.to_string()), Ok(spec));
    }

    #[test]
    fn only_mixed_families_and_link_local_targets_are_refused(spec in any_spec()) {
        let mixed = spec.host_ip.is_some_and(|ip| ip.is_ipv4()) && spec.target.is_ipv6();
        let link_local = matches!(spec.target, IpAddr::V6(ip) if ip.is_unicast_link_local());
        match spec.to_string().parse::<PublishSpec>() {
            Ok(parsed) => prop_assert!(!mixed && !link_local && parsed == spec),
            Err(SpecError::LinkLocalTarget { .. }) => prop_assert!(link_local),
            Err(SpecError::V6TargetOnV4 { .. }) => prop_assert!(mixed),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9a-f:./@\\[\\]-]{0,24}|\\PC{0,24}") {
        let _ = text.parse::<PublishSpec>();
    }
}
