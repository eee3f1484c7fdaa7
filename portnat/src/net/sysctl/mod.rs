//! Sysctls of the network namespace: those that are set and restored, one that is read.

mod conf;
mod conntrack;
mod forwarding;
mod ipv6;
mod look;
mod loopback;
mod port_range;
mod record;
mod reserved_ports;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::NetError;
use super::error::reason;
use conf::Conf;
pub use ipv6::has_ipv6;
pub use look::sysctl;
pub use port_range::local_port_range;
use record::{Record, index};
pub(super) use reserved_ports::ReservedPorts;
pub use reserved_ports::{local_reserved_ports, restore_reserved_ports};
use verdict::{Verdict, verdict};

/// Resolved by the kernel to the calling thread's network namespace.
const ROOT: &str = "/proc/sys";

/// The sysctls that were changed, put back by [`restore`](Sysctls::restore) or on drop.
///
/// A host is a guest's house: only what must be changed is, and it is said, remembered and undone.
/// `ip_forward` is never touched; forwarding is switched on for one link at a time. Only IPv6 before
/// Linux 6.17 knows no such switch.
#[derive(Debug)]
pub struct Sysctls {
    root: PathBuf,
    changed: Vec<Changed>,
    /// Sysctls to look at before some of the changed ones are put back, each once.
    host_wide: Vec<HostWide>,
    /// Where changes are written down.
    record: Option<Record>,
    /// Whether they outlive this.
    stay: bool,
}

/// A sysctl that no longer has the value it had.
#[derive(Debug)]
struct Changed {
    conf: Conf,
    /// The link's, if it is a link's: that can get another name.
    index: Option<u32>,
    previous: String,
    /// What it was made.
    set: String,
    /// Those of [`Conf::host_wide`] that were off then.
    host_did_not: Vec<Conf>,
    /// Kept open, because an open sysctl stays that of its own namespace and link: it can be
    /// restored from any thread, and never in a new link that got the name of an old one.
    file: File,
}

/// A sysctl that is only read, kept open for the same reason.
#[derive(Debug)]
struct HostWide {
    conf: Conf,
    file: File,
}

impl Default for Sysctls {
    fn default() -> Self {
        Self::new()
    }
}

