//! The ports that are kept from being handed out.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{NetError, ROOT, open, write};
use crate::written;

const KEY: &str = "net.ipv4.ip_local_reserved_ports";

/// More than every second port takes.
const LONGEST: usize = 256 << 10;

/// The ports that the kernel gives to nobody who does not ask for them by number, as ranges with both
/// ends included (`net.ipv4.ip_local_reserved_ports`, which holds for IPv6 too).
///
/// # Errors
///
/// [`NetError::ReadSysctl`] without `/proc`, [`NetError::SysctlValue`] if it holds something else.
pub fn local_reserved_ports() -> Result<Vec<(u16, u16)>, NetError> {
    let file = File::open(path(Path::new(ROOT))).map_err(unreadable)?;
    port_ranges(&file)
}

/// Ports that are among the reserved ones on portnat's account.
///
/// Only what was not there before is taken out again, whatever else somebody sets meanwhile.
#[derive(Debug)]
pub(in crate::net) struct ReservedPorts {
    root: PathBuf,
    /// Kept open, because an open sysctl stays that of its own namespace.
    file: Option<File>,
    ranges: Vec<(u16, u16)>,
    /// What was not there before.
    added: Ports,
    /// What stays though nobody asks for it: until it is known who asks again, and for the next one.
    kept: Ports,
    /// Where it is written down what was added.
    record: Option<PathBuf>,
}

/// What is written down: who is killed takes nothing out again.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    /// As the kernel writes it.
    added: String,
}

/// A set of ports: whether each is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(Vec<bool>);

impl ReservedPorts {
    /// None yet.
    pub(in crate::net) fn new() -> Self {
        Self::under(Path::new(ROOT))
    }

    fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            file: None,
            ranges: Vec::new(),
            added: Ports::none(),
            kept: Ports::none(),
            record: None,
        }
    }

    /// Knows what a portnat before this one has written down at `path` and not taken out, which stays until
    /// [`ReservedPorts::settle`]; and writes down there what it adds.
    ///
    /// # Errors
    /// [`NetError::Record`] if the file cannot be read.
    pub(in crate::net) fn recorded(path: &Path) -> Result<Self, NetError> {
        Self::recorded_under(Path::new(ROOT), path)
    }

    fn recorded_under(root: &Path, path: &Path) -> Result<Self, NetError> {
        let failed = |cause| NetError::Record {
            path: path.to_owned(),
            cause,
        };
        let written = written::read::<Written>(path).map_err(failed)?;
        let added = match written {
            Some(written) => parse(&written.added)
                .ok_or_else(|| failed(io::Error::other("it names what are no ports")))?,
            None => Vec::new(),
        };
        Ok(Self {
            added: Ports::of(&added),
            kept: Ports::of(&added),
            record: Some(path.to_owned()),
            ..Self::under(root)
        })
    }

    /// Takes out what an earlier portnat has added and nobody has asked for again. Returns whether there
    /// was anything of it.
    ///
    /// # Errors
    /// As for [`ReservedPorts::reserve`].
    pub(in crate::net) fn settle(&mut self) -> Result<bool, NetError> {
        if self.kept == Ports::none() {
            return Ok(false);
        }
        self.kept = Ports::none();
        self.set()?;
        Ok(true)
    }

    /// All that is added stays from now on, for the next portnat.
    pub(in crate::net) fn leave(&mut self) {
        self.kept = self.added.clone();
    }

    /// Adds a range.
    ///
    /// # Errors
    /// The kernel refuses to tell or to set the value, which is as it was.
    pub(in crate::net) fn reserve(&mut self, first: u16, last: u16) -> Result<(), NetError> {
        self.ranges.push((first, last));
        let set = self.set();
        if set.is_err() {
            self.ranges.pop();
        }
        set
    }

    /// Takes a range out again, but for what another one still needs; one that was not added changes
    /// nothing.
    ///
    /// # Errors
    /// As for [`ReservedPorts::reserve`].
    pub(in crate::net) fn release(&mut self, first: u16, last: u16) -> Result<(), NetError> {
        let Some(place) = self.ranges.iter().position(|range| *range == (first, last)) else {
            return Ok(());
        };
        self.ranges.swap_remove(place);
        self.set()
    }

    fn set(&mut self) -> Result<(), NetError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&path(&self.root)).map_err(unreadable)?),
        };
        let now = Ports::of(&port_ranges(file)?);
        let others = now.without(&self.added);
        let added = Ports::of(&self.ranges).with(&self.kept).without(&others);
        let wanted = others.with(&added);
        if wanted != now {
            // Before it is so: who is killed in between has added nothing that is not written down.
            write_down(self.record.as_deref(), &self.added.with(&added))?;
            let (old, new) = (now.to_string(), wanted.to_string());
            write(file, &new).map_err(|cause| NetError::WriteSysctl {
                key: KEY.to_owned(),
                value: new.clone(),
                cause,
            })?;
            match added == Ports::none() {
                true => tracing::info!("restored {KEY} = {new:?}"),
                false => tracing::info!("set {KEY} = {new:?} (was {old:?}), restored at exit"),
            }
        }
        if wanted != now || added != self.added {
            write_down(self.record.as_deref(), &added)?;
        }
        self.added = added;
        Ok(())
    }
}

