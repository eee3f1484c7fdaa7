//! Messages as the kernel sends them, and what is read from them.

use std::net::Ipv6Addr;

use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::route::RouteNextHop;

use super::*;

fn link_message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.attributes = attributes;
    message
}

fn address_message(index: u32, attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = 24;
    message.attributes = attributes;
    message
}

fn default_route(family: AddressFamily, attribute: RouteAttribute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.kind = RouteType::Unicast;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.attributes = vec![attribute];
    message
}

/// The links, as (v4, v6), by which the route would be a default one, among links 1 and 2.
fn defaults(route: RouteMessage) -> [(bool, bool); 2] {
    let links = [link_message(2, vec![]), link_message(1, vec![])];
    let snapshot = assemble(&links, &[], &[route], &[]);
    [0, 1].map(|n| (snapshot.links[n].default_v4, snapshot.links[n].default_v6))
}

#[test]
fn a_link_is_read_from_its_header_and_attributes() {
    let mut message = link_message(
        7,
        vec![
            LinkAttribute::IfName("br0".to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Controller(9),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ],
    );
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    let expected = Link {
        index: 7,
        name: "br0".to_owned(),
        kind: LinkKind::Bridge,
        layer: LinkLayer::Ethernet,
        up: true,
        lower_up: true,
        master: Some(9),
        mtu: 1500,
        ..Link::default()
    };
    assert_eq!(link(&message), expected);
}

#[test]
fn the_header_type_says_what_packets_start_with() {
    assert_eq!(layer(LinkLayerType::Loopback), LinkLayer::Ethernet);
    assert_eq!(layer(LinkLayerType::None), LinkLayer::None);
    assert_eq!(layer(LinkLayerType::Infiniband), LinkLayer::Other(32));
}

#[test]
fn the_local_address_is_the_hosts_and_the_other_the_peers() {
    let host = IpAddr::from([192, 0, 2, 1]);
    let peer = IpAddr::from([10, 9, 0, 1]);
    let read = |attributes| {
        let address = address(&address_message(1, attributes)).expect("has an address");
        (address.ip, address.peer)
    };
    let local = AddressAttribute::Local(host);
    assert_eq!(
        read(vec![AddressAttribute::Address(host), local.clone()]),
        (host, None)
    );
    assert_eq!(
        read(vec![AddressAttribute::Address(peer), local]),
        (host, Some(peer))
    );
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    assert_eq!(read(vec![AddressAttribute::Address(v6)]), (v6, None));
}

#[test]
fn address_flags_come_from_the_attribute_or_else_the_header() {
    let ip = AddressAttribute::Address(IpAddr::from([192, 0, 2, 1]));
    let mut message = address_message(1, vec![ip]);
    message.header.flags = AddressHeaderFlags::Secondary;
    assert!(address(&message).expect("has an address").secondary);

    message
        .attributes
        .push(AddressAttribute::Flags(AddressFlags::Deprecated));
    let read = address(&message).expect("has an address");
    assert!(read.deprecated && !read.secondary);
}

#[test]
fn addresses_keep_the_kernels_order_and_a_strangers_are_left_out() {
    let with_ip = |index, last| {
        let ip = IpAddr::from([192, 0, 2, last]);
        address_message(index, vec![AddressAttribute::Local(ip)])
    };
    let snapshot = assemble(
        &[link_message(1, vec![])],
        &[with_ip(1, 9), with_ip(8, 5), with_ip(1, 3)],
        &[],
        &[],
    );
    let ips: Vec<IpAddr> = snapshot.links[0].addresses.iter().map(|a| a.ip).collect();
    assert_eq!(
        ips,
        [IpAddr::from([192, 0, 2, 9]), IpAddr::from([192, 0, 2, 3])]
    );
}

#[test]
fn default_routes_are_told_apart_by_family_and_link() {
    let by_2 = RouteAttribute::Oif(2);
    let v4 = default_route(AddressFamily::Inet, by_2.clone());
    assert_eq!(defaults(v4), [(false, false), (true, false)]);
    let v6 = default_route(AddressFamily::Inet6, by_2);
    assert_eq!(defaults(v6), [(false, false), (false, true)]);
}

#[test]
fn every_next_hop_of_a_default_route_counts() {
    let hop = |interface_index| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = interface_index;
        hop
    };
    let multipath = RouteAttribute::MultiPath(vec![hop(1), hop(2)]);
    let route = default_route(AddressFamily::Inet, multipath);
    assert_eq!(defaults(route), [(true, false), (true, false)]);
}

#[test]
fn other_tables_destinations_and_kinds_are_no_default_routes() {
    let by_1 = || default_route(AddressFamily::Inet, RouteAttribute::Oif(1));
    let none = [(false, false); 2];

    let mut of_a_vrf = by_1();
    of_a_vrf.attributes.push(RouteAttribute::Table(1001));
    assert_eq!(defaults(of_a_vrf), none);

    let mut half_of_all = by_1();
    half_of_all.header.destination_prefix_length = 1;
    assert_eq!(defaults(half_of_all), none);

    let mut unreachable = by_1();
    unreachable.header.kind = RouteType::Unreachable;
    assert_eq!(defaults(unreachable), none);
}

#[test]
fn an_ingress_qdisc_is_told_from_clsact() {
    let qdisc = |index, kind: &str| {
        let mut message = TcMessage::default();
        message.header.index = index;
        message.attributes = vec![TcAttribute::Kind(kind.to_owned())];
        message
    };
    let snapshot = assemble(
        &[link_message(1, vec![]), link_message(2, vec![])],
        &[],
        &[],
        &[qdisc(1, "clsact"), qdisc(2, "noqueue"), qdisc(2, "ingress")],
    );
    assert_eq!(
        [0, 1].map(|n| snapshot.links[n].ingress_qdisc),
        [false, true]
    );
}

#[tokio::test]
async fn the_namespace_of_this_test_has_a_loopback() {
    let (connection, handle, _) = rtnetlink::new_connection().expect("a netlink socket");
    let _polled = tokio::spawn(connection);
    let snapshot = snapshot(&handle).await.expect("anyone may list links");
    assert!(
        snapshot
            .link_by_name("lo")
            .expect("every namespace has one")
            .loopback
    );
}

/// The kernel names a link's other namespace only where it is another.
#[test]
fn what_lies_behind_a_veth() {
    let veth = |index, kind, qdisc: &str, elsewhere: bool| {
        let infos = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]);
        let mut attributes = vec![infos, LinkAttribute::Qdisc(qdisc.to_owned())];
        attributes.extend(elsewhere.then_some(LinkAttribute::LinkNetNsId(0)));
        link_message(index, attributes)
    };
    let mut ingress = TcMessage::default();
    ingress.header.index = 5;
    ingress.attributes = vec![TcAttribute::Kind("ingress".to_owned())];
    let snapshot = assemble(
        &[
            veth(1, InfoKind::Veth, "noqueue", true),
            veth(2, InfoKind::Veth, "noqueue", false),
            veth(3, InfoKind::Veth, "tbf", true),
            veth(4, InfoKind::Tun, "noqueue", true),
            veth(5, InfoKind::Veth, "noqueue", true),
        ],
        &[],
        &[],
        &[ingress],
    );
    let open: Vec<_> = snapshot.links.iter().map(Link::is_open_ended).collect();
    assert_eq!(open, [true, false, false, false, false]);
}
