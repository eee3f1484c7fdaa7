//! `portnat docker migrate`: a Docker that writes rules and runs proxies leaves that to portnat, and takes it
//! back.
//!
//! [`Facts`] are gathered once; [`Plan`] is what comes of them, as a pure function; [`apply`] does all of it or
//! nothing. Which rules are Docker's is in `known`, what becomes of the user's own in `users`.

mod apply;
mod daemon_json;
mod facts;
mod known;
mod nft;
mod pattern;
mod process;
mod rules;
mod saved;
#[cfg(test)]
mod tests;
mod texts;
mod users;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Observed, Survey};
pub use apply::{ApplyError, apply};
use daemon_json::DaemonJson;
pub use daemon_json::KeyChange;
pub use facts::{FactsError, gather, gather_for_the_way_back};
pub use rules::RuleChange;

/// What the file is called that the old text of daemon.json is kept in, behind its name.
const BACKUP: &str = "before-portnat";

/// What is so.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What Docker says of itself; none where it is not asked.
    pub docker: Option<Running>,
    /// Docker's config file.
    pub file: ConfigFile,
    /// The rules of each family, as each tool shows them.
    pub tables: Vec<Tables>,
    /// Docker's tables of nftables that packets meet, as `ip docker-bridges`.
    pub nft_tables: Vec<String>,
    /// The host's interfaces.
    pub interfaces: Vec<String>,
}

/// A Docker that runs.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// What it has.
    pub observed: Observed,
    /// What it says of itself.
    pub survey: Survey,
    /// What it was started with, if that is known.
    pub arguments: Vec<String>,
    /// The config file that it reads, if that is known.
    pub reads: Option<PathBuf>,
}

/// Docker's config file.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; none if it is not there.
    pub text: Option<String>,
    /// What was in it before it was switched, if that was kept. Empty if it was not there.
    pub backup: Option<String>,
}

/// The rules of one family.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// The tool that shows and changes them, as `iptables-nft`.
    pub tool: String,
    /// What it has saved.
    pub text: String,
}

/// Why nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What is in the way.
    pub what: String,
    /// What clears it.
    pub remedy: String,
}

/// What is to be done to Docker's config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Where it is.
    pub path: PathBuf,
    /// Where the old text is kept, or was.
    pub backup: PathBuf,
    /// The keys that get other values.
    pub keys: Vec<KeyChange>,
    /// The text from then on; none if the file goes.
    #[serde(skip)]
    after: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whether this is the way back.
    pub back: bool,
    /// What is in the way. Where there is anything, nothing is done.
    pub refused: Vec<Obstacle>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// What becomes of Docker's config file.
    pub daemon_json: Option<FileChange>,
    /// What becomes of the rules.
    pub rules: Vec<RuleChange>,
    /// The tables of nftables that go, as `ip docker-bridges`.
    pub nft_tables: Vec<String>,
    /// What is to be done by hand behind that, in this order.
    pub then: Vec<Step>,
}

/// What is to be done by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The command.
    pub command: String,
    /// What it is for.
    pub why: String,
}

/// That a text is not what Docker reads.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct JsonError {
    path: PathBuf,
    cause: serde_json::Error,
}

impl Plan {
    /// The switch from Docker's rules and proxies to portnat.
    ///
    /// # Errors
    /// Docker's config file is no JSON.
    pub fn of(facts: &Facts) -> Result<Self, JsonError> {
        let mut plan = Plan::default();
        let running = facts.docker.clone().unwrap_or_default();
        plan.refused = running.obstacles();
        match &running.reads {
            Some(reads) if !is_same_file(reads, &facts.file.path) => {
                plan.refused.push(facts.file.is_not_read(reads));
            }
            Some(_) => {}
            None => plan.notes.push(format!(
                "what dockerd was started with is not known: if it reads another file than {}, --daemon-json names it",
                facts.file.path.display()
            )),
        }
        let mut json = facts.file.read()?;
        if json.get("allow-direct-routing") == Some("true") {
            plan.notes.push(
                "\"allow-direct-routing\" is Docker's rules': portnat run --network BRIDGE=nat-unprotected \
                 is for that, or gateway_mode_ipv4 of a network"
                    .to_owned(),
            );
        }
        let keys = json.switch().map_err(|cause| facts.file.wrong(cause))?;
        if !keys.is_empty() {
            plan.daemon_json = Some(facts.file.change(keys, Some(json.to_string())));
        }
        for tables in &facts.tables {
            let found = rules::without_dockers(tables, &running.observed, &facts.interfaces);
            plan.refused.extend(found.refused);
            plan.notes.extend(found.notes);
            if !found.change.is_nothing() {
                plan.rules.push(found.change);
            }
        }
        plan.nft_tables.clone_from(&facts.nft_tables);
        if plan.is_done() {
            return Ok(plan);
        }
        plan.notes.extend(running.about_nftables(&json));
        plan.notes.extend(running.losses());
        plan.then = vec![
            Step::new(
                "portnat run --docker",
                "or its service, with --docker. Until then nothing is published, masqueraded or isolated",
            ),
            Step::new(
                "systemctl restart docker",
                "or what restarts it here. Until then no container with ports can be started",
            ),
        ];
        Ok(plan)
    }

