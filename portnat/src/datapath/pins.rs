//! Where maps, links and programs are pinned, so that they outlive the daemon.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, SYSFS_MAGIC, statfs};
use tracing::info;

use super::attach::Hook;
use super::error::{DatapathError, plain};

/// The number of the tables' layout. It is raised when what a table holds is to be read in another way,
/// which its sizes need not tell: flows that were written in the other way are not adopted then.
pub const LAYOUT: u32 = 1;

/// Where the kernel has a place for a BPF file system.
const STANDARD: &str = "/sys/fs/bpf";

/// What a directory of maps is called, but for the layout's number.
const MAPS: &str = "v";
/// What a directory of programs is called, but for which they are.
const PROGRAMS: &str = "programs-";
/// The directory of links. Not the layout's: links go over to programs of another one.
const LINKS: &str = "links";

/// The pins of one network namespace: a directory of a BPF file system.
///
/// Below it are `v1/` with the maps of layout 1, `links/` and `programs-…/` with programs, each set
/// under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

/// Where a link is attached: an interface's index, and where at it.
pub(super) type Spot = (u32, Place);

/// Where at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// At one of TC's hooks.
    Tc(Hook),
    /// XDP in the driver.
    Driver,
    /// XDP in front of the stack.
    Stack,
}

impl Place {
    const ALL: [Place; 4] = [
        Place::Tc(Hook::Ingress),
        Place::Tc(Hook::Egress),
        Place::Driver,
        Place::Stack,
    ];
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tc(hook) => hook.fmt(f),
            Place::Driver => f.write_str("xdp"),
            Place::Stack => f.write_str("xdpgeneric"),
        }
    }
}

impl Pins {
    /// Those of the namespace of this name, below a directory for all of them.
    #[must_use]
    pub fn new(directory: &Path, namespace: &str) -> Self {
        Pins {
            root: directory.join(namespace),
        }
    }

    /// Whether there are any.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.root.is_dir()
    }

    /// Makes the directories, and mounts a BPF file system if there is none where one is expected.
    ///
    /// # Errors
    /// There is none, or it takes no directories.
    pub fn make(&self) -> Result<(), DatapathError> {
        self.require_file_system()?;
        for directory in [self.maps(), self.links()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(|cause| Self::failed(&directory, &cause))?;
        }
        Ok(())
    }

    /// Mounts a BPF file system if there is none where one is expected.
    ///
    /// # Errors
    /// There is none.
    pub fn require_file_system(&self) -> Result<(), DatapathError> {
        let there = self.root.ancestors().find(|path| path.is_dir());
        let there = there.unwrap_or(Path::new("/"));
        let kind = statfs(there).map_err(|error| Self::failed(there, &error.into()))?;
        let kind = kind.filesystem_type();
        if kind == BPF_FS_MAGIC {
            return Ok(());
        }
        // What is mounted in a mount namespace of our own ends with us, and the pins with it.
        let is_everybodys = fs::read_link("/proc/self/ns/mnt").ok();
        let is_everybodys = is_everybodys == fs::read_link("/proc/1/ns/mnt").ok();
        let is_expected = there == Path::new(STANDARD) && kind == SYSFS_MAGIC;
        if !(is_expected && is_everybodys) {
            return Err(DatapathError::Pins {
                path: self.root.clone(),
                reason: format!(
                    "it is not in a BPF file system: `mount -t bpf bpf {STANDARD}`, or name a \
                     directory in one with --pin-dir"
                ),
            });
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), STANDARD, Some("bpf"), flags, Some("mode=700"))
            .map_err(|error| Self::failed(Path::new(STANDARD), &error.into()))?;
        info!("mounted a BPF file system at {STANDARD}");
        Ok(())
    }

    fn failed(path: &Path, cause: &io::Error) -> DatapathError {
        DatapathError::Pins {
            path: path.to_owned(),
            reason: plain(cause),
        }
    }

    /// The directory of the maps of this layout.
    pub(super) fn maps(&self) -> PathBuf {
        self.root.join(format!("{MAPS}{LAYOUT}"))
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Gives a map's place to another, at once: there is always one.
    pub(super) fn replace_map(
        &self,
        name: &str,
        pin: impl FnOnce(&Path) -> Result<(), aya::pin::PinError>,
    ) -> Result<(), DatapathError> {
        // No dots: a BPF file system keeps them for itself.
        let new = self.map(&format!("{name}-new"));
        let failed = |cause: io::Error| Self::failed(&new, &cause);
        // Of one that was killed here.
        remove_file(&new).map_err(failed)?;
        pin(&new).map_err(|error| failed(io::Error::other(error)))?;
        fs::rename(&new, self.map(name)).map_err(failed)
    }

    fn links(&self) -> PathBuf {
        self.root.join(LINKS)
    }

    /// Where a link is pinned.
    pub(super) fn link(&self, (index, place): Spot) -> PathBuf {
        self.links().join(format!("{index}-{place}"))
    }

    /// The links that are pinned.
    pub(super) fn pinned_links(&self) -> Vec<Spot> {
        names(&self.links())
            .into_iter()
            .filter_map(|name| {
                let (index, place) = name.to_str()?.split_once('-')?;
                let place = Place::ALL.into_iter().find(|at| at.to_string() == place)?;
                Some((index.parse().ok()?, place))
            })
            .collect()
    }

    /// The directory of one set of programs.
    pub(super) fn programs(&self, which: &str) -> PathBuf {
        self.root.join(format!("{PROGRAMS}{which}"))
    }

    /// The maps that are pinned, of whatever layout.
    pub(super) fn pinned_maps(&self) -> Vec<PathBuf> {
        names(&self.root)
            .into_iter()
            .filter(|name| name.to_string_lossy().starts_with(MAPS))
            .map(|name| self.root.join(name))
            .flat_map(|directory| {
                let maps = names(&directory).into_iter();
                maps.map(move |name| directory.join(name))
            })
            .collect()
    }

    /// Removes the maps of other layouts, those of this one of which `keep` says no, and all programs
    /// but this set.
    pub(super) fn remove_others(&self, programs: Option<&str>, keep: impl Fn(&str) -> bool) {
        let programs = programs.map(|which| self.programs(which));
        for name in names(&self.root) {
            let path = self.root.join(&name);
            if path == self.links() || Some(&path) == programs.as_ref() {
                continue;
            }
            if path != self.maps() {
                let _ = fs::remove_dir_all(&path);
                continue;
            }
            for name in names(&path) {
                if !name.to_str().is_some_and(&keep) {
                    let _ = fs::remove_file(path.join(name));
                }
            }
        }
    }

    /// Removes all programs' pins.
    pub(super) fn remove_programs(&self) {
        for name in names(&self.root) {
            if name.to_string_lossy().starts_with(PROGRAMS) {
                let _ = fs::remove_dir_all(self.root.join(name));
            }
        }
    }

    /// Removes all of them; what nobody else holds goes.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(&self) -> Result<(), DatapathError> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Self::failed(&self.root, &error))
            }
            _ => {
                // If no other namespace has any.
                let _ = self.root.parent().map(fs::remove_dir);
                Ok(())
            }
        }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The names in a directory; none, if it is not there.
fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}
