//! What a portnat before this one has left goes on: its ports keep their numbers and ids.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::bail;
use nix::net::if_::if_nameindex;
use portnat_common::Settings;
use tracing::{info, warn};

use super::docker::Docker;
use super::{Config, Daemon};
use crate::datapath::{
    Adopted, Datapath, DatapathError, Hook, Keep, LeftPort, LoadOptions, Pins, is_ours, programs_at,
};
use crate::model::{Ledger, PublishedPort};
use crate::net::{NetError, Singleton, Sysctls, namespace_name};
use crate::spec::Protocol;

/// What is left of a portnat before this one.
pub(super) struct Adoption {
    keep: Option<Keep>,
    /// The ports that were published.
    ports: Vec<LeftPort>,
    last_id: u32,
    bypassed: bool,
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
            bypassed: keep.as_ref().is_some_and(Keep::bypassed),
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

    /// The ports that were published.
    pub(super) fn ports(&self) -> Vec<PublishedPort> {
        let ports = self.ports.iter().filter_map(|left| {
            Some(PublishedPort {
                id: left.id,
                address: left.address,
                ports: left.ports,
                protocol: Protocol::from_number(left.protocol)?,
                target: left.target,
            })
        });
        ports.collect()
    }

    /// Whether there were prefixes that were not masqueraded to.
    pub(super) fn bypassed(&self) -> bool {
        self.bypassed
    }

    /// The greatest id that a port has had.
    pub(super) fn last_id(&self) -> u32 {
        self.last_id
    }
}

/// Where something is written down for the next portnat of this network namespace: beside the control
/// socket.
pub(super) fn written_beside(socket: &Path, what: &str) -> Result<PathBuf, NetError> {
    let directory = socket.parent().unwrap_or(Path::new("."));
    Ok(directory.join(format!("{}-{what}", namespace_name()?)))
}

/// Where changed sysctls are.
pub(super) fn record_path(socket: &Path) -> Result<PathBuf, NetError> {
    written_beside(socket, "sysctls")
}

/// The sysctls, with what a portnat before this one has changed.
pub(super) fn sysctls(config: &Config) -> Result<Sysctls, NetError> {
    match &config.socket {
        Some(socket) => Sysctls::recorded(&record_path(socket)?, config.persist),
        None => Ok(Sysctls::new()),
    }
}

/// Says what was taken over, if anything was: so many ports are as they were.
pub(super) fn say(adopted: Option<Adopted>, ports: usize, took: Duration) {
    if let Some(Adopted { flows, attachments }) = adopted {
        info!(
            "took over {ports} ports, {flows} flows and {attachments} attachments of an earlier \
             portnat in {} ms",
            took.as_millis()
        );
    }
}

/// That no portnat runs here, and none has left its programs to work on, but where this one looks. To be
/// asked before privileges are given up: names of programs are not told to everybody.
///
/// # Errors
/// One does, or has.
pub fn must_be_alone(pin_dir: &Path) -> anyhow::Result<()> {
    let _singleton = Singleton::acquire()?;
    if Pins::new(pin_dir, &namespace_name()?).are_there() {
        return Ok(());
    }
    // Those of who has just ended may be there for a moment.
    for _ in 0..20 {
        if attached_elsewhere().is_none() {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    attached_elsewhere().map_or(Ok(()), |interface| bail!(elsewhere(&interface, pin_dir)))
}

/// An interface that has our programs by TCX, whose links somebody holds. On a kernel without TCX, none.
pub(super) fn attached_elsewhere() -> Option<String> {
    let names = if_nameindex().ok()?;
    let mut names = names
        .iter()
        .map(|it| it.name().to_string_lossy().into_owned());
    names.find(|name| {
        let at = |hook: &Hook| programs_at(name, *hook).ok().flatten().unwrap_or_default();
        let mut programs = Hook::ALL.iter().flat_map(at);
        programs.any(|program| is_ours(&program))
    })
}

/// What is said of such programs.
pub(super) fn elsewhere(interface: &str, pin_dir: &Path) -> String {
    format!(
        "portnat's programs are attached to {interface}, and nothing is pinned in {}: give the --pin-dir that \
         they were started with",
        pin_dir.display()
    )
}

impl Daemon {
    /// Ends, and leaves everything as it is if it `stays`. So it does where a start fails and somebody was
    /// there before: who had a reason to stay, which has not ended.
    pub(super) async fn give_up(mut self, stays: bool) {
        if !stays {
            self.detach().await;
            return;
        }
        info!("what is published and masqueraded goes on so until `portnat cleanup`");
        self.sysctls.leave();
        self.holder.leave();
        self.datapath.leave();
    }

    async fn detach(&mut self) {
        let detached = self.datapath.detach_all();
        self.unpin();
        self.remove_qdiscs(detached.qdiscs).await;
        self.restore_far_ends().await;
        self.forget_commands();
        self.docker.iter_mut().for_each(Docker::forget);
        self.keep_no_ports_apart().await;
        if let Err(error) = self.sysctls.restore() {
            warn!("{error}");
        }
        // What holds ports has written down something too.
        self.ledger = Ledger::default();
        // Its directory goes along if it is empty: what was written down beside it is gone by now.
        self.server = None;
    }

    /// Takes back what was pinned.
    fn unpin(&mut self) {
        if let Err(error) = self.datapath.unpin() {
            warn!("{error}");
        }
    }
}
