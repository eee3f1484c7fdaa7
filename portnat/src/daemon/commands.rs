//! What commands have published outlives the daemon with `--persist`, as all else does: it is written
//! down for the next one, which nobody else tells of it.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::adopt::written_beside;
use super::called::Called;
use super::{Config, Daemon};
use crate::model::{Intent, Kept, Ledger, PublishedPort, Source};
use crate::net::{NetError, Snapshot};
use crate::written;

/// What the file is called, behind the network namespace's name.
pub(super) const FILE: &str = "ports";

/// The file.
#[derive(Serialize, Deserialize)]
struct Written<K> {
    /// What commands published before the last boot is gone with the rules of that time.
    boot: String,
    published: Vec<K>,
}

/// Where it is written down.
pub(super) struct Commands {
    path: Option<PathBuf>,
    persist: bool,
    /// What stands there, as far as is known.
    stands: Option<Vec<Kept>>,
}

impl Commands {
    pub(super) fn new(config: &Config) -> Result<Self, NetError> {
        let beside = |socket: &PathBuf| written_beside(socket, FILE);
        Ok(Commands {
            path: config.socket.as_ref().map(beside).transpose()?,
            persist: config.persist,
            stands: None,
        })
    }

    /// What commands had published with a portnat before this one. What cannot be read is said: that
    /// its ports are published no more is no reason to end the others.
    pub(super) fn left(&self) -> Vec<Kept> {
        let Some(path) = &self.path else {
            return Vec::new();
        };
        let written = written::read::<Written<Value>>(path);
        let path = path.display();
        let written = written.unwrap_or_else(|error| {
            warn!("what commands have published is not published again: {path}: {error}");
            None
        });
        let written = written.filter(|written| written.boot == written::boot_id());
        let entries = written.into_iter().flat_map(|written| written.published);
        let readable = entries.filter_map(|entry| {
            let kept = Kept::deserialize(&entry);
            kept.inspect_err(|error| warn!("{path}: {entry} is not published again: {error}"))
                .ok()
        });
        readable.collect()
    }

    /// Writes down what is published by commands; without `--persist` nothing is. What was told by a
    /// container's name is not: its address may be another's by then.
    pub(super) fn write(&mut self, ledger: &Ledger, called: &[Called]) {
        let is_called = |kept: &Kept| called.iter().any(|one| one.now == Some(kept.spec));
        let published = match self.persist {
            true => ledger
                .kept()
                .into_iter()
                .filter(|it| !is_called(it))
                .collect(),
            false => Vec::new(),
        };
        self.note(published);
    }

    fn note(&mut self, published: Vec<Kept>) {
        if self.stands.as_ref() == Some(&published) {
            return;
        }
        let Err(error) = self.replace(published) else {
            return;
        };
        self.stands = None;
        let path = self.path.iter().map(|path| path.display()).next();
        let path = path.map_or_else(String::new, |path| path.to_string());
        warn!("the next portnat will not publish what commands have published: {path}: {error}");
        // An older list would publish again what was unpublished since. A full disk lets go of files.
        let gone = self.path.as_ref().map(|path| written::remove(path));
        if let Some(Err(error)) = gone {
            warn!("the next portnat may publish what was unpublished: remove {path}: {error}");
        }
    }

    fn replace(&mut self, published: Vec<Kept>) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if published.is_empty() {
            written::remove(path)?;
            self.stands = Some(published);
            return Ok(());
        }
        let written = Written {
            boot: written::boot_id(),
            published,
        };
        written::replace(path, &written)?;
        self.stands = Some(written.published);
        Ok(())
    }
}

/// Publishes again what commands had published. Who has its place by now keeps it: the command line and
/// the file were asked for later.
pub(super) fn restore(
    ledger: &mut Ledger,
    kept: Vec<Kept>,
    source: &Source<'_>,
    config: &Config,
    host: &Snapshot,
) {
    let judge = |ports: &[PublishedPort]| {
        let intent = Intent {
            admissions: config.admission.of(ports)?,
            published: ports.to_vec(),
            ..config.intent.clone()
        };
        Ok(intent.check_targets(host)?)
    };
    for (kept, why) in ledger.restore::<anyhow::Error>(kept, source, judge) {
        warn!("{} is not published again: {why:#}", kept.spec);
    }
}

impl Daemon {
    /// Publishes nothing for the next one.
    pub(super) fn forget_commands(&mut self) {
        self.commands.persist = false;
        self.commands.write(&self.ledger, &self.called);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_list_that_cannot_be_written_is_none() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("netns-1-ports");
        let mut commands = Commands {
            path: Some(path.clone()),
            persist: true,
            stands: None,
        };
        let kept = |port| Kept {
            spec: format!("{port}:80@172.17.0.2").parse().expect("a spec"),
            ports: Vec::new(),
        };
        commands.note(vec![kept(9001), kept(9002)]);
        assert_eq!(commands.left().len(), 2);
        // Nothing can be written beside it any more.
        let obstacle = path.with_extension("new");
        fs::create_dir(&obstacle).expect("a directory");
        commands.note(vec![kept(9002)]);
        assert_eq!(commands.left(), [], "9001 does not come back");
        fs::remove_dir(&obstacle).expect("is empty");
        commands.note(vec![kept(9002)]);
        assert_eq!(commands.left(), [kept(9002)]);
    }

    #[test]
    fn an_entry_that_makes_no_sense_takes_no_other_along() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("netns-1-ports");
        let boot = written::boot_id();
        let text = format!(
            r#"{{"boot": "{boot}", "published": [{{"spec": "8080:80@172.17.0.2", "ports": []}},
            {{"spec": "8081:80@nowhere", "ports": []}}, 7, {{"spec": "8082:80@172.17.0.2", "ports": []}}]}}"#
        );
        fs::write(&path, text).expect("written");
        let commands = Commands {
            path: Some(path),
            persist: true,
            stands: None,
        };
        let left: Vec<_> = commands
            .left()
            .iter()
            .map(|kept| kept.spec.to_string())
            .collect();
        assert_eq!(left, ["8080:80/tcp@172.17.0.2", "8082:80/tcp@172.17.0.2"]);
    }
}
