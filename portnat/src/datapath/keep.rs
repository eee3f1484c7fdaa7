//! What outlives the daemon, and what a daemon takes over from one before it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem;
use std::path::{Path, PathBuf};

use aya::maps::PerCpuArray;
use aya::pin::PinError;
use aya::programs::{SchedClassifier, Xdp};
use aya_obj::programs::XdpAttachType;
use nix::net::if_::if_nameindex;
use tracing::{debug, info};

use super::attach::{Hook, remove_filter};
use super::error::DatapathError;
use super::left::{self, FoundLink, Left, LeftPort, is_kept};
use super::load::{Datapath, LoadOptions, OBJECT};
use super::pins::{Pins, Spot, remove_file};

/// What is pinned, or is to be.
pub struct Keep {
    pins: Pins,
    persist: bool,
    left: Left,
    /// Whether anything was pinned.
    was_there: bool,
    fresh: Fresh,
}

/// Pins that nobody has a use for yet: dropping this removes them.
#[derive(Default)]
struct Fresh(Option<Pins>);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(pins) = &self.0
            && let Err(error) = pins.remove()
        {
            debug!("{error}");
        }
    }
}

impl Keep {
    /// Looks at what a portnat before this one has left in `pins`. With `persist` this one will leave
    /// everything too, else it takes it away as soon as it holds it itself.
    ///
    /// # Errors
    /// There is no BPF file system, and with `persist` there has to be one; or what is pinned cannot be
    /// read.
    pub fn find(pins: Pins, persist: bool, options: &LoadOptions) -> Result<Self, DatapathError> {
        let was_there = pins.are_there();
        let mut fresh = Fresh::default();
        if persist {
            pins.make()?;
            fresh.0 = (!was_there).then(|| pins.clone());
        }
        let left = if was_there {
            Left::find(&pins, options)?
        } else {
            Left::nothing()
        };
        Ok(Keep {
            pins,
            persist,
            left,
            was_there,
            fresh,
        })
    }

    /// The ports that were published.
    #[must_use]
    pub fn ports(&self) -> Vec<LeftPort> {
        self.left.ports()
    }

    /// The greatest id that a port has had: later ones get greater ones, so that their counters begin
    /// at 0.
    #[must_use]
    pub fn last_id(&self) -> u32 {
        self.left.last_id
    }

    /// Whether containers may have asked somebody as themselves that others are masqueraded to.
    #[must_use]
    pub fn bypassed(&self) -> bool {
        self.left.bypassed()
    }

    /// Whether anything was pinned.
    #[must_use]
    pub fn was_there(&self) -> bool {
        self.was_there
    }
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Confirmed flows.
    pub flows: u64,
    /// Hooks of interfaces at which there was a program.
    pub attachments: usize,
}

/// The part of a [`Datapath`] that knows of pins.
#[derive(Default)]
pub(super) struct Keeping {
    /// Where things were pinned.
    found: Option<Pins>,
    /// Where they are to be, if they are.
    pins: Option<Pins>,
    /// Programs that were loaded by somebody else.
    programs: BTreeMap<String, SchedClassifier>,
    /// The one of XDP among them.
    pub(super) xdp: Option<Xdp>,
    /// Which programs these are, if some may be taken over.
    which: Option<String>,
    /// Links that were found and not taken over yet.
    links: BTreeMap<Spot, FoundLink>,
    /// At how many hooks there was a program of an earlier portnat's.
    pub(super) adopted: usize,
    /// How many flows there were.
    pub(super) flows: u64,
    /// Until all is in use.
    fresh: Fresh,
}

impl Keeping {
    pub(super) fn found(&self) -> Option<&Pins> {
        self.found.as_ref()
    }

    pub(super) fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    pub(super) fn persists(&self) -> bool {
        self.pins.is_some()
    }

    /// A link that was found at this place, which is the caller's now.
    pub(super) fn take_link(&mut self, spot: Spot) -> Option<FoundLink> {
        self.links.remove(&spot)
    }

    /// Removes the pin of a link.
    pub(super) fn remove_link(&self, spot: Spot) {
        if let Some(pins) = &self.found {
            let _ = remove_file(&pins.link(spot));
        }
    }

    /// A program that was taken over.
    pub(super) fn program(&mut self, name: &str) -> Option<&mut SchedClassifier> {
        self.programs.get_mut(name)
    }

    /// Takes over a program, if it is pinned.
    pub(super) fn adopt_program(&mut self, name: &str) -> bool {
        if self.programs.contains_key(name) {
            return true;
        }
        let program = self.program_pin(name).map(SchedClassifier::from_pin);
        let Some(Ok(program)) = program else {
            return false;
        };
        debug!("program {name} was there");
        self.programs.insert(name.to_owned(), program);
        true
    }
}

impl Keeping {
    /// Where a program is pinned, or is to be.
    fn program_pin(&self, name: &str) -> Option<PathBuf> {
        let pins = self.found.as_ref().or(self.pins.as_ref())?;
        Some(pins.programs(self.which.as_ref()?).join(name))
    }

    /// As [`Keeping::adopt_program`], of XDP.
    pub(super) fn adopt_xdp(&mut self, name: &str) {
        if self.xdp.is_none()
            && let Some(path) = self.program_pin(name)
        {
            self.xdp = Xdp::from_pin(path, XdpAttachType::Interface).ok();
        }
    }

