//! A [`Snapshot`] by netlink: three dumps put together.

use std::net::IpAddr;

use futures_util::{Stream, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

use super::error::answer;
use super::{Address, Link, LinkKind, LinkLayer, NetError, Scope, Snapshot};

/// Asks the kernel for the links, addresses and default routes of the handle's namespace.
///
/// The three dumps are not one moment: what changes between them is reported to a
/// [`Watcher`](super::Watcher) that was made before, and the next snapshot is right.
///
/// # Errors
///
/// [`NetError::Dump`] if the kernel refuses or the handle's connection is no longer polled.
pub async fn snapshot(handle: &rtnetlink::Handle) -> Result<Snapshot, NetError> {
    let links = collect("links", handle.link().get().execute()).await?;
    let addresses = collect("addresses", handle.address().get().execute()).await?;
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = family;
        routes.extend(collect("routes", handle.route().get(wanted).execute()).await?);
    }
    Ok(assemble(&links, &addresses, &routes))
}

async fn collect<T>(
    objects: &'static str,
    dump: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetError> {
    dump.try_collect().await.map_err(|error| NetError::Dump {
        objects,
        reason: answer(error),
    })
}

fn assemble(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    routes: &[RouteMessage],
) -> Snapshot {
    let mut links: Vec<Link> = links.iter().map(link).collect();
    links.sort_by_key(|link| link.index);
    // What names a link that is not listed belongs to one that came or went meanwhile.
    for message in addresses {
        if let Some(link) = links
            .iter_mut()
            .find(|link| link.index == message.header.index)
        {
            link.addresses.extend(address(message));
        }
    }
    for route in routes.iter().filter(|route| is_default(route)) {
        for link in &mut links {
            let leaves_here = leaves_by(route, link.index);
            match route.header.address_family {
                AddressFamily::Inet => link.default_v4 |= leaves_here,
                AddressFamily::Inet6 => link.default_v6 |= leaves_here,
                _ => {}
            }
        }
    }
    Snapshot { links }
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        layer: layer(message.header.link_layer_type),
        up: flags.contains(LinkFlags::Up),
        lower_up: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(kind).unwrap_or_default();
            }
            _ => {}
        }
    }
    link
}

fn kind(info: &LinkInfo) -> Option<LinkKind> {
    let LinkInfo::Kind(kind) = info else {
        return None;
    };
    Some(match kind {
        InfoKind::Bridge => LinkKind::Bridge,
        InfoKind::Bond => LinkKind::Bond,
        InfoKind::Team => LinkKind::Team,
        InfoKind::Veth => LinkKind::Veth,
        InfoKind::Vrf => LinkKind::Vrf,
        InfoKind::Tun => LinkKind::Tun,
        other => LinkKind::Other(other.to_string()),
    })
}

fn layer(kind: LinkLayerType) -> LinkLayer {
    match kind {
        LinkLayerType::Ether | LinkLayerType::Loopback => LinkLayer::Ethernet,
        // A GRE tunnel without a fixed peer does push a header on egress; one with a peer does not.
        LinkLayerType::None
        | LinkLayerType::Ppp
        | LinkLayerType::Rawip
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre => LinkLayer::None,
        other => LinkLayer::Other(other.into()),
    }
}

/// `None` for a message without an address, which no kernel sends.
fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut named = None;
    // The attribute has the flags that no longer fit into the header, and repeats the others.
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => named = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // IFA_LOCAL is the host's address, and IFA_ADDRESS then the peer's or the same; IPv6 sends
    // IFA_ADDRESS alone unless there is a peer.
    let ip: IpAddr = local.or(named)?;
    Some(Address {
        ip,
        prefix_len: message.header.prefix_len,
        peer: named.filter(|peer| *peer != ip),
        scope: scope(message.header.scope),
        secondary: flags.contains(AddressFlags::Secondary),
        deprecated: flags.contains(AddressFlags::Deprecated),
        tentative: flags.contains(AddressFlags::Tentative),
    })
}

fn scope(scope: AddressScope) -> Scope {
    match scope {
        AddressScope::Universe => Scope::Global,
        AddressScope::Site => Scope::Site,
        AddressScope::Link => Scope::Link,
        AddressScope::Host => Scope::Host,
        other => Scope::Other(other.into()),
    }
}

/// Whether it is a default route of the main table that leads somewhere: IPv6 keeps `unreachable
/// default` routes on `lo`.
fn is_default(route: &RouteMessage) -> bool {
    let table = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or(route.header.table.into());
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// Whether the route, or one of its next hops, leaves by the link. Routes by a next hop object are
/// dumped with these attributes as well (`net.ipv4.nexthop_compat_mode`, on by default).
fn leaves_by(route: &RouteMessage, index: u32) -> bool {
    route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(oif) => *oif == index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == index),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
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
        let snapshot = assemble(&links, &[], &[route]);
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
}
