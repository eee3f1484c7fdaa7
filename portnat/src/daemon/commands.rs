//! What commands have published outlives the daemon with `--persist`, as all else does: it is written
//! down for the next one, which nobody else tells of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::called::{self, Called};
use super::handed_on::{HandedOn, Words};
use super::{Config, Daemon};
use crate::model::{Intent, Kept, Ledger, Origin, PublishedPort, Source};
use crate::net::{NetError, Snapshot};
use crate::spec::Wish;

/// What the file is called, behind the network namespace's name.
pub(super) const FILE: &str = "ports";

const WORDS: Words = Words {
    unread: "what commands have published is not published again",
    unwritten: "the next portnat will not publish what commands have published",
    stale: "the next portnat may publish what was unpublished",
};

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written<K> {
    published: Vec<K>,
    /// What was told by containers' names: their addresses may be others by then.
    #[serde(default)]
    named: Vec<String>,
}

impl<K> Default for Written<K> {
    fn default() -> Self {
        Written {
            published: Vec::new(),
            named: Vec::new(),
        }
    }
}

/// What commands had published with a portnat before this one.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// What was told by addresses.
    pub(super) kept: Vec<Kept>,
    /// What was told by containers' names.
    pub(super) called: Vec<Called>,
}

/// Where it is written down.
pub(super) struct Commands {
    file: HandedOn<Written<Kept>>,
    /// Whether somebody knows containers' names.
    docker: bool,
}

impl Commands {
    pub(super) fn new(config: &Config) -> Result<Self, NetError> {
        Ok(Commands {
            file: HandedOn::new(config, FILE, WORDS)?,
            docker: config.docker.is_some(),
        })
    }

    /// What commands had published with a portnat before this one. What cannot be read is said: that
    /// its ports are published no more is no reason to end the others.
    pub(super) fn left(&self) -> Left {
        let written = self.file.read::<Written<Value>>();
        let path = self.file.path().display();
        let Written { published, named } = written.unwrap_or_default();
        let unread = |entry: &dyn fmt::Display, error: &dyn fmt::Display| {
            warn!("{path}: {entry} is not published again: {error}");
        };
        let published = published.iter().filter_map(|entry| {
            let kept = Kept::deserialize(entry);
            kept.inspect_err(|error| unread(entry, error)).ok()
        });
        let named = named.iter().filter_map(|spec| {
            let wish = match spec.parse() {
                Ok(Wish::Named(named)) if !self.docker => Err(named.without_docker()),
                wish => wish,
            };
            wish.inspect_err(|error| unread(spec, error)).ok()
        });
        Left {
            kept: published.collect(),
            called: called::named(&named.collect::<Vec<_>>(), Origin::Command).collect(),
        }
    }

    /// Writes down what is published by commands; without `--persist` nothing is.
    pub(super) fn write(&mut self, ledger: &Ledger, called: &[Called]) {
        let called = called.iter().filter(|one| one.origin == Origin::Command);
        let is_called = |kept: &Kept| called.clone().any(|one| one.now == Some(kept.spec));
        let kept = ledger.kept().into_iter();
        let written = Written {
            published: kept.filter(|kept| !is_called(kept)).collect(),
            named: called.clone().map(|one| one.spec.to_string()).collect(),
        };
        let is_empty = written == Written::default();
        self.file.write((!is_empty).then_some(written));
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
        self.commands.file.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::written;

    #[test]
    fn an_entry_that_makes_no_sense_takes_no_other_along() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("netns-1-ports");
        let boot = written::boot_id();
        let text = format!(
            r#"{{"boot": "{boot}", "published": [{{"spec": "8080:80@172.17.0.2", "ports": []}},
            {{"spec": "8081:80@nowhere", "ports": []}}, 7, {{"spec": "8082:80@172.17.0.2", "ports": []}}],
            "named": ["8083:80@web", "8084:", "8085:80/udp@web"]}}"#
        );
        fs::write(&path, text).expect("written");
        let mut commands = Commands {
            file: HandedOn::at(Some(path), true, WORDS),
            docker: true,
        };
        let Left { kept, called } = commands.left();
        let kept: Vec<_> = kept.iter().map(|kept| kept.spec.to_string()).collect();
        assert_eq!(kept, ["8080:80/tcp@172.17.0.2", "8082:80/tcp@172.17.0.2"]);
        let called: Vec<_> = called.iter().map(|one| one.spec.to_string()).collect();
        assert_eq!(called, ["8083:80/tcp@web", "8085:80/udp@web"]);
        commands.docker = false;
        assert_eq!(commands.left().called, [], "nobody knows where they are");
    }
}