impl Sysctls {
    /// Nothing is changed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::under(Path::new(ROOT))
    }

    /// Nothing is changed yet, and what will be stays so until the machine is booted again.
    #[must_use]
    pub fn until_boot() -> Self {
        let mut sysctls = Self::new();
        sysctls.stay = true;
        sysctls
    }

    /// What was changed, as `net.ipv4.conf.eth0.forwarding = 1 (was 0)`.
    pub fn changes(&self) -> impl Iterator<Item = String> {
        self.changed.iter().map(|changed| {
            let key = changed.conf.key();
            format!("{key} = {} (was {})", changed.set, changed.previous)
        })
    }

    fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            changed: Vec::new(),
            host_wide: Vec::new(),
            record: None,
            stay: false,
        }
    }

    /// Forgets, and so closes, what belonged to links that are not among these, which are all that there are,
    /// by their indices; and goes along with those that have another name. To be called now and then, or a
    /// host where containers come and go accumulates open files.
    ///
    /// # Errors
    /// [`NetError::Record`] if that cannot be written down.
    pub fn follow_links(&mut self, links: &BTreeMap<u32, String>) -> Result<(), NetError> {
        let mut is_same = true;
        for changed in std::mem::take(&mut self.changed) {
            let now = changed.now(links, &self.root);
            is_same &= now.as_ref().is_some_and(|(_, is_same)| *is_same);
            self.changed.extend(now.map(|(changed, _)| changed));
        }
        if is_same {
            return Ok(());
        }
        self.write_down()
    }

    fn is_ours(&self, conf: &Conf) -> bool {
        self.changed.iter().any(|changed| changed.conf == *conf)
    }

    fn set(&mut self, conf: Conf, value: &'static str) -> Result<(), NetError> {
        let key = conf.key();
        let previous = read(&key, &conf.path(&self.root))?;
        if previous == value {
            return Ok(());
        }
        let host_did_not = self.host_did_not(&conf);
        let failed = |cause| NetError::WriteSysctl {
            key: key.clone(),
            value: value.to_owned(),
            cause,
        };
        let file = open(&conf.path(&self.root)).map_err(failed)?;
        // Before it is: who is killed in between has changed nothing that is not written down.
        self.remember(Changed {
            index: index(&conf),
            conf: conf.clone(),
            previous: previous.clone(),
            set: value.to_owned(),
            host_did_not,
            file,
        })?;
        let changed = self
            .changed
            .last()
            .map(|changed| write(&changed.file, value));
        if let Some(Err(cause)) = changed {
            self.changed.pop();
            self.write_down()?;
            return Err(failed(cause));
        }
        match (self.stay, &self.record) {
            (false, _) => {
                tracing::info!("set {key} = {value} (was {previous}), restored at exit");
            }
            (true, Some(_)) => {
                tracing::info!("set {key} = {value} (was {previous}), until `portnat cleanup`");
            }
            // Whoever asked for that says it.
            (true, None) => tracing::debug!("set {key} = {value} (was {previous})"),
        }
        Ok(())
    }

    /// Remembers a value that undoing a later change makes `set`, without changing it now.
    fn keep(&mut self, conf: Conf, set: &'static str) -> Result<(), NetError> {
        let key = conf.key();
        let path = conf.path(&self.root);
        let previous = read(&key, &path)?;
        let file = open(&path).map_err(|cause| NetError::WriteSysctl {
            key,
            value: previous.clone(),
            cause,
        })?;
        self.remember(Changed {
            index: index(&conf),
            conf,
            previous,
            set: set.to_owned(),
            host_did_not: Vec::new(),
            file,
        })
    }

    /// A sysctl that was changed before either got another value from somebody else, or is that of
    /// a new link with an old name. Both ways the value of now is the one to put back.
    fn remember(&mut self, changed: Changed) -> Result<(), NetError> {
        self.changed.retain(|other| other.conf != changed.conf);
        self.changed.push(changed);
        self.write_down()
    }

    /// Those host-wide switches of a sysctl that are off; one that cannot be read is none.
    fn host_did_not(&mut self, conf: &Conf) -> Vec<Conf> {
        let mut off = Vec::new();
        for conf in conf.host_wide() {
            if self.look_at(&conf) && !self.is_on(&conf) {
                off.push(conf);
            }
        }
        off
    }

    fn is_on(&self, conf: &Conf) -> bool {
        self.host_wide
            .iter()
            .find(|open| open.conf == *conf)
            .and_then(|open| read_open(&open.file).ok())
            .is_some_and(|value| value != "0")
    }

    /// Puts every changed value back, the last change first. What somebody else has set since, or
    /// relies on by now, is left alone. A link that has vanished took its value along.
    ///
    /// # Errors
    ///
    /// The first [`NetError::WriteSysctl`], after all the others were tried; none is tried again.
    pub fn restore(&mut self) -> Result<(), NetError> {
        let result = self.put_back(|_| true);
        self.host_wide.clear();
        result
    }

    /// Puts back what made other links forward than these: who is not looked after any more should not
    /// lead anybody in. Where links cannot forward IPv6 one by one, that stays until the end.
    ///
    /// # Errors
    /// Those of [`Sysctls::restore`].
    pub fn forward_only(&mut self, links: &BTreeSet<String>) -> Result<(), NetError> {
        self.put_back(|conf| {
            let of = conf.interface().filter(|_| conf.is_forwarding());
            of.is_some_and(|link| !links.contains(link))
        })
    }

    fn put_back(&mut self, is_meant: impl Fn(&Conf) -> bool) -> Result<(), NetError> {
        let meant = |changed: &mut Changed| is_meant(&changed.conf);
        let mut meant: Vec<_> = self.changed.extract_if(.., meant).collect();
        if meant.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        while let Some(changed) = meant.pop() {
            let key = changed.conf.key();
            match self.undo(&changed) {
                Ok(()) => {}
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                    tracing::debug!("{key} is gone with its interface");
                }
                Err(cause) if result.is_ok() => {
                    result = Err(NetError::WriteSysctl {
                        key,
                        value: changed.previous,
                        cause,
                    });
                }
                Err(cause) => {
                    let previous = changed.previous;
                    tracing::warn!("cannot restore {key} = {previous}: {}", reason(&cause));
                }
            }
        }
        result.and(self.write_down())
    }

    fn undo(&self, changed: &Changed) -> io::Result<()> {
        let key = changed.conf.key();
        let (previous, set) = (&changed.previous, &changed.set);
        let now = read_open(&changed.file)?;
        let host_wide = changed.host_did_not.iter().find(|conf| self.is_on(conf));
        match verdict(previous, set, &now, host_wide.is_some()) {
            Verdict::PutBack => {
                write(&changed.file, previous)?;
                tracing::info!("restored {key} = {previous}");
            }
            Verdict::AsBefore => tracing::debug!("{key} is {previous} again already"),
            Verdict::SetSince => {
                tracing::info!("left {key} = {now}: somebody else has set it since");
            }
            Verdict::HostForwards => {
                let host_wide = host_wide.map(Conf::key).unwrap_or_default();
                tracing::info!(
                    "left {key} = {now}: somebody else has switched on {host_wide} since"
                );
            }
        }
        Ok(())
    }
}

impl Changed {
    /// What it is where there are these links, and whether that is the same; nothing, if its link is gone.
    fn now(mut self, links: &BTreeMap<u32, String>, root: &Path) -> Option<(Self, bool)> {
        let Some(link) = self.conf.interface() else {
            return Some((self, true));
        };
        let there = match self.index {
            Some(index) => links.get(&index)?,
            None => links.values().find(|name| *name == link)?,
        };
        if there == link {
            return Some((self, true));
        }
        // The kernel makes the files anew, with the values of before.
        self.conf = self.conf.of_link(there);
        self.file = open(&self.conf.path(root)).ok()?;
        Some((self, false))
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        if !self.stay
            && let Err(error) = self.restore()
        {
            tracing::warn!("{error}");
        }
    }
}

fn read(key: &str, path: &Path) -> Result<String, NetError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(cause) => Err(NetError::ReadSysctl {
            key: key.to_owned(),
            cause,
        }),
    }
}

/// To be read and written again later.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// From offset 0, where the kernel gives the whole value at once.
fn read_open(file: &File) -> io::Result<String> {
    let mut buffer = [0; 64];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length])
        .trim_end()
        .to_owned())
}

/// At offset 0, whatever was written before: the kernel takes a value only there.
fn write(file: &File, value: &str) -> io::Result<()> {
    file.write_all_at(format!("{value}\n").as_bytes(), 0)
}
