//! Docker is asked by its API. Nothing else knows bollard.

mod survey;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EndpointSettings, EventMessage,
    Network as ApiNetwork, PortSummary,
};
use bollard::query_parameters::{
    EventsOptions, InspectContainerOptions, ListContainersOptions, ListNetworksOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::labels::{OURS, container_port, protocol};
use super::observed::{Container, Endpoint, Network, Observed, Port};
use crate::spec::Protocol;
pub use survey::Survey;

/// How long Docker may take for an answer. It holds locks while it starts containers.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens in Docker that can change what is to be published.
const EVENTS: [&str; 9] = [
    "start",
    "die",
    "pause",
    "unpause",
    "rename",
    "create",
    "connect",
    "disconnect",
    "destroy",
];

/// Ports of containers, by their protocols.
type ContainerPorts = BTreeSet<(NonZeroU16, Protocol)>;

/// A connection to Docker.
pub struct Client {
    docker: Docker,
    /// By containers' ids, which of their ports are to be published without any address being named. It
    /// is said at a container's creation and never changes.
    everywhere: BTreeMap<String, ContainerPorts>,
}

/// Why Docker does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_words(.0))]
pub struct ClientError(#[from] Error);

/// When something was, by the machine's clock, which is Docker's too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Moment(now.unwrap_or_default())
    }
}

/// Something has happened in Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container of this id runs from now on.
    Started(String),
    /// The container of this id has died then.
    Died(String, Moment),
    /// Something else.
    Other,
}

impl Client {
    /// Speaks with the Docker that listens at this socket.
    ///
    /// # Errors
    /// There is none.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let socket = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&socket, PATIENCE.as_secs(), API_DEFAULT_VERSION)?;
        Ok(Client {
            docker: docker.negotiate_version().await?,
            everywhere: BTreeMap::new(),
        })
    }

    /// What happens from now on, until Docker ends.
    pub fn events(&self) -> BoxStream<'static, Result<Event, ClientError>> {
        let docker = self.docker.clone();
        let since = Moment::now().0;
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos())),
            until: None,
            filters: Some(HashMap::from([
                ("type".to_owned(), list(&["container", "network"])),
                ("event".to_owned(), list(&EVENTS)),
            ])),
        };
        let events = async_stream(docker, options);
        events.map_ok(Event::from).err_into().boxed()
    }

    /// What there is now.
    ///
    /// # Errors
    /// Docker does not answer.
    pub async fn observe(&mut self) -> Result<Observed, ClientError> {
        let networks = self.docker.list_networks(None::<ListNetworksOptions>);
        let networks = networks.await?;
        let containers = self.docker.list_containers(None::<ListContainersOptions>);
        let containers: Vec<_> = containers
            .await?
            .into_iter()
            .filter_map(container)
            .collect();
        self.everywhere
            .retain(|id, _| containers.iter().any(|one| one.id == *id));
        let mut observed = Observed {
            networks: networks.into_iter().filter_map(network).collect(),
            containers: Vec::with_capacity(containers.len()),
        };
        for mut container in containers {
            if !container.ports.is_empty() {
                match self.everywhere(&container.id).await {
                    Ok(everywhere) => container.everywhere = everywhere,
                    // It has ended meanwhile.
                    Err(error) if is_missing(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            observed.containers.push(container);
        }
        Ok(observed)
    }

    async fn everywhere(&mut self, id: &str) -> Result<ContainerPorts, Error> {
        if let Some(known) = self.everywhere.get(id) {
            return Ok(known.clone());
        }
        let options = None::<InspectContainerOptions>;
        let inspected = self.docker.inspect_container(id, options).await?;
        let found = everywhere(inspected);
        self.everywhere.insert(id.to_owned(), found.clone());
        Ok(found)
    }
}

fn async_stream(
    docker: Docker,
    options: EventsOptions,
) -> BoxStream<'static, Result<EventMessage, Error>> {
    // It asks with the first look at it, and the handle has to live as long.
    futures_util::stream::once(async move { docker.events(Some(options)).boxed() })
        .flatten()
        .boxed()
}

impl From<EventMessage> for Event {
    fn from(message: EventMessage) -> Self {
        let id = message.actor.and_then(|actor| actor.id);
        let time = message.time_nano.and_then(|time| time.try_into().ok());
        let time = time.map_or_else(Moment::now, |time| Moment(Duration::from_nanos(time)));
        match (message.action.as_deref(), id) {
            (Some("start"), Some(id)) => Event::Started(id),
            (Some("die"), Some(id)) => Event::Died(id, time),
            _ => Event::Other,
        }
    }
}

/// Whether Docker answers that there is no such thing.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == 404)
}