    /// Pins a program that was just loaded, so that another process of the same binary need not load it.
    pub(super) fn pin_program(
        &self,
        name: &str,
        pin: impl FnOnce(&Path) -> Result<(), PinError>,
    ) -> Result<(), DatapathError> {
        let (true, Some(path)) = (self.persists(), self.program_pin(name)) else {
            return Ok(());
        };
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| remove_file(&path))
            .map_err(|error| error.to_string())
            .and_then(|()| pin(&path).map_err(|error| error.to_string()))
            .map_err(|reason| DatapathError::Pins { path, reason })
    }
}

/// A name for the programs that are loaded with these options: who has loaded the same ones may use them.
/// `None` for those whose messages go to the process that has loaded them.
fn which_programs(options: &LoadOptions) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    OBJECT.hash(&mut hasher);
    Datapath::can_be_fast().hash(&mut hasher);
    (!options.trace).then(|| format!("{:016x}", hasher.finish()))
}

impl Datapath {
    /// Makes ready what is to outlive us, and returns the maps that go on. To be called before the maps
    /// are made.
    pub(super) fn keeping(keep: Keep, options: &LoadOptions) -> (Keeping, Left) {
        let Keep {
            pins,
            persist,
            mut left,
            was_there,
            fresh,
        } = keep;
        let which = which_programs(options);
        if was_there && !left.complete {
            // They use maps that do not go on.
            pins.remove_programs();
        }
        let keeping = Keeping {
            found: was_there.then(|| pins.clone()),
            pins: persist.then_some(pins),
            programs: BTreeMap::new(),
            xdp: None,
            which,
            links: mem::take(&mut left.links),
            adopted: 0,
            flows: 0,
            fresh,
        };
        (keeping, left)
    }

    /// Pins the maps that are not.
    pub(super) fn pin_maps(&self, left: &Left) -> Result<(), DatapathError> {
        let Some(pins) = self.keeping.pins() else {
            return Ok(());
        };
        for (name, map) in self.ebpf.maps() {
            if is_kept(name) && !left.maps.contains(name) {
                pins.replace_map(name, |path| map.pin(path))?;
            }
        }
        Ok(())
    }

    /// Ends the taking over, after tables and attachments are as they are to be: what is of no use any
    /// more goes. Returns what was taken over; nothing, if there was nothing.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn settle(&mut self) -> Result<Option<Adopted>, DatapathError> {
        let not_ours: Vec<Spot> = mem::take(&mut self.keeping.links).into_keys().collect();
        for spot in not_ours {
            self.keeping.remove_link(spot);
        }
        self.remove_stray_filters();
        self.migrate_rest()?;
        self.keeping.fresh.0 = None;
        let Some(found) = self.keeping.found.take() else {
            return Ok(None);
        };
        if self.keeping.persists() {
            let kept = |name: &str| is_kept(name) && self.ebpf.map(name).is_some();
            found.remove_others(self.keeping.which.as_deref(), kept);
        } else {
            found.remove()?;
        }
        Ok(Some(Adopted {
            flows: self.keeping.flows,
            attachments: self.keeping.adopted,
        }))
    }

    /// Removes clsact filters of ours where there is to be none: of a portnat that was killed and had
    /// other interfaces.
    fn remove_stray_filters(&mut self) {
        let strays = remove_filters(|at| !self.attachments.contains_key(at));
        self.qdiscs.extend(strays);
    }

    /// How many confirmed flows there are.
    pub(super) fn confirmed(&mut self) -> Result<u64, DatapathError> {
        const TABLE: &str = "QUEUED";
        let failed = |error| DatapathError::table(TABLE, error);
        let map: PerCpuArray<_, i64> = self.map(TABLE)?.try_into().map_err(failed)?;
        let mut flows = 0;
        for family in 0..map.len() {
            let length: i64 = map.get(&family, 0).map_err(failed)?.iter().sum();
            flows += u64::try_from(length).unwrap_or_default();
        }
        Ok(flows)
    }

    /// Removes all pins, and with them all that nobody holds.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn unpin(&mut self) -> Result<(), DatapathError> {
        let pins = self.keeping.pins.take();
        pins.map_or(Ok(()), |pins| pins.remove())
    }
}

/// What was left of a portnat, and is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// How many programs were attached.
    pub programs: usize,
    /// How many tables were pinned.
    pub tables: usize,
    /// The indices of interfaces whose clsact queueing discipline is of no use any more: it is to be
    /// removed.
    pub qdiscs: Vec<u32>,
}

impl Pins {
    /// Detaches and removes all that there is, of whatever layout.
    ///
    /// # Errors
    /// The BPF file system refuses.
    pub fn clean_up(&self) -> Result<Leftovers, DatapathError> {
        let links = left::links(self);
        let tables = self.pinned_maps().len();
        let programs = links.len();
        drop(links);
        self.remove()?;
        let qdiscs = remove_filters(|_| true);
        Ok(Leftovers {
            programs: programs + qdiscs.len(),
            tables,
            qdiscs,
        })
    }
}

/// Removes clsact filters of ours from all places of which `which` says so. Returns the interface of
/// each.
fn remove_filters(which: impl Fn(&(u32, Hook)) -> bool) -> Vec<u32> {
    let mut removed = Vec::new();
    let interfaces = if_nameindex();
    for interface in interfaces.iter().flatten() {
        for hook in Hook::ALL {
            let index = interface.index();
            if which(&(index, hook)) && remove_filter(index, hook).is_ok() {
                let name = interface.name().to_string_lossy();
                info!("removed what an earlier portnat left at {name}");
                removed.push(index);
            }
        }
    }
    removed
}
