//! What is so: Docker is asked, its file is read, and the rules are as their own tools show them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::net::if_::if_nameindex;

use super::process::Process;
use super::texts::{one_line, read};
use super::{ConfigFile, Facts, Running, Tables, backup, nft};
use crate::docker::{Client, ClientError};

/// What shows and changes the rules of one family, and where the kernel names the tables that are there if
/// it is the older kind.
const TOOLS: [(&str, Option<&str>); 4] = [
    ("iptables-nft", None),
    ("ip6tables-nft", None),
    (
        "iptables-legacy",
        Some("/proc/thread-self/net/ip_tables_names"),
    ),
    (
        "ip6tables-legacy",
        Some("/proc/thread-self/net/ip6_tables_names"),
    ),
];

/// Why it is not known what is so.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Docker does not answer.
    #[error("Docker does not answer at {}: {cause}: it has to run", socket.display())]
    Docker {
        /// Where it should.
        socket: PathBuf,
        /// Why.
        cause: ClientError,
    },
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is a link to nothing.
    #[error(
        "{} leads to {}, which is not there, so that Docker reads neither: make it ({{}} will do), or remove the link",
        path.display(), target.display()
    )]
    Dangling {
        /// Which.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A file's text is not as it could be kept.
    #[error("{} {why}: {remedy}", path.display())]
    Text {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// What helps.
        remedy: String,
    },
    /// A tool does not work.
    #[error("{tool}: {why}")]
    Tool {
        /// Which.
        tool: String,
        /// What it says.
        why: String,
    },
    /// The kernel does not list its interfaces.
    #[error("listing interfaces")]
    Interfaces(#[source] nix::Error),
}

/// Where Docker's config file is, unless dockerd is told otherwise.
const DEFAULT: &str = "/etc/docker/daemon.json";

/// Looks at the Docker that listens at this socket, at its config file, or this one, and at the rules of this
/// network namespace.
///
/// # Errors
/// Names what cannot be found out.
pub async fn gather(socket: &Path, daemon_json: Option<&Path>) -> Result<Facts, FactsError> {
    let wrong = |cause| FactsError::Docker {
        socket: socket.to_owned(),
        cause,
    };
    let mut client = Client::connect(socket).await.map_err(wrong)?;
    let observed = client.observe().await.map_err(wrong)?;
    let survey = client.survey(&observed).await.map_err(wrong)?;
    let interfaces = if_nameindex().map_err(FactsError::Interfaces)?;
    let interfaces = interfaces.iter();
    let process = Process::at(socket).await;
    let path = path(daemon_json, process.as_ref());
    let arguments = process.clone().map(|it| it.arguments).unwrap_or_default();
    Ok(Facts {
        docker: Some(Running {
            observed,
            survey,
            arguments,
            reads: process.map(|it| it.config_file().unwrap_or_else(|| DEFAULT.into())),
        }),
        nft_tables: nft_tables()?,
        interfaces: interfaces
            .map(|interface| interface.name().to_string_lossy().into_owned())
            .collect(),
        ..on_disk(&path)?
    })
}

/// Looks at Docker's config file, or this one, and at the rules. Docker need not run.
///
/// # Errors
/// Names what cannot be found out.
pub fn gather_for_the_way_back(daemon_json: Option<&Path>) -> Result<Facts, FactsError> {
    let process = Process::find().or_else(Process::of_unit);
    on_disk(&path(daemon_json, process.as_ref()))
}

/// Where the config file is, of which the user has the last word.
fn path(named: Option<&Path>, process: Option<&Process>) -> PathBuf {
    let own = || process.and_then(Process::config_file);
    let named = named.map(Path::to_owned).or_else(own);
    named.unwrap_or_else(|| DEFAULT.into())
}

fn on_disk(daemon_json: &Path) -> Result<Facts, FactsError> {
    Ok(Facts {
        file: ConfigFile {
            path: daemon_json.to_owned(),
            text: read(daemon_json)?,
            backup: read(&backup(daemon_json))?,
        },
        tables: tables()?,
        ..Facts::default()
    })
}

fn tables() -> Result<Vec<Tables>, FactsError> {
    let mut tables = Vec::new();
    let mut is_missing = true;
    for (tool, names) in TOOLS {
        // It would load the modules of the older kind.
        let is_there = |names: &str| fs::read_to_string(names).is_ok_and(|text| !text.is_empty());
        if !names.is_none_or(is_there) {
            continue;
        }
        if let Some(text) = run(&format!("{tool}-save"), &[])? {
            is_missing = false;
            tables.push(Tables {
                tool: tool.to_owned(),
                text,
            });
        }
    }
    // Before there were two kinds there was no need for longer names.
    for tool in ["iptables", "ip6tables"].iter().filter(|_| is_missing) {
        if let Some(text) = run(&format!("{tool}-save"), &[])? {
            tables.push(Tables {
                tool: (*tool).to_owned(),
                text,
            });
        }
    }
    Ok(tables)
}

fn nft_tables() -> Result<Vec<String>, FactsError> {
    const TOOL: &str = "nft";
    let Some(text) = run(TOOL, &["-j", "list", "ruleset"])? else {
        return Ok(Vec::new());
    };
    nft::at_work(&text).map_err(|error| FactsError::Tool {
        tool: TOOL.to_owned(),
        why: error.to_string(),
    })
}

/// What a tool prints; none, if it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Result<Option<String>, FactsError> {
    let wrong = |why: String| FactsError::Tool {
        tool: tool.to_owned(),
        why,
    };
    match Command::new(tool).args(arguments).output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        Ok(output) => Err(wrong(one_line(&output.stderr))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}
