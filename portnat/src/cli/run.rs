//! `portnat run`

use std::fs;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::builder::TypedValueParser;
use ipnet::IpNet;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::admission::AdmissionArgs;
use super::cleanup::PinDirArg;
use super::privileges::{check, mask};
use super::publishing::Publishing;
use crate::config::{ConfigError, ConfigFile, MAX_FLOWS, MAX_HALF_OPEN};
use crate::control::SocketArg;
use crate::daemon::{Config, Daemon, Reread, must_be_alone};
use crate::datapath::{AttachMode, LoadOptions, Pins, UdpMapping, XdpMode};
use crate::model::{FastPath, Intent, Interfaces, Mark, Masquerade, Network, Timeout};
use crate::net::namespace_name;
use crate::privileges::{Aide, separate};
use crate::report::Report;
use crate::service::Service;
use crate::spec::refuse_names;

/// Publish ports until SIGINT, SIGTERM or SIGHUP, then put everything back, unless it is to stay.
///
/// SIGUSR1 prints the table of published ports; so does the end. With --config SIGHUP has the file be
/// read anew, as `portnat reload` does.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Read more from this file, where these options have the same names. What the command line says
    /// goes before it; what both publish is published.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    publishing: Publishing,

    /// Publish also ports that a process of the host has: what comes for them from then on goes to the
    /// targets.
    #[arg(long)]
    force: bool,

    /// Where it is kept which ephemeral ports were given, so that they stay the same.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/portnat")]
    state: PathBuf,

    /// Serve Docker's containers: their ports are published as Docker would by iptables and its proxy, which
    /// are to be switched off in its daemon.json. SOCKET is where Docker listens.
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        default_missing_value = "/var/run/docker.sock"
    )]
    docker: Option<PathBuf>,

    #[command(flatten)]
    admission: AdmissionArgs,

    /// An interface to the outside [default: all but lo, bridges without a default route, and
    /// ports of other interfaces]. May be given several times.
    #[arg(long = "uplink", value_name = "IF")]
    uplinks: Vec<Interfaces>,

    /// An interface that containers are behind [default: bridges without a default route]. May be
    /// given several times.
    #[arg(long = "bridge", value_name = "IF")]
    bridges: Vec<Interfaces>,

    /// Source-NAT what this prefix sends out by an uplink [default: the bridges' subnets, of IPv6
    /// unique local ones only], as the uplink's address or as another one of the host's. May be given
    /// several times.
    #[arg(long, value_name = "CIDR[,to=ADDR]")]
    masquerade: Vec<Masquerade>,

    /// Do not masquerade what goes to this prefix: it leaves with the container's own address, and is
    /// answered there. May be given several times.
    #[arg(long, value_name = "CIDR")]
    bypass: Vec<IpNet>,

    /// Who reaches the containers behind a bridge by their own addresses: nat (nobody but their own
    /// bridge's containers and the host), nat-unprotected (everybody outside too, and no other bridge), or
    /// routed (everybody at published ports, and nothing is translated) [default: nat, for what is
    /// masqueraded]. May be given several times.
    #[arg(long = "network", value_name = "BRIDGE=MODE")]
    networks: Vec<Network>,

    /// How many flows there can be at once [default: 262144]; a flow takes about 1,250 bytes of kernel
    /// memory for both families, allocated at start.
    #[arg(long, value_name = "N", value_parser = number(MAX_FLOWS))]
    max_flows: Option<u32>,

    /// How many flows of TCP, and of other protocols, outsiders can have opened and not confirmed by
    /// an answer [default: an eighth of --max-flows]. When there are more the oldest go.
    #[arg(long, value_name = "N", value_parser = number(MAX_HALF_OPEN))]
    max_half_open: Option<u32>,

    /// How many seconds a flow lives without a packet in a state: tcp-opening (60), tcp-established
    /// (8000), tcp-closing (240), sctp-opening (60), sctp-established (8000), sctp-closing (60),
    /// udp-half-open (30), udp-unanswered (120), udp-answered (300), icmp (60). May be given several times.
    #[arg(long = "timeout", value_name = "STATE=SECONDS")]
    timeouts: Vec<Timeout>,

    /// How many flows to the outside each container can have at once, in each family [default: a quarter
    /// of --max-flows, at least 1024]. More are refused.
    #[arg(long, value_name = "N", value_parser = number(MAX_FLOWS))]
    max_flows_per_container: Option<u32>,

    /// From which port of the host what a container's UDP socket sends leaves [default:
    /// endpoint-independent].
    #[arg(long, value_enum)]
    udp_mapping: Option<UdpMapping>,

    /// Which packets of established flows go past the host's stack: routing and firewall see the first
    /// of each flow, and one a second [default: auto].
    #[arg(long, value_enum)]
    fast_path: Option<FastPath>,

    /// Set these bits of the mark of each packet that is translated where it comes in and goes through
    /// the host's stack, for its rules to match.
    #[arg(long, value_name = "VALUE[/MASK]")]
    mark: Option<Mark>,

    /// How programs are attached to interfaces.
    #[arg(long, value_enum, default_value_t)]
    attach: AttachMode,

    /// Whether packets of established flows from outside go to their containers before the host's
    /// stack has them (Linux 6.3). Beside --fast-path only.
    #[arg(long, value_enum, default_value_t)]
    xdp: XdpMode,

    /// Leave everything as it is when this ends, however it ends, for the next one to go on with; `portnat
    /// cleanup` takes it away.
    #[arg(long)]
    persist: bool,

    #[command(flatten)]
    pins: PinDirArg,

    /// Log each dropped packet with the reason.
    #[arg(long)]
    trace: bool,

    #[command(flatten)]
    socket: SocketArg,
}

