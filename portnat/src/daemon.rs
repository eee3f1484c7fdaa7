//! `portnat run`: the datapath is kept in step with what the user asked for and what the host
//! looks like, until it is told to stop.

mod answer;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portnat_common::{DropReason, Lifetimes, Settings};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::control::{Request, Server, Socket};
use crate::datapath::{Datapath, DatapathError, LoadOptions};
use crate::model::{
    AdmissionRules, Desired, FastPath, Intent, Role, Timeout, UplinkBridges, allocate,
};
use crate::net::{
    NetError, Reservation, Singleton, Snapshot, Sysctls, Watcher, local_port_range,
    local_reserved_ports, remove_clsact, snapshot, ticks_per_second,
};
use crate::report::Report;
use crate::spec::PublishSpec;

/// How often flows whose time is over are swept out, beside what flows that begin do.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How often connection tracking is looked for, which is loaded by the first rule that asks for it and
/// announces nothing.
const LOOK_FOR_CONNTRACK_EVERY: Duration = Duration::from_secs(2);

/// How long the host's changes are gathered: a router's table can change a thousand times a second.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Why flows are refused that an option would let pass.
const REFUSALS: [(DropReason, &str, &str); 2] = [
    (
        DropReason::FlowTableFull,
        "the flow table is full",
        "--max-flows",
    ),
    (
        DropReason::ContainerLimit,
        "a container has too many flows",
        "--max-flows-per-container",
    ),
];

/// What `portnat run` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ports to publish.
    pub publish: Vec<PublishSpec>,
    /// Who may come in by them.
    pub admission: AdmissionRules,
    /// What else the user asked for; `published`, `admissions` and `fast` are filled in.
    pub intent: Intent,
    /// Which packets go past the host's stack.
    pub fast_path: FastPath,
    /// How long flows live, where that is not the standard.
    pub timeouts: Vec<Timeout>,
    /// How the datapath is loaded.
    pub load: LoadOptions,
    /// Where the control socket is; `None` for none.
    pub socket: Option<PathBuf>,
}

/// A running portnat. Everything it changed is put back by [`Daemon::stop`]; where that is not
/// called, dropping it does the same but for a clsact queueing discipline that it added.
pub struct Daemon {
    intent: Intent,
    fast_path: FastPath,
    datapath: Datapath,
    lifetimes: Lifetimes,
    sysctls: Sysctls,
    watcher: Watcher,
    handle: rtnetlink::Handle,
    uplink_bridges: UplinkBridges,
    /// The ports that are not to be handed out.
    reserved: Vec<(u16, u16)>,
    /// Whether there was no uplink at the last look.
    alone: bool,
    /// How many packets were dropped at the last round for each of [`REFUSALS`], and when that was.
    refused: ([u64; REFUSALS.len()], Instant),
    /// What could not be done at the last look.
    complaints: Vec<String>,
    /// By the indices of the uplinks that were reported as attached, what they masquerade as.
    reported: BTreeMap<u32, Vec<String>>,
    /// The control socket.
    server: Option<Server>,
    /// What comes by it.
    requests: mpsc::Receiver<Request>,
    _reservations: Vec<Reservation>,
    _singleton: Singleton,
}

impl Daemon {
    /// Validates all, then loads, fills and attaches.
    ///
    /// # Errors
    /// Names what cannot be done. Nothing is left attached or changed then.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let singleton = Singleton::acquire()?;
        let socket = config.socket.as_deref().map(Socket::bind).transpose()?;
        let local_ports = local_port_range()?;
        let hz = ticks_per_second();
        // First, so that no change between the snapshot and the watching goes unseen.
        let watcher = Watcher::new()?;
        let (connection, handle, _) =
            rtnetlink::new_connection().context("opening a netlink socket")?;
        tokio::spawn(connection);
        let host = snapshot(&handle).await?;
        let mut intent = config.intent;
        let fast_path = if Datapath::can_be_fast() {
            config.fast_path
        } else {
            FastPath::Off
        };
        intent.fast = fast_path != FastPath::Off;
        let (published, reservations) = allocate(&config.publish, local_ports)?;
        intent.admissions = config.admission.of(&published)?;
        intent.published = published;
        intent.check(&host)?;
        if reservations.iter().any(|port| !port.is_held()) {
            info!("this kernel has no SCTP sockets: published SCTP ports are not reserved");
        }

