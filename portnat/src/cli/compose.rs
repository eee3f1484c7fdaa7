//! `portnat compose`

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use comfy_table::Table;

use crate::compose::{Declared, read};
use crate::config::ConfigError;

/// Look at compose files.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Check(Check),
}

/// Print what a compose file's services publish, and what is wrong about it.
///
/// Variables are the environment's, and those of the file .env beside it. Nothing is asked of Docker, and
/// nothing is published. The exit code is 2 if something makes no sense; each such thing is told with its
/// line.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The compose file.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print JSON, an array with an object for each entry.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => check(args),
    }
}

fn check(args: &Check) -> anyhow::Result<ExitCode> {
    let path = args.file.display();
    let text = fs::read_to_string(&args.file).map_err(|cause| ConfigError::Read {
        path: args.file.clone(),
        cause,
    })?;
    let beside = beside(&args.file)?;
    let variables = |name: &str| {
        let here = env::var(name).ok();
        here.or_else(|| {
            let mut beside = beside.iter();
            beside.find_map(|(key, value)| (key == name).then(|| value.clone()))
        })
    };
    let outcome = read(&text, &variables);
    if args.json {
        super::print(serde_json::to_string_pretty(&outcome.ports)?)?;
    } else if !outcome.ports.is_empty() {
        super::print(table(&outcome.ports))?;
    }
    for left_out in &outcome.left_out {
        eprintln!(
            "portnat: warning: {path}:{}",
            super::printable(&left_out.to_string())
        );
    }
    for complaint in &outcome.complaints {
        eprintln!(
            "portnat: {path}:{}",
            super::printable(&complaint.to_string())
        );
    }
    Ok(match outcome.complaints.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    })
}

/// The variables of the file `.env`, if there is one.
fn beside(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let path = file.with_file_name(".env");
    match dotenvy::from_path_iter(&path) {
        Ok(variables) => variables
            .collect::<Result<_, _>>()
            .with_context(|| format!("reading {}", path.display())),
        Err(error) if error.not_found() => Ok(Vec::new()),
        Err(error) => bail!("reading {}: {error}", path.display()),
    }
}

fn table(ports: &[Declared]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["SERVICE", "PUBLISHED", "PORT", "NAME", "LINE"]);
    for port in ports {
        let mapping = &port.mapping;
        table.add_row([
            super::printable(&port.service),
            port.hosts().join(", "),
            format!("{}/{}", mapping.container_ports, mapping.protocol),
            super::printable(port.name.as_deref().unwrap_or("-")),
            port.line.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}
