//! What is so: Docker is asked, its file is read, and the rules are as their own tools show them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::net::if_::if_nameindex;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::{ConfigFile, Facts, NFT_TABLE, Running, Tables, backup};
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

/// Looks at the Docker that listens at this socket, at its config file, and at the rules of this network
/// namespace.
///
/// # Errors
/// Names what cannot be found out.
pub async fn gather(socket: &Path, daemon_json: &Path) -> Result<Facts, FactsError> {
    let wrong = |cause| FactsError::Docker {
        socket: socket.to_owned(),
        cause,
    };
    let mut client = Client::connect(socket).await.map_err(wrong)?;
    let observed = client.observe().await.map_err(wrong)?;
    let survey = client.survey(&observed).await.map_err(wrong)?;
    let interfaces = if_nameindex().map_err(FactsError::Interfaces)?;
    let interfaces = interfaces.iter();
    Ok(Facts {
        docker: Some(Running {
            observed,
            survey,
            arguments: arguments(socket).await,
        }),
        nft_tables: nft_tables()?,
        interfaces: interfaces
            .map(|interface| interface.name().to_string_lossy().into_owned())
            .collect(),
        ..gather_for_the_way_back(daemon_json)?
    })
}

/// Looks at Docker's config file and at the rules.
///
/// # Errors
/// Names what cannot be found out.
pub fn gather_for_the_way_back(daemon_json: &Path) -> Result<Facts, FactsError> {
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

fn read(path: &Path) -> Result<Option<String>, FactsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(FactsError::Read {
            path: path.to_owned(),
            cause,
        }),
    }
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

/// What `nft -j list tables` prints, as far as it matters.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    table: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    family: String,
    name: String,
}

fn nft_tables() -> Result<Vec<String>, FactsError> {
    const TOOL: &str = "nft";
    let Some(text) = run(TOOL, &["-j", "list", "tables"])? else {
        return Ok(Vec::new());
    };
    let listing: Listing = serde_json::from_str(&text).map_err(|error| FactsError::Tool {
        tool: TOOL.to_owned(),
        why: error.to_string(),
    })?;
    let tables = listing.nftables.into_iter().filter_map(|it| it.table);
    let dockers = tables.filter(|table| table.name == NFT_TABLE);
    Ok(dockers
        .map(|table| format!("{} {}", table.family, table.name))
        .collect())
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
        Ok(output) => Err(wrong(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// What the process was started with that listens at the socket. Where a service manager opened it, that is
/// not dockerd's.
async fn arguments(socket: &Path) -> Vec<String> {
    let Ok(stream) = UnixStream::connect(socket).await else {
        return Vec::new();
    };
    let listener = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let written = fs::read_to_string("/run/docker.pid").unwrap_or_default();
    let process = match listener {
        Some(1) | None => written.trim().parse().ok(),
        Some(process) => Some(process),
    };
    let command = process.and_then(|id: i32| fs::read(format!("/proc/{id}/cmdline")).ok());
    let command = command.unwrap_or_default();
    let words = command.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}
