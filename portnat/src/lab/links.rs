//! Links, addresses and routes of a namespace, through netlink.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoVeth, LinkAttribute, LinkLayerType, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteType};
use rtnetlink::{
    Error, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, MulticastGroup,
    RouteMessageBuilder,
};
use tokio::time::timeout;

use super::error::{During, LabError, Result};
use super::namespace::Namespace;

/// Nothing here takes the kernel more than milliseconds, but where others make and end namespaces at the
/// same time; only a broken lab waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The links of one namespace, with their addresses and routes.
///
/// Every method waits for the kernel's answer, on a thread in the namespace and with a netlink
/// socket of its own: some 0.2 ms each, for which callers need to keep no state and no runtime.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Links<'a> {
    namespace: &'a Namespace,
}

impl<'a> Links<'a> {
    pub(super) const fn new(namespace: &'a Namespace) -> Self {
        Self { namespace }
    }

    /// Creates a pair of virtual Ethernet links, both up: `name` here, `peer` in `other`. The
    /// kernel places the peer directly; it never shows in a third namespace.
    ///
    /// # Errors
    /// When either name is taken or longer than 15 bytes.
    pub fn add_veth(self, name: &str, other: &Namespace, peer: &str) -> Result<()> {
        let there = LinkMessageBuilder::<LinkUnspec>::default()
            .name(peer)
            .setns_by_fd(other.fd().as_raw_fd())
            .build();
        let here = LinkVeth::new(name, peer)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(there)))
            .up()
            .build();
        self.request(format!("creating veth {name}"), async |netlink| {
            netlink.link().add(here).execute().await
        })?;
        // Not in the same request: the kernel would open the peer before it has its other end.
        other.links().set_up(peer)
    }

    /// Creates a bridge, up, with a hardware address that stays: left to itself, a bridge takes
    /// the lowest of its ports' and so changes under its neighbours' feet.
    ///
    /// # Errors
    /// When the name is taken or longer than 15 bytes.
    pub fn add_bridge(self, name: &str, mac: [u8; 6]) -> Result<()> {
        let bridge = LinkBridge::new(name).address(mac.into()).build();
        self.request(format!("creating bridge {name}"), async |netlink| {
            netlink.link().add(bridge).execute().await
        })
    }

    /// Makes link `name` a port of `bridge`.
    ///
    /// # Errors
    /// When either does not exist.
    pub fn set_master(self, name: &str, bridge: &str) -> Result<()> {
        self.request(
            format!("attaching {name} to bridge {bridge}"),
            async |netlink| {
                let bridge = find(&netlink, bridge).await?.header.index;
                let port = LinkUnspec::new_with_name(name).controller(bridge).build();
                netlink.link().set(port).execute().await
            },
        )
    }

    /// Brings a link up.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_up(self, name: &str) -> Result<()> {
        let link = LinkUnspec::new_with_name(name).up().build();
        self.request(format!("bringing {name} up"), async |netlink| {
            netlink.link().set(link).execute().await
        })
    }

    /// Takes a link down.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_down(self, name: &str) -> Result<()> {
        let link = LinkUnspec::new_with_name(name).down().build();
        self.request(format!("taking {name} down"), async |netlink| {
            netlink.link().set(link).execute().await
        })
    }

    /// Sets the largest IP packet that a link sends, in bytes.
    ///
    /// # Errors
    /// When there is no such link, or it does not allow that size.
    pub fn set_mtu(self, name: &str, mtu: u32) -> Result<()> {
        let link = LinkUnspec::new_with_name(name).mtu(mtu).build();
        self.request(
            format!("setting the MTU of {name} to {mtu}"),
            async |netlink| netlink.link().set(link).execute().await,
        )
    }

    /// Deletes a link; of a veth pair, both ends, before the call returns.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn delete(self, name: &str) -> Result<()> {
        self.request(format!("deleting {name}"), async |netlink| {
            let index = find(&netlink, name).await?.header.index;
            netlink.link().del(index).execute().await
        })
    }

    /// Gives a link an address, and the namespace a route to its subnet. The address can be bound
    /// and reached when the call returns.
    ///
    /// # Errors
    /// When there is no such link, or it has the address already.
    pub fn add_address(self, name: &str, address: IpNet) -> Result<()> {
        let (ip, prefix) = (address.addr(), address.prefix_len());
        let step = format!("adding {address} to {name}");
        let groups = &[MulticastGroup::Ipv6Route];
        self.listen(step, groups, async |netlink, mut news| {
            let index = find(&netlink, name).await?.header.index;
            netlink.address().add(index, ip, prefix).execute().await?;
            // An IPv6 address is finished in the background, whether its detection of duplicates
            // is on or not. The route to itself is the last thing it gets.
            while ip.is_ipv6() && !is_local(&next(&mut news).await?, ip) {}
            Ok(())
        })
    }

    /// Takes an address from a link.
    ///
    /// # Errors
    /// When there is no such link, or it does not have the address.
    pub fn delete_address(self, name: &str, address: IpNet) -> Result<()> {
        self.request(format!("deleting {address} from {name}"), async |netlink| {
            let index = find(&netlink, name).await?.header.index;
            let addresses = netlink.address();
            // Described the same way as when it was added; the request itself is not sent.
            let mut added = addresses.add(index, address.addr(), address.prefix_len());
            addresses.del(added.message_mut().clone()).execute().await
        })
    }

    /// Routes packets for `destination` through `gateway`.
    ///
    /// # Errors
    /// When the gateway cannot be reached directly, or the route exists.
    pub fn add_route(self, destination: IpNet, gateway: IpAddr) -> Result<()> {
        let step = || format!("routing {destination} via {gateway}");
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(destination.addr(), destination.prefix_len())
            .and_then(|route| route.gateway(gateway))
            .map_err(io::Error::other)
            .during(step)?
            .build();
        self.request(step(), async |netlink| {
            netlink.route().add(route).execute().await
        })
    }

    /// Routes everything that is not local through `gateway`.
    ///
    /// # Errors
    /// When the gateway cannot be reached directly, or there is such a route.
    pub fn add_default_route(self, gateway: IpAddr) -> Result<()> {
        let everything = match gateway {
            IpAddr::V4(_) => Ipv4Net::default().into(),
            IpAddr::V6(_) => Ipv6Net::default().into(),
        };
        self.add_route(everything, gateway)
    }

    /// The kernel's number of a link, unique in its namespace only.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn index(self, name: &str) -> Result<u32> {
        self.request(format!("looking for link {name}"), async |netlink| {
            Ok(find(&netlink, name).await?.header.index)
        })
    }

    /// A link's Ethernet address.
    ///
    /// # Errors
    /// When there is no such link, or it is not an Ethernet one.
    pub fn mac(self, name: &str) -> Result<[u8; 6]> {
        self.request(format!("looking for link {name}"), async |netlink| {
            Ok(ethernet_address(&find(&netlink, name).await?))
        })?
        .ok_or_else(|| LabError::NoEthernetAddress(name.into()))
    }

    /// Waits until all these links carry packets.
    ///
    /// The kernel finishes bringing a link up in the background: a veth end whose peer came
    /// second, a bridge's port, a bridge that had none. Until then it drops what it is given.
    ///
    /// # Errors
    /// When one of them does not exist, or is not up within 5 seconds.
    pub fn wait_until_up(self, names: &[&str]) -> Result<()> {
        let step = format!("waiting for {} to come up", names.join(", "));
        self.listen(step, &[MulticastGroup::Link], async |netlink, mut news| {
            for name in names {
                while !is_up(&find(&netlink, name).await?) {
                    next(&mut news).await?;
                }
            }
            Ok(())
        })
    }

    /// Sends what `operation` asks of netlink, from inside the namespace.
    fn request<T: Send>(
        self,
        step: String,
        operation: impl AsyncFnOnce(Handle) -> std::result::Result<T, Error> + Send,
    ) -> Result<T> {
        self.listen(step, &[], async |netlink, _| operation(netlink).await)
    }

    /// The same, for an operation that waits for what the kernel tells these groups. It hears
    /// all that happens from its beginning, for at most [`PATIENCE`].
    fn listen<T: Send>(
        self,
        step: String,
        groups: &[MulticastGroup],
        operation: impl AsyncFnOnce(Handle, News) -> std::result::Result<T, Error> + Send,
    ) -> Result<T> {
        let converse = async || {
            let (connection, netlink, news) = rtnetlink::new_multicast_connection(groups)?;
            tokio::spawn(connection);
            let news = Box::pin(news.map(|(message, _)| message.payload));
            timeout(PATIENCE, operation(netlink, news))
                .await?
                .map_err(to_io)
        };
        let on_this_thread = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(converse())
        };
        self.namespace.run(on_this_thread).during(|| step)
    }
}

