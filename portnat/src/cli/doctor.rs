//! `portnat doctor`

use std::process::ExitCode;

use anyhow::Context as _;

use super::cleanup::PinDirArg;
use crate::control::SocketArg;
use crate::doctor::{Diagnosis, Facts, Where, diagnose, mend};

/// Look for what keeps published ports from working: in the kernel, its settings, the firewall's rules,
/// other programs, and the daemon itself, if one runs.
///
/// Each finding is a line: ok, note, warning or fault, which check it is of, and what is so; below what is
/// not well what that means, and behind > what mends it. The exit code is 1 if there is a warning or a
/// fault.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Mend what can be mended safely, say what was done, and look again. That is what portnat run sets
    /// itself; never what filters, be it the firewall's rules or rp_filter. It ends when the machine is
    /// booted again.
    #[arg(long)]
    fix: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pins: PinDirArg,

    #[command(flatten)]
    socket: SocketArg,
}

/// Looks, and says what it found.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let at = Where {
        socket: args.socket.socket.clone(),
        pin_dir: args.pins.pin_dir.clone(),
    };
    let diagnosis = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(look(&at, args.fix))?;
    if args.json {
        super::print(serde_json::to_string_pretty(&diagnosis)?)?;
    } else {
        super::print(&diagnosis)?;
    }
    Ok(match diagnosis.is_well() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn look(at: &Where, fix: bool) -> anyhow::Result<Diagnosis> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("opening a netlink socket")?;
    tokio::spawn(connection);
    let facts = Facts::gather(at, &handle).await?;
    let diagnosis = diagnose(&facts);
    if !fix {
        return Ok(diagnosis);
    }
    let mended = mend(&diagnosis, &handle, facts.host()).await;
    let diagnosis = diagnose(&Facts::gather(at, &handle).await?);
    Ok(Diagnosis {
        mended,
        ..diagnosis
    })
}