impl Args {
    /// All that is told, the file's words included.
    fn config(&self, file: &ConfigFile) -> Result<Config, ConfigError> {
        let publish = self.publishing.specs()?;
        if self.docker.is_none() {
            refuse_names(&publish)?;
            file.refuse_names()?;
        }
        let max_flows = self.max_flows.or(file.max_flows).unwrap_or(262_144);
        let max_half_open = self.max_half_open.or(file.max_half_open);
        let per_container = self
            .max_flows_per_container
            .or(file.max_flows_per_container);
        let config = Config {
            publish,
            config_publish: file.publish.clone(),
            force: self.force,
            state: Some(self.state.clone()),
            docker: self.docker.clone(),
            admission: self.admission.rules(file),
            intent: Intent {
                uplinks: first_said(&self.uplinks, &file.uplinks),
                bridges: first_said(&self.bridges, &file.bridges),
                masquerade: first_said(&self.masquerade, &file.masquerade),
                bypass: first_said(&self.bypass, &file.bypass),
                networks: first_said(&self.networks, &file.networks),
                ..Intent::default()
            },
            fast_path: self.fast_path.or(file.fast_path).unwrap_or_default(),
            // Of two for a state the later counts.
            timeouts: [&file.timeouts[..], &self.timeouts].concat(),
            load: LoadOptions {
                max_flows,
                max_half_open: max_half_open.unwrap_or_else(|| (max_flows / 8).max(64)),
                max_flows_per_container: per_container.unwrap_or_else(|| (max_flows / 4).max(1024)),
                udp_mapping: self.udp_mapping.or(file.udp_mapping).unwrap_or_default(),
                mark: self.mark.or(file.mark),
                attach: self.attach,
                xdp: self.xdp,
                trace: self.trace,
            },
            socket: Some(self.socket.socket.clone()),
            pin_dir: Some(self.pins.pin_dir.clone()),
            persist: self.persist,
            aide: None,
        };
        Ok(config)
    }

    /// What the file says, read now.
    fn file(&self) -> Result<ConfigFile, ConfigError> {
        match &self.config {
            Some(path) => ConfigFile::read(path),
            None => Ok(ConfigFile::default()),
        }
    }

    /// How the file is read anew, which the helper does: it may be where only its owner may look.
    fn reread(self, path: PathBuf, aide: Arc<Aide>) -> Reread {
        Box::new(move |running| {
            let text = aide.config().map_err(|error| ConfigError::Read {
                path: path.clone(),
                cause: error.into(),
            })?;
            let file = ConfigFile::parse(&path, &text)?;
            let config = self.config(&file)?;
            file.check_fixed(&config.load, running)?;
            Ok(config)
        })
    }
}

/// What the command line says, or else the file.
pub(super) fn first_said<T: Clone>(command_line: &[T], file: &[T]) -> Vec<T> {
    let said = [command_line, file];
    let first = said.into_iter().find(|said| !said.is_empty());
    first.unwrap_or_default().to_vec()
}

/// Reads a number within these bounds.
fn number(bounds: RangeInclusive<u32>) -> impl TypedValueParser<Value = u32> {
    let (first, last) = bounds.into_inner();
    clap::value_parser!(u32).range(i64::from(first)..=i64::from(last))
}

/// What a signal asks for.
#[derive(Clone, Copy)]
enum Asked {
    Stop,
    Reload,
    Report,
}

/// Runs the daemon in the foreground.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    check()?;
    // Also before anything is changed.
    let config = match args.file().and_then(|file| args.config(&file)) {
        Ok(config) => config,
        Err(error) => return Ok(super::misused(error)),
    };
    // What takes more than the daemon keeps.
    raise_limits();
    must_be_alone(&args.pins.pin_dir)?;
    if args.persist {
        Pins::new(&args.pins.pin_dir, &namespace_name()?).require_file_system()?;
    }
    let aide = Arc::new(separate(args.config.as_deref())?);
    let config = Config {
        aide: Some(Arc::clone(&aide)),
        ..config
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(serve(args, config, aide))
}

async fn serve(args: Args, config: Config, aide: Arc<Aide>) -> anyhow::Result<ExitCode> {
    // Before anything is changed: a signal that comes while we start must not end us half-way.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut usr1 = signal(SignalKind::user_defined1())?;
    let reloads = args.config.is_some();
    let mut hangup = match hangup_is_ignored() && !reloads {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    let mut daemon = Daemon::start(config).await?;
    if let Some(path) = args.config.clone() {
        daemon.reload_by(args.reread(path, aide));
    }
    daemon.serve_for(Service::from_environment());
    info!("ready");
    let served = loop {
        let mut asked = Asked::Stop;
        let served = daemon
            .serve(async {
                asked = tokio::select! {
                    _ = interrupt.recv() => Asked::Stop,
                    _ = terminate.recv() => Asked::Stop,
                    // The terminal is gone, unless it is the way to ask for this.
                    Some(_) = async { hangup.as_mut()?.recv().await } => match reloads {
                        true => Asked::Reload,
                        false => Asked::Stop,
                    },
                    _ = usr1.recv() => Asked::Report,
                }
            })
            .await;
        if served.is_err() {
            break served;
        }
        match asked {
            Asked::Stop => break served,
            Asked::Reload => daemon.reload_and_say().await,
            Asked::Report => print(&daemon.report()),
        }
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
    mask(&status, "SigIgn:") & 1 << (nix::libc::SIGHUP - 1) != 0
}

/// Raises limits that are for other programs: a published port takes a descriptor, and the usual limit
/// of 1024 is for programs that use select(2); and below Linux 5.11 maps count as locked memory.
fn raise_limits() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("raising the limit of open files: {error}");
    }
    // Who may not do that is told when a map is refused.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}