    /// The way back. Docker itself writes its rules when it starts.
    ///
    /// # Errors
    /// Docker's config file, or what was kept of it, is no JSON.
    pub fn back(facts: &Facts) -> Result<Self, JsonError> {
        let mut plan = Plan {
            back: true,
            ..Plan::default()
        };
        let file = &facts.file;
        let mut json = file.read()?;
        let before = file.read_backup()?;
        let keys = json.switch_back(before.as_ref());
        let keys = keys.map_err(|cause| file.wrong(cause))?;
        if !keys.is_empty() {
            let same = before
                .as_ref()
                .is_some_and(|before| json.is_same_as(before));
            let after = match &file.backup {
                // There was none.
                Some(old) if same && old.is_empty() => None,
                Some(old) if same => Some(old.clone()),
                _ => Some(json.to_string()),
            };
            plan.daemon_json = Some(file.change(keys, after));
        }
        let changes = facts.tables.iter().map(rules::without_ours);
        plan.rules = changes.filter(|change| !change.is_nothing()).collect();
        if plan.is_done() {
            return Ok(plan);
        }
        plan.then = vec![
            Step::new(
                "systemctl stop portnat",
                "or what ends it here, or have it run without --docker",
            ),
            Step::new(
                "systemctl restart docker",
                "or what restarts it here: it writes its rules then",
            ),
        ];
        Ok(plan)
    }

    /// Whether all is as it should be.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.daemon_json.is_none() && self.rules.is_empty() && self.nft_tables.is_empty()
    }
}

impl Running {
    fn obstacles(&self) -> Vec<Obstacle> {
        let Running {
            observed,
            survey,
            arguments,
            reads: _,
        } = self;
        let mut found = Vec::new();
        let mut refuse = |what: String, remedy: &str| {
            let remedy = remedy.to_owned();
            found.push(Obstacle { what, remedy });
        };
        if survey.swarm {
            refuse(
                "Docker is in a swarm, whose ingress network portnat does not serve".to_owned(),
                "docker swarm leave, or leave Docker as it is",
            );
        }
        if survey.rootless {
            refuse(
                "Docker is rootless: its networks are in a namespace of its own".to_owned(),
                "leave it as it is",
            );
        }
        // What it does not know it refuses to start with.
        let major = survey.version.split('.').next().unwrap_or_default();
        if major.parse().is_ok_and(|major: u32| major < 20) {
            let version = &survey.version;
            refuse(
                format!("Docker {version} does not know \"ip6tables\""),
                "20.10 or later is needed",
            );
        }
        for (name, driver) in &survey.unserved {
            let mut containers = observed.containers.iter().filter(|container| {
                let mut endpoints = container.endpoints.iter();
                endpoints.any(|endpoint| endpoint.name == *name)
            });
            if let Some(container) = containers.next() {
                let container = &container.name;
                refuse(
                    format!(
                        "container {container} is in network {name}, whose driver {driver} portnat does not serve"
                    ),
                    "take it out of there (docker network disconnect), or leave Docker as it is",
                );
            }
        }
        for argument in arguments {
            let flag = argument.split('=').next().unwrap_or_default();
            if ["--iptables", "--ip6tables", "--userland-proxy"].contains(&flag) {
                refuse(
                    format!(
                        "dockerd is started with {argument}, and does not start where its config file says that too"
                    ),
                    "take it out of where dockerd is started: systemctl edit --full docker",
                );
            }
        }
        found
    }

    /// What is otherwise where Docker writes rules of nftables itself.
    fn about_nftables(&self, json: &DaemonJson) -> Option<String> {
        let says = json.get("firewall-backend") == Some("\"nftables\"");
        let is = self.survey.firewall.as_deref() == Some("nftables");
        (says || is).then(|| {
            "Docker's firewall backend is nftables: its tables docker-bridges go, with all that is in them. \
             \"firewall-backend\" stays as it is: with \"iptables\" false Docker writes no rules by it either, but \
             for a table ip docker-bridges that no packet meets"
                .to_owned()
        })
    }

    /// What a restart of Docker ends for good.
    fn losses(&self) -> Vec<String> {
        if self.survey.live_restore {
            return Vec::new();
        }
        let lost = self.survey.stays_down.iter();
        lost.map(|name| {
            format!("container {name} has ports and no restart policy: after Docker's restart, docker start {name}")
        })
        .collect()
    }
}

impl ConfigFile {
    fn read(&self) -> Result<DaemonJson, JsonError> {
        let text = self.text.as_deref().unwrap_or_default();
        DaemonJson::read(text).map_err(|cause| self.wrong(cause))
    }

    fn read_backup(&self) -> Result<Option<DaemonJson>, JsonError> {
        let read = self.backup.as_deref().map(DaemonJson::read);
        read.transpose().map_err(|cause| JsonError {
            path: backup(&self.path),
            cause,
        })
    }

    fn is_not_read(&self, reads: &Path) -> Obstacle {
        let (path, reads) = (self.path.display(), reads.display());
        Obstacle {
            what: format!("dockerd reads {reads}, and not {path}"),
            remedy: format!("--daemon-json {reads}, or without it"),
        }
    }

    fn wrong(&self, cause: serde_json::Error) -> JsonError {
        JsonError {
            path: self.path.clone(),
            cause,
        }
    }

    fn change(&self, keys: Vec<KeyChange>, after: Option<String>) -> FileChange {
        FileChange {
            path: self.path.clone(),
            backup: backup(&self.path),
            keys,
            after,
        }
    }
}

impl Step {
    fn new(command: &str, why: &str) -> Self {
        Step {
            command: command.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Whether two paths lead to the same place.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    place(one) == place(other)
}

/// Where the old text is kept.
fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(BACKUP);
    name.into()
}
