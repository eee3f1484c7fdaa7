//! ICMP errors about translated packets: each finds the one whose packet it quotes, and quotes it
//! as that one sent it.

use std::io::ErrorKind;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use portnat::lab::{Lab, Namespace, probe};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMetric};

use crate::daemon::Daemon;
use crate::support::{MEGABYTE, at, net, payload, seen_by, tcp_server};

/// The narrowest that IPv6 allows.
pub(crate) const NARROW: u32 = 1280;

/// A lab with a client far away: behind a narrow link, of which neither end of a connection can
/// know.
///
/// ```text
///  far ── 1500 ── near ── 1280 ── lab.client ── 1500 ── lab.host
/// ```
pub(crate) struct Distance {
    pub(crate) lab: Lab,
    pub(crate) far: Namespace,
    /// Holds no end of any connection, but the packets in between.
    _near: Namespace,
}

impl Distance {
    pub(crate) const FAR: [&str; 2] = ["198.51.100.10", "2001:db8:2::10"];
    pub(crate) const FAR_SUBNET: [&str; 2] = ["198.51.100.0/24", "2001:db8:2::/64"];
    const FAR_GATEWAY: [&str; 2] = ["198.51.100.1", "2001:db8:2::1"];
    const NARROW_FAR: [&str; 2] = ["203.0.113.2", "2001:db8:3::2"];
    const NARROW_LAB: [&str; 2] = ["203.0.113.1", "2001:db8:3::1"];
    const CLIENT: [IpAddr; 2] = [IpAddr::V4(Lab::CLIENT), IpAddr::V6(Lab::CLIENT_V6)];
    const HOST: [IpAddr; 2] = [IpAddr::V4(Lab::HOST), IpAddr::V6(Lab::HOST_V6)];

    /// With so many containers, in both families.
    pub(crate) fn new(containers: usize) -> Self {
        let lab = Lab::builder()
            .containers(containers)
            .ipv6(true)
            .build()
            .expect("a lab");
        let [far, near] = [(); 2].map(|()| Namespace::new().expect("a namespace"));
        Self::connect(&far, &near, &lab).expect("wires and routes");
        for router in [&near, &lab.client] {
            for family in ["ipv4", "ipv6"] {
                let name = format!("net/{family}/conf/all/forwarding");
                router.sysctl(&name, "1").expect("set");
            }
        }
        // Without errors nothing large gets through.
        for container in &lab.containers {
            let name = "net/ipv4/tcp_mtu_probing";
            container.namespace.sysctl(name, "0").expect("set");
        }
        Self {
            lab,
            far,
            _near: near,
        }
    }

    fn connect(far: &Namespace, near: &Namespace, lab: &Lab) -> portnat::lab::Result<()> {
        let (there, between, here) = (far.links(), near.links(), lab.client.links());
        there.add_veth("eth0", near, "eth0")?;
        between.add_veth("eth1", &lab.client, "eth1")?;
        between.set_mtu("eth1", NARROW)?;
        here.set_mtu("eth1", NARROW)?;
        for family in [0, 1] {
            let length = [24, 64][family];
            let own = |address: &str| net(&format!("{address}/{length}"));
            there.add_address("eth0", own(Self::FAR[family]))?;
            between.add_address("eth0", own(Self::FAR_GATEWAY[family]))?;
            between.add_address("eth1", own(Self::NARROW_FAR[family]))?;
            here.add_address("eth1", own(Self::NARROW_LAB[family]))?;

            there.add_default_route(address(Self::FAR_GATEWAY[family]))?;
            between.add_default_route(address(Self::NARROW_LAB[family]))?;
            let subnet = net(Self::FAR_SUBNET[family]);
            here.add_route(subnet, address(Self::NARROW_FAR[family]))?;
            lab.host.links().add_route(subnet, Self::CLIENT[family])?;
        }
        there.wait_until_up(&["eth0"])?;
        between.wait_until_up(&["eth0", "eth1"])?;
        here.wait_until_up(&["eth1"])
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What a namespace has heard of the largest packet that gets to an address.
pub(crate) fn heard_mtu(namespace: &Namespace, address: IpAddr) -> Option<u32> {
    let destination = IpNet::from(address);
    let question = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.addr(), destination.prefix_len())
        .expect("a whole address")
        .build();
    let ask = async || {
        let (connection, netlink, _) = rtnetlink::new_connection().expect("a netlink socket");
        tokio::spawn(connection);
        let mut answer = std::pin::pin!(netlink.route().get(question).execute());
        answer.try_next().await
    };
    let on_this_thread = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(ask())
            .expect("a route")
            .expect("an answer")
    };
    let metrics = namespace
        .run(on_this_thread)
        .attributes
        .into_iter()
        .filter_map(|attribute| match attribute {
            RouteAttribute::Metrics(metrics) => Some(metrics),
            _ => None,
        });
    metrics.flatten().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(mtu),
        _ => None,
    })
}

#[test]
fn a_container_learns_the_path_mtu_through_a_published_port() {
    let distance = Distance::new(1);
    let container = &distance.lab.containers[0];
    let targets = [
        IpAddr::from(container.address),
        IpAddr::from(container.address_v6),
    ];
    let servers = targets.map(|target| tcp_server(&container.namespace, target, 80));
    let publish = ["-p", "8080:80@172.17.0.2", "-p", "8080:80@fd00:17::2"];
    let daemon = Daemon::run(&distance.lab, &publish);

    let sent = payload(MEGABYTE);
    for family in [0, 1] {
        let far = address(Distance::FAR[family]);
        assert_eq!(heard_mtu(&container.namespace, far), None);
        let published = at(Distance::HOST[family], 8080);
        let answer = probe::tcp_echo(&distance.far, published, &sent);
        assert!(answer.expect("all of it") == sent, "something else");
        assert_eq!(heard_mtu(&container.namespace, far), Some(NARROW));
        // The host is not the one to whom it was said.
        assert_eq!(heard_mtu(&distance.lab.host, far), None);
        assert_eq!(seen_by(&servers[family]), [far]);
    }
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}

#[test]
fn a_container_learns_the_path_mtu_through_masquerade() {
    let distance = Distance::new(1);
    let container = &distance.lab.containers[0];
    let daemon = Daemon::run(&distance.lab, &[]);

    let sent = payload(MEGABYTE);
    for family in [0, 1] {
        let far = address(Distance::FAR[family]);
        let server = tcp_server(&distance.far, far, 80);
        let answer = probe::tcp_echo(&container.namespace, server.address(), &sent);
        assert!(answer.expect("all of it") == sent, "something else");
        assert_eq!(heard_mtu(&container.namespace, far), Some(NARROW));
        assert_eq!(heard_mtu(&distance.lab.host, far), None);
        assert_eq!(seen_by(&server), [Distance::HOST[family]]);
    }
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}

/// The client's "port unreachable", about a packet that the host's address sent.
#[test]
fn a_udp_port_that_nobody_serves_outside_is_refused() {
    let lab = Lab::builder().ipv6(true).build().expect("a lab");
    let container = &lab.containers[0].namespace;
    let daemon = Daemon::run(&lab, &[]);
    for client in Distance::CLIENT {
        let refusal = probe::udp_echo(container, at(client, 53), b"?").expect_err("nobody");
        assert_eq!(refusal.kind(), ErrorKind::ConnectionRefused, "{client}");
    }
    let table = daemon.stop();
    assert!(!table.contains("dropped"), "{table}");
}
