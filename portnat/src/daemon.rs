//! `portnat run`: the datapath is kept in step with what the user asked for and what the host
//! looks like, until it is told to stop.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use portnat_common::Settings;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::datapath::{Collector, Datapath, LoadOptions};
use crate::model::{Desired, Intent, Role, allocate};
use crate::net::{
    Reservation, Singleton, Snapshot, Sysctls, Watcher, local_port_range, remove_clsact, snapshot,
    ticks_per_second,
};
use crate::report::Report;
use crate::spec::PublishSpec;

/// How often flows whose time is over are collected. Between two rounds 30 seconds' worth of dead
/// flows occupy the table, which is little beside the minutes that closed ones stay anyway.
const COLLECT_EVERY: Duration = Duration::from_secs(30);

/// What `portnat run` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ports to publish.
    pub publish: Vec<PublishSpec>,
    /// What else the user asked for; `published` is filled in from `publish`.
    pub intent: Intent,
    /// How the datapath is loaded.
    pub load: LoadOptions,
}

/// A running portnat. Everything it changed is put back by [`Daemon::stop`]; where that is not
/// called, dropping it does the same but for a clsact queueing discipline that it added.
pub struct Daemon {
    intent: Intent,
    datapath: Datapath,
    collector: Collector,
    sysctls: Sysctls,
    watcher: Watcher,
    handle: rtnetlink::Handle,
    /// The indices of the uplinks that were reported as attached.
    reported: BTreeSet<u32>,
    _reservations: Vec<Reservation>,
    _singleton: Singleton,
}

impl Daemon {
    /// Validates all, then loads, fills and attaches.
    ///
    /// # Errors
    /// Names what cannot be done. Nothing is left attached or changed then.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let singleton = Singleton::acquire()?;
        let local_ports = local_port_range()?;
        let hz = ticks_per_second();
        // First, so that no change between the snapshot and the watching goes unseen.
        let watcher = Watcher::new()?;
        let (connection, handle, _) =
            rtnetlink::new_connection().context("opening a netlink socket")?;
        tokio::spawn(connection);
        let host = snapshot(&handle).await?;
        let mut intent = config.intent;
        intent.check(&host)?;
        let (published, reservations) = allocate(&config.publish, local_ports)?;
        intent.published = published;

        let settings = Settings::new(hz.into(), local_ports);
        let datapath = Datapath::load(&config.load, &settings)?;
        let mut daemon = Daemon {
            intent,
            datapath,
            collector: Collector::new(settings.lifetimes),
            sysctls: Sysctls::new(),
            watcher,
            handle,
            reported: BTreeSet::new(),
            _reservations: reservations,
            _singleton: singleton,
        };
        if let Err(error) = daemon.reconcile(&host).await {
            daemon.detach().await;
            return Err(error);
        }
        if config.load.trace {
            tokio::spawn(daemon.datapath.messages()?);
        }
        daemon.announce();
        Ok(daemon)
    }

    /// Follows the host until `stop` resolves.
    ///
    /// # Errors
    /// Only what makes going on pointless: the netlink socket is gone.
    pub async fn serve(&mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(stop);
        let mut collect = interval(COLLECT_EVERY);
        collect.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                changed = self.watcher.changed() => {
                    changed?;
                    self.follow().await;
                }
                _ = collect.tick() => {
                    if let Err(error) = self.collector.collect(&mut self.datapath) {
                        warn!("collecting flows: {error}");
                    }
                }
            }
        }
    }

    /// Detaches everything and puts back what was changed.
    pub async fn stop(mut self) -> Report {
        let report = self.report();
        self.detach().await;
        report
    }

    /// The published ports and what came through them.
    pub fn report(&mut self) -> Report {
        let totals = self
            .collector
            .totals(&mut self.datapath)
            .unwrap_or_else(|error| {
                warn!("reading flows: {error}");
                Default::default()
            });
        let drops = self.datapath.drops().unwrap_or_else(|error| {
            warn!("reading drops: {error}");
            Vec::new()
        });
        Report {
            published: self.intent.published.clone(),
            totals,
            drops,
        }
    }

    /// Brings the datapath in step with the host as it is now. What fails now is tried again at the
    /// next change: an interface can go while we attach to it.
    async fn follow(&mut self) {
        let followed = match snapshot(&self.handle).await {
            Ok(host) => self.reconcile(&host).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = followed {
            warn!("{error:#}");
        }
    }

    async fn reconcile(&mut self, host: &Snapshot) -> anyhow::Result<()> {
        let desired = self.intent.desired(host);
        for interface in &desired.forwarding {
            self.sysctls.enable_forwarding(interface)?;
        }
        for index in self.datapath.apply(&desired)? {
            self.remove_qdisc(index).await;
        }
        self.report_uplinks(&desired);
        Ok(())
    }

    async fn detach(&mut self) {
        for index in self.datapath.detach_all() {
            self.remove_qdisc(index).await;
        }
        if let Err(error) = self.sysctls.restore() {
            warn!("{error}");
        }
    }

    async fn remove_qdisc(&self, index: u32) {
        if let Err(error) = remove_clsact(&self.handle, index).await {
            warn!("{error}");
        }
    }

    fn announce(&self) {
        for port in &self.intent.published {
            info!("published {port}");
        }
    }

    fn report_uplinks(&mut self, desired: &Desired) {
        let uplinks = desired
            .interfaces
            .iter()
            .filter(|(_, link)| link.role == Role::Uplink);
        for (index, uplink) in uplinks {
            if self.reported.insert(*index) {
                match desired.egress.get(index) {
                    Some(address) => {
                        info!(
                            "attached to uplink {}, masquerading as {address}",
                            uplink.name
                        );
                    }
                    None => info!(
                        "attached to uplink {}, which has no address yet",
                        uplink.name
                    ),
                }
            }
        }
        self.reported
            .retain(|index| desired.interfaces.contains_key(index));
        if self.reported.is_empty() {
            warn!("there is no uplink: nothing comes in from outside until one appears");
        }
    }
}
