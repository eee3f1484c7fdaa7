//! The config is read anew, and what it says otherwise is changed while packets flow.

use std::fmt::Write as _;

use portnat_common::Lifetimes;
use tracing::{info, warn};

use super::admissions::Admissions;
use super::called::plain;
use super::change::{added, say, sides};
use super::docker::Docker;
use super::{Config, Daemon, Options};
use crate::control::{ChangeError, Reloaded, Reloading};
use crate::datapath::Datapath;
use crate::model::{Change, FastPath, Intent, Origin};
use crate::net::{snapshot, ticks_per_second};

impl Daemon {
    /// Does as SIGHUP asks, and says what comes of it.
    pub async fn reload_and_say(&mut self) {
        if let Err(error) = self.reload().await {
            warn!("not reloaded, all stays as it was: {error}");
        }
    }

    /// Reads the config anew and applies what is other than before. What fails changes nothing.
    pub(super) async fn reload(&mut self) -> Result<Reloading, ChangeError> {
        self.service.reloading();
        let reloading = self.reread().await;
        self.tell_status();
        self.service.ready();
        reloading
    }

    async fn reread(&mut self) -> Result<Reloading, ChangeError> {
        let Some(reread) = &self.reread else {
            return Err(ChangeError::NoConfig);
        };
        let config = reread(&self.options.load)?;
        let options = Options::new(&config);
        let mut next = self.ledger.clone();
        let source = self.holder.source()?;
        let (called, missing) = self.called_by_config(&config.config_publish);
        let by_address = plain(&config.config_publish);
        let mut specs = by_address.clone();
        for one in called.iter().filter(|one| one.origin == Origin::Config) {
            let Some(now) = one.now else { continue };
            self.holder.prefer(&mut next, &one.spec, &now);
            specs.push(now);
        }
        let change = next.replace(&specs, Origin::Config, &source)?;
        drop(source);
        let published = next.ports();
        let wanted = self.docker.as_ref().map(Docker::wanted);
        let admissions = Admissions::of(&config.admission, wanted, &next)?;
        let intent = Intent {
            admissions: admissions.of,
            published,
            fast: options.is_fast(),
            bypassed: self.intent.bypassed || !self.intent.bypass.is_empty(),
            managed: self.intent.managed.clone(),
            ..config.intent
        };
        let host = snapshot(&self.handle).await?;
        intent.check(&host)?;
        let mut changed = differences((&self.intent, &self.options), (&intent, &options));
        changed.extend(self.admission.differences(&config.admission));
        // It may be for one that has been unpublished, and comes back.
        let idle = config.admission.check(&intent.published).err();
        let mut warnings = self.commit(host, (next, called), intent, options).await?;
        warnings.extend(missing);
        for shut in admissions.shut {
            warn!("{}", shut.words);
            warnings.push(shut.words);
        }
        self.admission = config.admission;
        if let Some(error) = idle {
            warn!("{error}");
            warnings.push(error.to_string());
        }
        self.holder.remember(&self.ledger, &by_address);
        info!("reloaded: {}", in_words(&change, &changed));
        say(&change);
        let reloaded = Reloaded {
            published: sides(added(&change)),
            unpublished: sides(&change.removed),
            changed: changed.into_iter().map(str::to_owned).collect(),
            flows_ended: 0,
            warnings,
        };
        Ok(Reloading {
            reloaded,
            ended: self.end_flows(&change),
        })
    }
}

/// The names of the options that are other than they were.
fn differences(
    (old, was): (&Intent, &Options),
    (new, is): (&Intent, &Options),
) -> Vec<&'static str> {
    let all = [
        ("uplinks", old.uplinks != new.uplinks),
        ("bridges", old.bridges != new.bridges),
        ("masquerade", old.masquerade != new.masquerade),
        ("bypass", old.bypass != new.bypass),
        ("networks", old.networks != new.networks),
        ("fast-path", was.fast_path != is.fast_path),
        ("timeouts", was.lifetimes != is.lifetimes),
        ("udp-mapping", was.load.udp_mapping != is.load.udp_mapping),
        ("mark", was.load.mark != is.load.mark),
        (
            "max-flows-per-container",
            was.load.max_flows_per_container != is.load.max_flows_per_container,
        ),
    ];
    let changed = all.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(name, _)| name).collect()
}

fn in_words(change: &Change, changed: &[&str]) -> String {
    let (new, gone) = (added(change).count(), change.removed.len());
    let mut words = format!("{new} ports published, {gone} no longer");
    for name in changed {
        // A string takes everything.
        let _ = write!(words, ", {name} changed");
    }
    words
}

impl Options {
    /// Those of a config, as far as the kernel can.
    pub(super) fn new(config: &Config) -> Self {
        let hz = ticks_per_second().into();
        let mut lifetimes = Lifetimes::standard(hz);
        for timeout in &config.timeouts {
            timeout.apply(&mut lifetimes, hz);
        }
        Options {
            fast_path: match Datapath::can_be_fast() {
                true => config.fast_path,
                false => FastPath::Off,
            },
            lifetimes,
            load: config.load,
        }
    }

    /// Whether packets may go past the host's stack.
    pub(super) fn is_fast(&self) -> bool {
        self.fast_path != FastPath::Off
    }
}
