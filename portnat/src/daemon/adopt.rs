//! What a portnat before this one has left goes on: its ports keep their numbers and ids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use portnat_common::Settings;
use tracing::{info, warn};

use super::{Config, Daemon};
use crate::datapath::{Datapath, DatapathError, Keep, LeftPort, LoadOptions, Pins};
use crate::model::{PublishedPort, host_address};
use crate::net::{NetError, Sysctls, namespace_name, reserve};
use crate::spec::PublishSpec;

/// What is left of a portnat before this one.
pub(super) struct Adoption {
    keep: Option<Keep>,
    /// The ports that were published.
    ports: Vec<LeftPort>,
    last_id: u32,
    /// Whether anything was there.
    pub(super) was_there: bool,
}

impl Adoption {
    /// Looks for it.
    pub(super) fn find(config: &Config) -> anyhow::Result<Self> {
        let find = |directory: &PathBuf| {
            let pins = Pins::new(directory, &namespace_name()?);
            let keep = Keep::find(pins, config.persist, &config.load)?;
            Ok::<_, anyhow::Error>(keep)
        };
        let keep = config.pin_dir.as_ref().map(find).transpose()?;
        Ok(Adoption {
            ports: keep.as_ref().map_or_else(Vec::new, Keep::ports),
            last_id: keep.as_ref().map_or(0, Keep::last_id),
            was_there: keep.as_ref().is_some_and(Keep::was_there),
            keep,
        })
    }

    /// Loads the datapath, which goes on with what is left.
    pub(super) fn load(
        &mut self,
        options: &LoadOptions,
        settings: &Settings,
    ) -> Result<Datapath, DatapathError> {
        match self.keep.take() {
            Some(keep) => Datapath::take_over(options, settings, keep),
            None => Datapath::load(options, settings),
        }
    }

    /// The specs, of which those that leave the host's port open ask for the one that they had, where
    /// it is free.
    pub(super) fn remember_ports(&self, specs: &[PublishSpec]) -> Vec<PublishSpec> {
        let is_free = |spec: &PublishSpec, port: NonZeroU16| {
            reserve(host_address(spec), port, spec.protocol).is_ok()
        };
        remembered(specs, &self.ports, is_free)
    }

    /// Gives ports the ids that they had. Others get ids that none has had. Returns how many have one.
    pub(super) fn remember_ids(&self, published: &mut [PublishedPort]) -> usize {
        let known: BTreeMap<_, u32> = self
            .ports
            .iter()
            .map(|port| {
                let host = (port.address, port.port, port.protocol);
                ((host, port.target), port.id)
            })
            .collect();
        let mut next = self.last_id;
        let mut same = 0;
        for port in published {
            let host = (port.address, port.port.get(), port.protocol.number());
            port.id = if let Some(id) = known.get(&(host, port.target)) {
                same += 1;
                *id
            } else {
                next += 1;
                next
            };
        }
        same
    }
}

/// The specs with the ports that they had.
fn remembered(
    specs: &[PublishSpec],
    ports: &[LeftPort],
    is_free: impl Fn(&PublishSpec, NonZeroU16) -> bool,
) -> Vec<PublishSpec> {
    type Asked = (IpAddr, u8, SocketAddr);
    let mut had: BTreeMap<Asked, BTreeSet<u16>> = BTreeMap::new();
    for port in ports {
        let asked = (port.address, port.protocol, port.target);
        had.entry(asked).or_default().insert(port.port);
    }
    let mut taken: BTreeSet<(u8, u16)> = specs
        .iter()
        .filter_map(|spec| Some((spec.protocol.number(), spec.host_port?.get())))
        .collect();
    let mut specs = specs.to_vec();
    for spec in specs.iter_mut().filter(|spec| spec.host_port.is_none()) {
        let target = SocketAddr::new(spec.target, spec.container_port.get());
        let protocol = spec.protocol.number();
        let had = had.get(&(host_address(spec), protocol, target));
        let port = had.into_iter().flatten().find_map(|port| {
            let number = NonZeroU16::new(*port)?;
            (!taken.contains(&(protocol, *port)) && is_free(spec, number)).then_some(number)
        });
        taken.extend(port.map(|port| (protocol, port.get())));
        spec.host_port = port;
    }
    specs
}