        let mut settings = Settings::new(hz.into(), local_ports);
        for timeout in &config.timeouts {
            timeout.apply(&mut settings.lifetimes, hz.into());
        }
        let datapath = Datapath::load(&config.load, &settings)?;
        // Whoever asks before the loop runs waits for it.
        let (server, requests) = match socket.map(Server::start).transpose()? {
            Some((server, requests)) => (Some(server), requests),
            None => (None, mpsc::channel(1).1),
        };
        let mut daemon = Daemon {
            intent,
            fast_path,
            datapath,
            lifetimes: settings.lifetimes,
            sysctls: Sysctls::new(),
            watcher,
            handle,
            uplink_bridges: UplinkBridges::default(),
            reserved: Vec::new(),
            alone: false,
            refused: ([0; REFUSALS.len()], Instant::now()),
            complaints: Vec::new(),
            reported: BTreeMap::new(),
            server,
            requests,
            _reservations: reservations,
            _singleton: singleton,
        };
        if let Err(error) = daemon.begin(host, config.load.trace).await {
            daemon.detach().await;
            return Err(error);
        }
        daemon.announce();
        Ok(daemon)
    }

    async fn begin(&mut self, host: Snapshot, trace: bool) -> anyhow::Result<()> {
        // What cannot be done at the start is refused; later it is said and tried again.
        if let Some(complaint) = self.reconcile(host).await?.into_iter().next() {
            bail!(complaint);
        }
        if trace {
            tokio::spawn(self.datapath.messages()?);
        }
        Ok(())
    }

    /// Follows the host until `stop` resolves.
    ///
    /// # Errors
    /// Only what makes going on pointless: the netlink socket is gone.
    pub async fn serve(&mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(stop);
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut track = interval(LOOK_FOR_CONNTRACK_EVERY);
        track.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                changed = self.watcher.changed() => {
                    changed?;
                    // The first change at once, those that follow on its heels together.
                    sleep_until(next_look).await;
                    self.follow().await;
                    next_look = Instant::now() + LOOK_AGAIN_AFTER;
                }
                Some(request) = self.requests.recv() => self.answer(request),
                _ = track.tick() => self.look_for_conntrack(),
                _ = sweep.tick() => {
                    // Also what announces nothing: a sysctl that somebody has set back.
                    self.follow().await;
                    self.warn_of_refusals();
                    if let Err(error) = self.datapath.sweep() {
                        warn!("sweeping flows: {error}");
                    }
                }
            }
        }
    }

    /// Detaches everything and puts back what was changed.
    pub async fn stop(mut self) -> Report {
        self.warn_of_refusals();
        let report = self.report();
        self.detach().await;
        report
    }

    /// The published ports and what came through them.
    pub fn report(&mut self) -> Report {
        let totals = self.datapath.totals().unwrap_or_else(|error| {
            warn!("reading flows: {error}");
            Default::default()
        });
        let drops = self.datapath.drops().unwrap_or_else(|error| {
            warn!("reading drops: {error}");
            Vec::new()
        });
        Report::new(&self.intent.published, &totals, &drops)
    }

    /// Brings the datapath in step with the host as it is now. What fails now is tried again at the
    /// next change or round: an interface can go while we attach to it.
    async fn follow(&mut self) {
        let complaints = match snapshot(&self.handle).await {
            Ok(host) => match self.reconcile(host).await {
                Ok(complaints) => complaints,
                Err(error) => vec![error.to_string()],
            },
            Err(error) => vec![error.to_string()],
        };
        // The same complaint again says nothing new.
        for complaint in complaints
            .iter()
            .filter(|new| !self.complaints.contains(new))
        {
            warn!("{complaint}");
        }
        self.complaints = complaints;
    }

    /// As [`Daemon::follow`], of this alone.
    fn look_for_conntrack(&mut self) {
        match self.decide_fast() {
            Ok(complaint) => {
                let news = complaint.filter(|new| !self.complaints.contains(new));
                if let Some(news) = news {
                    warn!("{news}");
                    self.complaints.push(news);
                }
            }
            Err(error) => warn!("{error}"),
        }
    }

    /// What cannot be done for one interface is said and does not keep the others from it.
    async fn reconcile(&mut self, mut host: Snapshot) -> Result<Vec<String>, DatapathError> {
        self.uplink_bridges.hold(&mut host);
        let mut desired = self.intent.desired(&host);
        let mut complaints = Vec::new();
        match local_reserved_ports() {
            Ok(reserved) => self.reserved = reserved,
            Err(error) => complaints.push(error.to_string()),
        }
        desired.reserved.clone_from(&self.reserved);
        self.sysctls
            .forget_missing(&host.links.iter().map(|link| link.name.clone()).collect());
        for interface in &desired.forwarding {
            let mut enable = || {
                self.sysctls.enable_forwarding(interface)?;
                if desired.uses_v6() {
                    self.sysctls.enable_forwarding_v6(interface)?;
                }
                Ok::<_, NetError>(())
            };
            complaints.extend(enable().err().map(|error| error.to_string()));
        }
        if let Some(loopback) = &desired.loopback {
            let set = self.sysctls.accept_own_answers(loopback);
            complaints.extend(set.err().map(|error| error.to_string()));
        }
        complaints.extend(self.decide_fast()?);
        let attached = self.datapath.apply(&desired)?;
        complaints.extend(attached.failed.iter().map(ToString::to_string));
        self.remove_qdiscs(attached.qdiscs).await;
        self.report_uplinks(&desired);
        Ok(complaints)
    }

    /// Lets packets past the stack as long as connection tracking takes it. Where it cannot be made
    /// to, returns what keeps it from that.
    fn decide_fast(&mut self) -> Result<Option<String>, DatapathError> {
        if self.fast_path == FastPath::Off {
            return Ok(None);
        }
        let liberal = self.sysctls.be_liberal();
        let fast = self.fast_path.lets_past(liberal.is_ok());
        if self.datapath.set_fast(fast)? {
            let what = if fast { "may go past" } else { "stay in" };
            info!("packets of established flows {what} the host's stack");
        }
        Ok(liberal.err().map(|error| error.to_string()))
    }

    async fn detach(&mut self) {
        self.server = None;
        let detached = self.datapath.detach_all();
        self.remove_qdiscs(detached.qdiscs).await;
        if let Err(error) = self.sysctls.restore() {
            warn!("{error}");
        }
    }

    async fn remove_qdiscs(&self, indices: Vec<u32>) {
        for index in indices {
            if let Err(error) = remove_clsact(&self.handle, index).await {
                warn!("{error}");
            }
        }
    }

    /// Says at each round and at the end that flows were refused for want of room.
    fn warn_of_refusals(&mut self) {
        let drops = self.datapath.drops().unwrap_or_default();
        let (refused, looked) = &mut self.refused;
        let seconds = looked.elapsed().as_secs().max(1);
        *looked = Instant::now();
        for ((reason, why, option), known) in REFUSALS.iter().zip(refused) {
            let found = drops.iter().find(|(found, _)| found == reason);
            let refused = found.map_or(0, |(_, packets)| *packets);
            let since = refused - (*known).min(refused);
            if since > 0 {
                warn!(
                    "{why}: {since} packets of new flows were refused in the last {seconds} s: a \
                     larger {option} takes more"
                );
            }
            *known = refused;
        }
    }

    fn announce(&self) {
        for port in &self.intent.published {
            info!("published {port}");
        }
    }

    fn report_uplinks(&mut self, desired: &Desired) {
        let uplinks = desired
            .interfaces
            .iter()
            .filter(|(_, link)| link.role == Role::Uplink);
        for (index, uplink) in uplinks {
            let v4 = desired
                .v4
                .egress
                .get(index)
                .map(|ip| Ipv4Addr::from(*ip).to_string());
            let v6 = desired
                .v6
                .egress
                .get(index)
                .map(|ip| Ipv6Addr::from(*ip).to_string());
            let addresses: Vec<_> = v4.into_iter().chain(v6).collect();
            let as_whom = addresses.join(" and ");
            let name = &uplink.name;
            match (self.reported.get(index), &addresses[..]) {
                (Some(known), _) if *known == addresses => {}
                (None, []) => info!("attached to uplink {name}, which has no address yet"),
                (None, _) => info!("attached to uplink {name}, masquerading as {as_whom}"),
                (Some(_), []) => info!("uplink {name} has no address any more"),
                (Some(_), _) => info!("uplink {name} masquerades as {as_whom} now"),
            }
            self.reported.insert(*index, addresses);
        }
        self.reported
            .retain(|index, _| desired.interfaces.contains_key(index));
        let alone = self.reported.is_empty();
        if alone && !self.alone {
            warn!("there is no uplink: nothing comes in from outside until one appears");
        }
        self.alone = alone;
    }
}
