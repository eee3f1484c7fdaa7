//! What Docker says of itself.

use bollard::models::{LocalNodeState, RestartPolicyNameEnum};
use bollard::query_parameters::{InspectContainerOptions, ListNetworksOptions};

use super::{Client, ClientError, is_missing};
use crate::docker::Observed;

/// The drivers of networks that portnat serves, or that nobody needs to.
const DRIVERS: [&str; 3] = ["bridge", "host", "null"];

/// What Docker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its version, as `28.5.2`.
    pub version: String,
    /// Whether it is in a swarm.
    pub swarm: bool,
    /// Whether it is without root's rights.
    pub rootless: bool,
    /// What its rules are written with, as `iptables` or `nftables`, where it says so (28 and later).
    pub firewall: Option<String>,
    /// Whether containers go on without it.
    pub live_restore: bool,
    /// Networks of drivers that portnat does not serve, and the drivers.
    pub unserved: Vec<(String, String)>,
    /// The containers with ports that do not come back by themselves when Docker has been restarted.
    pub stays_down: Vec<String>,
}

impl Client {
    /// Asks Docker about itself, and about the containers that it has.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn survey(&self, observed: &Observed) -> Result<Survey, ClientError> {
        let info = self.docker.info().await?;
        let networks = self.docker.list_networks(None::<ListNetworksOptions>);
        let networks = networks.await?.into_iter().filter_map(|network| {
            let driver = network.driver?;
            (!DRIVERS.contains(&driver.as_str())).then_some((network.name?, driver))
        });
        let mut unserved: Vec<_> = networks.collect();
        unserved.sort();
        let mut stays_down = Vec::new();
        for container in &observed.containers {
            if !container.ports.is_empty() && !self.comes_back(&container.id).await? {
                stays_down.push(container.name.clone());
            }
        }
        let swarm = info.swarm.and_then(|swarm| swarm.local_node_state);
        let security = info.security_options.unwrap_or_default();
        Ok(Survey {
            version: info.server_version.unwrap_or_default(),
            swarm: !matches!(
                swarm,
                None | Some(LocalNodeState::EMPTY | LocalNodeState::INACTIVE)
            ),
            rootless: security.iter().any(|option| option == "name=rootless"),
            firewall: info.firewall_backend.and_then(|it| it.driver),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            unserved,
            stays_down,
        })
    }

    async fn comes_back(&self, id: &str) -> Result<bool, ClientError> {
        let options = None::<InspectContainerOptions>;
        let inspected = match self.docker.inspect_container(id, options).await {
            // It has ended meanwhile.
            Err(error) if is_missing(&error) => return Ok(true),
            inspected => inspected?,
        };
        let policy = inspected.host_config.and_then(|host| host.restart_policy);
        Ok(matches!(
            policy.and_then(|policy| policy.name),
            Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED)
        ))
    }
}
