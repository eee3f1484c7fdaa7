//! What was changed, written down: who is killed puts nothing back, and the next one has to know.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::net::if_::{if_indextoname, if_nametoindex};
use serde::{Deserialize, Serialize};

use super::conf::Conf;
use super::{Changed, HostWide, NetError, ROOT, Sysctls, open};
use crate::written;

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    changed: Vec<Entry>,
}

/// A sysctl that was changed.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    conf: Conf,
    /// The link's, if it is a link's: a later one can have its name.
    index: Option<u32>,
    previous: String,
    set: String,
    host_did_not: Vec<Conf>,
}

/// Where changes are written down.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
}

impl Record {
    fn new(path: &Path) -> Self {
        Record {
            path: path.to_owned(),
        }
    }

    /// Writes down all of `changed`; if that is nothing, the file goes.
    pub(super) fn write(&self, changed: &[Changed]) -> Result<(), NetError> {
        let failed = |cause| NetError::Record {
            path: self.path.clone(),
            cause,
        };
        if changed.is_empty() {
            return written::remove(&self.path).map_err(failed);
        }
        let changed = changed.iter().map(|changed| Entry {
            conf: changed.conf.clone(),
            index: changed.index,
            previous: changed.previous.clone(),
            set: changed.set.clone(),
            host_did_not: changed.host_did_not.clone(),
        });
        let written = Written {
            changed: changed.collect(),
        };
        written::replace(&self.path, &written).map_err(failed)
    }

    /// What a portnat before this one has written down since the machine was booted.
    fn read(&self) -> Result<Vec<Entry>, NetError> {
        let failed = |cause| NetError::Record {
            path: self.path.clone(),
            cause,
        };
        let written = written::read::<Written>(&self.path).map_err(failed)?;
        Ok(written.map_or_else(Vec::new, |written| written.changed))
    }
}

impl Sysctls {
    /// Knows what a portnat before this one has written down at `path` and not put back, and writes
    /// down there what it changes. If they are to `stay`, dropping this puts nothing back.
    ///
    /// # Errors
    /// [`NetError::Record`] if the file cannot be read.
    pub fn recorded(path: &Path, stay: bool) -> Result<Self, NetError> {
        Self::recorded_under(Path::new(ROOT), path, stay)
    }

    pub(super) fn recorded_under(root: &Path, path: &Path, stay: bool) -> Result<Self, NetError> {
        let record = Record::new(path);
        let mut sysctls = Self::under(root);
        for entry in record.read()? {
            let (conf, host_did_not) = (entry.conf, entry.host_did_not);
            if !conf.is_plain() || !host_did_not.iter().all(Conf::is_plain) {
                return Err(NetError::Record {
                    path: path.to_owned(),
                    cause: io::Error::other("it names what is no sysctl"),
                });
            }
            let conf = match entry.index {
                Some(index) if Some(index) != self::index(&conf) => {
                    // It went with its link, or that has another name.
                    let Ok(name) = if_indextoname(index) else {
                        continue;
                    };
                    conf.of_link(&name.to_string_lossy())
                }
                _ => conf,
            };
            let Ok(file) = open(&conf.path(root)) else {
                continue;
            };
            for conf in &host_did_not {
                sysctls.look_at(conf);
            }
            sysctls.changed.push(Changed {
                index: entry.index,
                conf,
                previous: entry.previous,
                set: entry.set,
                host_did_not,
                file,
            });
        }
        sysctls.record = Some(record);
        sysctls.stay = stay;
        Ok(sysctls)
    }

    /// How many are changed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.changed.len()
    }

    /// Leaves them changed, and written down.
    pub fn leave(mut self) {
        self.changed.clear();
    }

    pub(super) fn write_down(&self) -> Result<(), NetError> {
        self.record
            .as_ref()
            .map_or(Ok(()), |record| record.write(&self.changed))
    }

    /// Opens a host-wide switch, so that it can be looked at later. One that cannot be read is none.
    pub(super) fn look_at(&mut self, conf: &Conf) -> bool {
        if self.host_wide.iter().any(|open| open.conf == *conf) {
            return true;
        }
        let Ok(file) = File::open(conf.path(&self.root)) else {
            return false;
        };
        let conf = conf.clone();
        self.host_wide.push(HostWide { conf, file });
        true
    }
}

/// The index of the link that a sysctl belongs to.
pub(super) fn index(conf: &Conf) -> Option<u32> {
    if_nametoindex(conf.interface()?).ok()
}