/// Where changed sysctls are written down: beside the control socket.
pub(super) fn record_path(socket: &Path) -> Result<PathBuf, NetError> {
    let directory = socket.parent().unwrap_or(Path::new("."));
    Ok(directory.join(format!("{}-sysctls", namespace_name()?)))
}

/// The sysctls, with what a portnat before this one has changed.
pub(super) fn sysctls(config: &Config) -> Result<Sysctls, NetError> {
    match &config.socket {
        Some(socket) => Sysctls::recorded(&record_path(socket)?, config.persist),
        None => Ok(Sysctls::new()),
    }
}

impl Daemon {
    /// Ends the taking over, and says what was taken over.
    pub(super) fn settle(&mut self, ports: usize) -> Result<(), DatapathError> {
        if let Some(adopted) = self.datapath.settle()? {
            info!(
                "took over {ports} ports, {} flows and {} attachments of an earlier portnat",
                adopted.flows, adopted.attachments
            );
        }
        Ok(())
    }

    /// Ends, and leaves everything as it is if it `stays`. So it does where a start fails and somebody was
    /// there before: who had a reason to stay, which has not ended.
    pub(super) async fn give_up(mut self, stays: bool) {
        if !stays {
            self.detach().await;
            return;
        }
        info!("what is published and masqueraded goes on so until `portnat cleanup`");
        self.sysctls.leave();
        self.datapath.leave();
    }

    /// Takes back what was pinned.
    pub(super) fn unpin(&mut self) {
        if let Err(error) = self.datapath.unpin() {
            warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Protocol;

    fn left(id: u32, port: u16, target: &str) -> LeftPort {
        LeftPort {
            id,
            address: IpAddr::from([0, 0, 0, 0]),
            port,
            protocol: Protocol::Tcp.number(),
            target: target.parse().expect("an address and a port"),
        }
    }

    fn specs(texts: &[&str]) -> Vec<PublishSpec> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn host_ports(specs: &[PublishSpec]) -> Vec<Option<u16>> {
        let ports = specs.iter().map(|spec| spec.host_port.map(NonZeroU16::get));
        ports.collect()
    }

    #[test]
    fn a_port_of_nobodys_choice_stays_the_same() {
        let ports = [
            left(1, 32_770, "172.17.0.2:80"),
            left(2, 32_768, "172.17.0.2:80"),
            left(3, 32_769, "172.17.0.3:80"),
            left(4, 8080, "172.17.0.4:80"),
        ];
        let asked = specs(&[
            "80@172.17.0.2",
            "80@172.17.0.2",
            "80@172.17.0.2",
            "80@172.17.0.3",
            "80/udp@172.17.0.3",
            // Which 172.17.0.4 had.
            "8080:80@172.17.0.5",
            "80@172.17.0.4",
        ]);
        let all = remembered(&asked, &ports, |_, _| true);
        assert_eq!(
            host_ports(&all),
            [
                Some(32_768),
                Some(32_770),
                None,
                Some(32_769),
                None,
                Some(8080),
                None
            ]
        );
        let others = remembered(&asked, &ports, |_, port| port.get() != 32_768);
        assert_eq!(host_ports(&others)[..2], [Some(32_770), None]);
    }

    #[test]
    fn an_id_is_that_of_the_same_port_to_the_same_target_or_new() {
        let adoption = Adoption {
            keep: None,
            ports: vec![
                left(7, 8080, "172.17.0.2:80"),
                left(9, 8081, "172.17.0.2:81"),
            ],
            last_id: 12,
            was_there: true,
        };
        let port = |port, target: &str| PublishedPort {
            id: 1,
            address: IpAddr::from([0, 0, 0, 0]),
            port: NonZeroU16::new(port).expect("not 0"),
            protocol: Protocol::Tcp,
            target: target.parse().expect("an address and a port"),
        };
        let mut published = [
            port(8082, "172.17.0.2:82"),
            port(8081, "172.17.0.3:81"),
            port(8080, "172.17.0.2:80"),
        ];
        assert_eq!(adoption.remember_ids(&mut published), 1);
        assert_eq!(published.map(|port| port.id), [13, 14, 7]);
    }
}
