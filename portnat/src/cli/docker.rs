//! `portnat docker`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use crate::docker::migrate::{Facts, Plan, apply, gather, gather_for_the_way_back};

/// Work on Docker itself.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Migrate(Migrate),
}

/// Show what switches a running Docker from its own firewall rules and proxies to portnat, or with --apply
/// do it.
///
/// Three keys of Docker's config file become false, all others stay, and a copy of the old file is kept
/// beside it. Docker's own chains and rules of iptables go; what others have written stays. Docker has to
/// be restarted then, by you. The exit code is 1 if something is in the way; nothing is changed then.
#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// Do it: all, or nothing.
    #[arg(long)]
    apply: bool,

    /// The way back: Docker's config file as it was before.
    #[arg(long)]
    back: bool,

    /// Where Docker listens.
    #[arg(long, value_name = "SOCKET", default_value = "/var/run/docker.sock")]
    docker: PathBuf,

    /// Docker's config file; by default the one that dockerd was told to read, or /etc/docker/daemon.json.
    #[arg(long, value_name = "PATH")]
    daemon_json: Option<PathBuf>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Told<'p> {
    #[serde(flatten)]
    plan: &'p Plan,
    /// Whether it is done.
    applied: bool,
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Migrate(args) => migrate(args),
    }
}

fn migrate(args: &Migrate) -> anyhow::Result<ExitCode> {
    let facts = look(args)?;
    let plan = match args.back {
        true => Plan::back(&facts)?,
        false => Plan::of(&facts)?,
    };
    let is_refused = !plan.refused.is_empty();
    let applied = args.apply && !is_refused;
    if applied {
        apply(&plan, &facts)?;
    }
    if args.json {
        let told = Told {
            plan: &plan,
            applied,
        };
        super::print(serde_json::to_string_pretty(&told)?)?;
    } else {
        super::print(text(&plan, applied).trim_end())?;
    }
    Ok(match is_refused {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn look(args: &Migrate) -> anyhow::Result<Facts> {
    let path = args.daemon_json.as_deref();
    if args.back {
        return Ok(gather_for_the_way_back(path)?);
    }
    let facts = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(gather(&args.docker, path))?;
    Ok(facts)
}

fn text(plan: &Plan, applied: bool) -> String {
    let mut text = String::new();
    let mut line = |word: &str, what: &str| {
        let _ = writeln!(text, "{word:8} {}", super::printable(what));
    };
    if plan.is_done() && plan.refused.is_empty() {
        line("ok", "nothing is to be changed");
    }
    for obstacle in &plan.refused {
        line("refused", &obstacle.what);
        line("", &format!("> {}", obstacle.remedy));
    }
    for note in &plan.notes {
        line("note", note);
    }
    if let Some(change) = &plan.daemon_json {
        let keys: Vec<_> = change.keys.iter().map(ToString::to_string).collect();
        let (path, backup) = (change.path.display(), change.backup.display());
        line("file", &format!("{path}: {}", keys.join(", ")));
        match plan.back {
            true => line("", &format!("{backup} goes, if it is there")),
            false => line("", &format!("the old text is kept in {backup}")),
        }
    }
    for change in &plan.rules {
        for rule in &change.added {
            line("add", &format!("{} {rule}", change.tool));
        }
        for rule in &change.removed {
            line("remove", &format!("{} {rule}", change.tool));
        }
        for (chain, many) in &change.chains {
            let tool = &change.tool;
            line(
                "remove",
                &format!("{tool}: chain {chain} with its {many} rules"),
            );
        }
    }
    for table in &plan.nft_tables {
        line("remove", &format!("nft: table {table}"));
    }
    match (applied, plan.refused.is_empty()) {
        _ if plan.is_done() => {}
        (true, _) => line("done", "all of this"),
        (false, true) => line("", "nothing is changed yet: --apply does it"),
        (false, false) => line("", "nothing is changed: what is refused is in the way"),
    }
    for step in &plan.then {
        line("then", &format!("{} ({})", step.command, step.why));
    }
    text
}