/// What the kernel tells of its own accord.
type News = Pin<Box<dyn Stream<Item = NetlinkPayload<RouteNetlinkMessage>>>>;

/// Waits for the next piece of news.
async fn next(news: &mut News) -> std::result::Result<NetlinkPayload<RouteNetlinkMessage>, Error> {
    news.next().await.ok_or(Error::RequestFailed)
}

/// Asks the kernel for one link.
async fn find(netlink: &Handle, name: &str) -> std::result::Result<LinkMessage, Error> {
    let mut answer = pin!(netlink.link().get().match_name(name).execute());
    answer.try_next().await?.ok_or(Error::RequestFailed)
}

fn is_up(link: &LinkMessage) -> bool {
    link.attributes
        .contains(&LinkAttribute::OperState(State::Up))
}

/// Whether the news is that packets for `address` are now the namespace's own.
fn is_local(news: &NetlinkPayload<RouteNetlinkMessage>, address: IpAddr) -> bool {
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = news else {
        return false;
    };
    route.header.kind == RouteType::Local
        && route
            .attributes
            .contains(&RouteAttribute::Destination(address.into()))
}

fn ethernet_address(link: &LinkMessage) -> Option<[u8; 6]> {
    if link.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        })
}

/// Keeps the kernel's error number, and with it the [`io::ErrorKind`].
fn to_io(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(answer) => answer.to_io(),
        other => io::Error::other(other),
    }
}
