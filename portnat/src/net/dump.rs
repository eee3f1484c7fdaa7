//! A [`Snapshot`] by netlink: four dumps put together.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use futures_util::{Stream, TryStreamExt};
use rtnetlink::packet_core::ErrorMessage;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::packet_route::tc::{TcAttribute, TcMessage};

use super::error::answer;
use super::{Address, FarEnd, Link, LinkKind, LinkLayer, NetError, Scope, Snapshot};

/// Asks the kernel for the links, addresses, default routes and ingress queueing disciplines of the
/// handle's namespace.
///
/// The four dumps are not one moment: what changes between them is reported to a
/// [`Watcher`](super::Watcher) that was made before, and the next snapshot is right. Queueing
/// disciplines are not reported: portnat's own would be, each time it attaches.
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
    let qdiscs = match handle.qdisc().get().execute().try_collect().await {
        // A kernel without traffic control has no queueing disciplines.
        Err(rtnetlink::Error::NetlinkError(answer)) if is_unsupported(&answer) => Vec::new(),
        Err(error) => return Err(failed("queueing disciplines", error)),
        Ok(qdiscs) => qdiscs,
    };
    Ok(assemble(&links, &addresses, &routes, &qdiscs))
}

async fn collect<T>(
    objects: &'static str,
    dump: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetError> {
    dump.try_collect()
        .await
        .map_err(|error| failed(objects, error))
}

fn failed(objects: &'static str, error: rtnetlink::Error) -> NetError {
    NetError::Dump {
        objects,
        reason: answer(error),
    }
}

fn is_unsupported(answer: &ErrorMessage) -> bool {
    answer.to_io().raw_os_error() == Some(nix::libc::EOPNOTSUPP)
}

fn assemble(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    routes: &[RouteMessage],
    qdiscs: &[TcMessage],
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
    for qdisc in qdiscs.iter().filter(|qdisc| is_ingress(qdisc)) {
        for link in &mut links {
            link.ingress_qdisc |= i64::from(qdisc.header.index) == i64::from(link.index);
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
    let (mut namespace, mut paired) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.mac = address.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Qdisc(kind) => link.qdisc.clone_from(kind),
            LinkAttribute::LinkNetNsId(number) => namespace = Some(*number),
            LinkAttribute::Link(index) => paired = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(kind).unwrap_or_default();
            }
            _ => {}
        }
    }
    link.leads_elsewhere = namespace.is_some();
    if link.kind == LinkKind::Veth {
        let far_end = |(namespace, index)| FarEnd { namespace, index };
        link.far_end = namespace.zip(paired).map(far_end);
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
        permanent: flags.contains(AddressFlags::Permanent),
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

/// clsact is an ingress queueing discipline too, with a kind of its own.
fn is_ingress(qdisc: &TcMessage) -> bool {
    qdisc
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "ingress"))
}
