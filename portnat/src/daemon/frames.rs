//! Which containers get frames of which the host has made no packets (XDP).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use tracing::{debug, info, warn};

use super::Daemon;
use crate::datapath::{Datapath, XdpMode};
use crate::net::{FarEnd, Snapshot, frame_takers};
use crate::privileges::Aide;

/// How there can be XDP, where it is asked for in this way.
///
/// # Errors
/// It cannot, and was not left to us.
pub(super) fn mode(asked: XdpMode, fast: bool) -> anyhow::Result<XdpMode> {
    let why = match asked {
        XdpMode::Off => return Ok(asked),
        _ if !fast => "it is a part of the fast path, which is off",
        _ if !Datapath::knows_frames() => "it needs Linux 6.3",
        _ => return Ok(asked),
    };
    if asked != XdpMode::Auto {
        bail!("there can be no XDP: {why}: leave out --xdp");
    }
    info!("no XDP: {why}");
    Ok(XdpMode::Off)
}

/// What is known of containers' links.
#[derive(Default)]
pub(super) struct Receivers {
    mode: XdpMode,
    /// By the index of the bridge's port: its name and the container's end.
    ends: BTreeMap<u32, (String, FarEnd)>,
    /// The ports at whose other ends GRO was switched on.
    switched: BTreeMap<u32, FarEnd>,
    /// The ports that were tried and do not take frames, until the next round.
    tried: BTreeSet<u32>,
    /// Those of them that were said to.
    told: BTreeSet<u32>,
}

impl Receivers {
    pub(super) fn new(mode: XdpMode) -> Self {
        Receivers {
            mode,
            ..Receivers::default()
        }
    }

    /// How frames come to be seen.
    pub(super) fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Looks at the host as it is now.
    pub(super) fn see(&mut self, host: &Snapshot) {
        let ends = host
            .links
            .iter()
            .filter(|link| link.master.is_some() && link.up && link.lower_up)
            .filter_map(|link| Some((link.index, (link.name.clone(), link.far_end?))));
        self.ends = ends.collect();
        let exists = |index: &u32| host.link_by_index(*index).is_some();
        self.switched.retain(|index, _| exists(index));
        self.told.retain(exists);
        // Of one that is down and comes up again nothing is known.
        let ends = &self.ends;
        self.tried.retain(|index| ends.contains_key(index));
    }

    /// What did not take frames may by now.
    pub(super) fn try_again(&mut self) {
        self.tried.clear();
    }
}

impl Daemon {
    /// Lets those containers get frames that take them, and makes those take them that can. To be called
    /// every other second.
    pub(super) async fn lease_frames(&mut self) {
        let candidates = self.datapath.frame_candidates();
        // In front of the stack it is a packet already, which any veth takes.
        let any = self.receivers.mode == XdpMode::Generic;
        let takers = if any || candidates.is_empty() {
            candidates
        } else {
            let mut takers = self.takers(&candidates);
            if self.switch_on(&candidates, &takers).await {
                takers = self.takers(&candidates);
            }
            takers
        };
        if let Err(error) = self.datapath.lease_frames(&takers) {
            warn!("{error}");
        }
    }

    /// Those of some ports that take frames.
    fn takers(&self, candidates: &BTreeSet<u32>) -> BTreeSet<u32> {
        match frame_takers() {
            Ok(takers) => takers.intersection(candidates).copied().collect(),
            Err(error) => {
                warn!("{error}");
                BTreeSet::new()
            }
        }
    }

    /// Switches GRO on at the other ends of ports that do not take frames. Returns whether there was any.
    async fn switch_on(&mut self, candidates: &BTreeSet<u32>, takers: &BTreeSet<u32>) -> bool {
        let receivers = &mut self.receivers;
        let mut is_change = false;
        for index in candidates.difference(takers) {
            // What was switched on and is off has been switched off by somebody else.
            if receivers.switched.contains_key(index) {
                continue;
            }
            let Some((name, far_end)) = receivers.ends.get(index) else {
                continue;
            };
            if !receivers.tried.insert(*index) {
                continue;
            }
            let why = match set_gro(&self.handle, self.aide.as_deref(), *far_end, true).await {
                Ok(true) => {
                    info!("switched GRO on at the container's end of {name}, restored at exit");
                    receivers.switched.insert(*index, *far_end);
                    is_change = true;
                    continue;
                }
                Ok(false) => "it has GRO, and does not take frames all the same".to_owned(),
                Err(why) => why,
            };
            if receivers.told.insert(*index) {
                info!("no XDP for the container behind {name}: {why}");
            }
        }
        is_change
    }

    /// Switches off what was switched on.
    pub(super) async fn restore_far_ends(&mut self) {
        for (index, far_end) in std::mem::take(&mut self.receivers.switched) {
            match set_gro(&self.handle, self.aide.as_deref(), far_end, false).await {
                Ok(true) => debug!("switched GRO off at the other end of interface {index}"),
                Ok(false) => {}
                Err(error) => warn!("switching GRO off behind interface {index}: {error}"),
            }
        }
    }
}

/// Switches GRO at a far end, where another network namespace is entered. Returns whether that was a
/// change, or why it was not done.
async fn set_gro(
    handle: &rtnetlink::Handle,
    aide: Option<&Aide>,
    end: FarEnd,
    on: bool,
) -> Result<bool, String> {
    match aide {
        Some(aide) => aide.set_gro(end, on).map_err(|error| error.to_string()),
        None => end
            .set_gro(handle, on)
            .await
            .map_err(|error| error.to_string()),
    }
}