/// The last cause, which says most: the others are about how it was asked.
fn in_words(error: &Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn network(network: ApiNetwork) -> Option<Network> {
    if network.driver.as_deref() != Some("bridge") {
        return None;
    }
    let id = network.id?;
    let options: BTreeMap<_, _> = network.options.unwrap_or_default().into_iter().collect();
    let named = options.get("com.docker.network.bridge.name").cloned();
    let bridge = named.unwrap_or_else(|| format!("br-{}", id.get(..12).unwrap_or(&id)));
    let ranges = network
        .ipam
        .and_then(|ipam| ipam.config)
        .unwrap_or_default();
    let subnets = ranges.iter().filter_map(|range| range.subnet.as_ref());
    Some(Network {
        id,
        name: network.name.unwrap_or_default(),
        bridge,
        subnets: subnets.filter_map(|subnet| subnet.parse().ok()).collect(),
        internal: network.internal.unwrap_or_default(),
        options,
    })
}

fn container(summary: ContainerSummary) -> Option<Container> {
    // A link is one more name, with the other container's before a further slash.
    let names = summary.names.unwrap_or_default();
    let mut names = names.iter().filter_map(|name| name.strip_prefix('/'));
    let name = names.find(|name| !name.contains('/'));
    let networks = summary.network_settings.and_then(|it| it.networks);
    let ports = summary.ports.unwrap_or_default();
    let labels = summary.labels.unwrap_or_default().into_iter();
    let mut endpoints: Vec<_> = networks
        .unwrap_or_default()
        .into_iter()
        .map(endpoint)
        .collect();
    endpoints.sort_by(|one, other| one.name.cmp(&other.name));
    Some(Container {
        id: summary.id?,
        name: name.unwrap_or_default().to_owned(),
        ports: ports.iter().filter_map(port).collect(),
        labels: labels.filter(|(name, _)| name.starts_with(OURS)).collect(),
        everywhere: ContainerPorts::new(),
        endpoints,
    })
}

/// Of a port that the image only exposes Docker tells no address.
fn port(port: &PortSummary) -> Option<Port> {
    Some(Port {
        address: port.ip.as_ref()?.parse().ok()?,
        host: port.public_port.and_then(NonZeroU16::new),
        container: NonZeroU16::new(port.private_port)?,
        protocol: protocol(port.typ?.as_ref())?,
    })
}

fn endpoint((name, settings): (String, EndpointSettings)) -> Endpoint {
    // Where there is none it is empty.
    let (v4, v6) = (settings.ip_address, settings.global_ipv6_address);
    Endpoint {
        network: settings.network_id.unwrap_or_default(),
        name,
        v4: v4.and_then(|address| address.parse().ok()),
        v6: v6.and_then(|address| address.parse().ok()),
        priority: settings.gw_priority.unwrap_or_default(),
    }
}

/// The ports that are to be published without any address of the host being named, whether the user has
/// asked for them one by one or for all.
fn everywhere(inspected: ContainerInspectResponse) -> ContainerPorts {
    let host = inspected.host_config.unwrap_or_default();
    let bindings = host.port_bindings.unwrap_or_default();
    let bound = bindings.iter().filter(|(_, bindings)| {
        let mut bindings = bindings.iter().flatten();
        bindings.any(|binding| binding.host_ip.as_deref().unwrap_or_default().is_empty())
    });
    let mut ports: ContainerPorts = bound.filter_map(|(port, _)| container_port(port)).collect();
    if host.publish_all_ports.unwrap_or_default() {
        let exposed = inspected.config.and_then(|config| config.exposed_ports);
        let exposed = exposed.into_iter().flatten();
        let others = exposed.filter(|port| !bindings.contains_key(port));
        ports.extend(others.filter_map(|port| container_port(&port)));
    }
    ports
}

/// What Docker has answered to `GET /networks`, `/containers/json` and `/containers/ID/json`.
#[cfg(test)]
pub(super) fn recorded(networks: &str, containers: &str, inspected: &[&str]) -> Observed {
    let networks: Vec<ApiNetwork> = serde_json::from_str(networks).expect("networks");
    let containers: Vec<ContainerSummary> = serde_json::from_str(containers).expect("containers");
    let inspected = inspected.iter().map(|json| {
        let one: ContainerInspectResponse = serde_json::from_str(json).expect("a container");
        (one.id.clone(), one)
    });
    let mut inspected: BTreeMap<_, _> = inspected.collect();
    let containers = containers.into_iter().filter_map(container);
    Observed {
        networks: networks.into_iter().filter_map(network).collect(),
        containers: containers
            .map(|mut container| {
                if let Some(one) = inspected.remove(&Some(container.id.clone())) {
                    container.everywhere = everywhere(one);
                }
                container
            })
            .collect(),
    }
}