/// Writes down what was added; if that is nothing, the file goes.
fn write_down(record: Option<&Path>, added: &Ports) -> Result<(), NetError> {
    let Some(path) = record else {
        return Ok(());
    };
    let written = match *added == Ports::none() {
        true => written::remove(path),
        false => written::replace(
            path,
            &Written {
                added: added.to_string(),
            },
        ),
    };
    written.map_err(|cause| NetError::Record {
        path: path.to_owned(),
        cause,
    })
}

/// Takes out what portnats have added and written down at `path`. Returns whether there was anything.
///
/// # Errors
/// The kernel refuses to tell or to set the value, or the file cannot be read.
pub fn restore_reserved_ports(path: &Path) -> Result<bool, NetError> {
    ReservedPorts::recorded(path)?.settle()
}

impl Ports {
    fn none() -> Self {
        Self(vec![false; 1 << 16])
    }

    fn of(ranges: &[(u16, u16)]) -> Self {
        let mut ports = Self::none();
        for (first, last) in ranges {
            ports.0[usize::from(*first)..=usize::from(*last)].fill(true);
        }
        ports
    }

    fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| *a && !b).collect())
    }

    fn with(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| *a || *b).collect())
    }
}

/// As the kernel writes it.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = 0;
        let runs = self.0.chunk_by(|a, b| a == b).filter_map(|run| {
            let first = next;
            next += run.len();
            match (run[0], run.len()) {
                (false, _) => None,
                (true, 1) => Some(first.to_string()),
                (true, _) => Some(format!("{first}-{}", next - 1)),
            }
        });
        f.write_str(&runs.collect::<Vec<_>>().join(","))
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("net/ipv4/ip_local_reserved_ports")
}

fn unreadable(cause: io::Error) -> NetError {
    NetError::ReadSysctl {
        key: KEY.to_owned(),
        cause,
    }
}

fn port_ranges(file: &File) -> Result<Vec<(u16, u16)>, NetError> {
    // At once: the kernel gives what fits the first reading, and no more at a second.
    let mut buffer = vec![0; LONGEST];
    let length = file.read_at(&mut buffer, 0).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    parse(&text).ok_or_else(|| NetError::SysctlValue {
        key: KEY.to_owned(),
        value: text.trim_end().to_owned(),
        expected: "ports and ranges of ports",
    })
}

fn parse(text: &str) -> Option<Vec<(u16, u16)>> {
    text.trim()
        .split(',')
        .filter(|range| !range.is_empty())
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let range = (first.parse().ok()?, last.parse().ok()?);
            (range.0 <= range.1).then_some(range)
        })
        .collect()
}

#[cfg(test)]
mod tests;
