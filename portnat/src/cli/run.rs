//! `portnat run`

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use ipnet::IpNet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::admission::AdmissionArgs;
use super::privileges;
use crate::control::SocketArg;
use crate::daemon::{Config, Daemon};
use crate::datapath::{AttachMode, LoadOptions, UdpMapping};
use crate::model::{FastPath, Intent, Mark, Network, Timeout};
use crate::report::Report;
use crate::spec::PublishSpec;

/// Publish ports until SIGINT, SIGTERM or SIGHUP, then put everything back.
///
/// SIGUSR1 prints the table of published ports; so does the end.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Publish a port: [[IP:][HOSTPORT]:]PORT[/PROTO]@TARGET, for example 8080:80@172.17.0.2.
    /// Without HOSTPORT a free one is taken. May be given several times.
    #[arg(short, long = "publish", value_name = "SPEC")]
    publish: Vec<PublishSpec>,

    #[command(flatten)]
    admission: AdmissionArgs,

    /// An interface to the outside [default: all but lo, bridges without a default route, and
    /// ports of other interfaces]. May be given several times.
    #[arg(long = "uplink", value_name = "IF")]
    uplinks: Vec<String>,

    /// An interface that containers are behind [default: bridges without a default route]. May be
    /// given several times.
    #[arg(long = "bridge", value_name = "IF")]
    bridges: Vec<String>,

    /// Source-NAT what this prefix sends out by an uplink [default: the bridges' subnets, of IPv6
    /// unique local ones only]. May be given several times.
    #[arg(long, value_name = "CIDR")]
    masquerade: Vec<IpNet>,

    /// Who reaches the containers behind a bridge by their own addresses: nat (nobody but their own
    /// bridge's containers and the host), nat-unprotected (everybody), or routed (everybody at published
    /// ports, and nothing is translated) [default: nat, for what is masqueraded]. May be given several
    /// times.
    #[arg(long = "network", value_name = "BRIDGE=MODE")]
    networks: Vec<Network>,

    /// How many flows there can be at once; a flow takes about 1,290 bytes of kernel memory
    /// for both families, allocated at start.
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    max_flows: u32,

    /// How many flows of TCP, and of other protocols, outsiders can have opened and not confirmed by
    /// an answer [default: an eighth of --max-flows]. When there are more the oldest go.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    max_half_open: Option<u32>,

    /// How many seconds a flow lives without a packet in a state: tcp-opening (60), tcp-established
    /// (8000), tcp-closing (240), sctp-opening (60), sctp-established (8000), sctp-closing (60),
    /// udp-half-open (30), udp-unanswered (120), udp-answered (300), icmp (60). May be given several times.
    #[arg(long = "timeout", value_name = "STATE=SECONDS")]
    timeouts: Vec<Timeout>,

    /// How many flows to the outside each container can have at once, in each family [default: a quarter
    /// of --max-flows, at least 1024]. More are refused.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    max_flows_per_container: Option<u32>,

    /// From which port of the host what a container's UDP socket sends leaves.
    #[arg(long, value_enum, default_value_t)]
    udp_mapping: UdpMapping,

    /// Which packets of established flows go past the host's stack: routing and firewall see the first
    /// of each flow, and one a second.
    #[arg(long, value_enum, default_value_t)]
    fast_path: FastPath,

    /// Set these bits of the mark of each packet that is translated where it comes in and goes through
    /// the host's stack, for its rules to match.
    #[arg(long, value_name = "VALUE[/MASK]")]
    mark: Option<Mark>,

    /// How programs are attached to interfaces.
    #[arg(long, value_enum, default_value_t)]
    attach: AttachMode,

    /// Log each dropped packet with the reason.
    #[arg(long)]
    trace: bool,

    #[command(flatten)]
    socket: SocketArg,
}

impl Args {
    fn config(self) -> Config {
        Config {
            publish: self.publish,
            admission: self.admission.into(),
            intent: Intent {
                uplinks: self.uplinks,
                bridges: self.bridges,
                masquerade: self.masquerade,
                networks: self.networks,
                ..Intent::default()
            },
            fast_path: self.fast_path,
            timeouts: self.timeouts,
            load: LoadOptions {
                max_flows: self.max_flows,
                max_half_open: self
                    .max_half_open
                    .unwrap_or_else(|| (self.max_flows / 8).max(64)),
                max_flows_per_container: self
                    .max_flows_per_container
                    .unwrap_or_else(|| (self.max_flows / 4).max(1024)),
                udp_mapping: self.udp_mapping,
                mark: self.mark,
                attach: self.attach,
                trace: self.trace,
            },
            socket: Some(self.socket.socket),
        }
    }
}

/// Runs the daemon in the foreground.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    privileges::check()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    // Before anything is changed: a signal that comes while we start must not end us half-way.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut usr1 = signal(SignalKind::user_defined1())?;
    let mut hangup = match hangup_is_ignored() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    raise_file_limit();
    let mut daemon = Daemon::start(args.config()).await?;
    info!("ready");
    let served = loop {
        let mut asked = false;
        let served = daemon
            .serve(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    // The terminal is gone.
                    Some(_) = async { hangup.as_mut()?.recv().await } => {}
                    _ = usr1.recv() => asked = true,
                }
            })
            .await;
        if served.is_err() || !asked {
            break served;
        }
        print(&daemon.report());
    };
    print(&daemon.stop().await);
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a report. Nobody may be reading any more, which is no reason to stop forwarding.
fn print(report: &Report) {
    if let Err(error) = writeln!(io::stdout(), "{report}") {
        warn!("printing the table: {error}");
    }
}

/// Whether we were started to outlive the terminal, as by nohup(1).
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    privileges::mask(&status, "SigIgn:") & 1 << (nix::libc::SIGHUP - 1) != 0
}

/// A published port takes a descriptor, and the usual limit of 1024 is for programs that use
/// select(2).
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("raising the limit of open files: {error}");
    }
}
