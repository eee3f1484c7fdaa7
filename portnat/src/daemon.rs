//! `portnat run`: the datapath is kept in step with what the user asked for and what the host
//! looks like, until it is told to stop.

mod admissions;
mod adopt;
mod answer;
mod apart;
mod called;
mod change;
pub mod cleanup;
mod commands;
mod docker;
mod ending;
mod follow;
mod frames;
mod handed_on;
mod memory;
mod ports;
mod refusals;
mod reload;
mod said;
mod status;
mod stopwatch;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portnat_common::{Lifetimes, Settings};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use crate::config::ConfigError;
use crate::control::{Request, Server, Socket};
use crate::datapath::{Datapath, LoadOptions};
use crate::model::{
    AdmissionRules, FastPath, HeldUplinks, Intent, Ledger, Origin, Publication, Timeout,
};
use crate::net::{
    Singleton, Snapshot, Sysctls, Watcher, local_port_range, snapshot, ticks_per_second,
};
use crate::privileges::{self, Aide};
use crate::report::Report;
use crate::service::Service;
use crate::spec::Wish;
use admissions::Admissions;
use adopt::Adoption;
pub use adopt::must_be_alone;
use called::Called;
use commands::{Commands, Left};
use docker::Docker;
use ending::Ending;
use frames::Receivers;
use ports::PortHolder;
use refusals::Refused;
use said::Said;
use stopwatch::Stopwatch;

/// How often flows whose time is over are swept out, beside what flows that begin do.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How often connection tracking is looked for, which is loaded by the first rule that asks for it and
/// announces nothing.
const LOOK_FOR_CONNTRACK_EVERY: Duration = Duration::from_secs(2);

/// How long the host's changes are gathered: a router's table can change a thousand times a second.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What `portnat run` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ports to publish on the word of the command line.
    pub publish: Vec<Wish>,
    /// The ports to publish on the word of the config file.
    pub config_publish: Vec<Wish>,
    /// Whether ports are published that a process of the host has.
    pub force: bool,
    /// Where it is kept which ephemeral ports were given; `None` for nowhere.
    pub state: Option<PathBuf>,
    /// Where Docker listens whose containers are served; `None` for none.
    pub docker: Option<PathBuf>,
    /// Who may come in by them, and by what is published later.
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
    /// The directory of a BPF file system where a portnat before this one may have left something, and
    /// where this one leaves it; `None` for none.
    pub pin_dir: Option<PathBuf>,
    /// Whether everything is to outlive this one.
    pub persist: bool,
    /// Who does what takes more privileges; `None` for this process itself, which then keeps all that it
    /// has.
    pub aide: Option<Arc<Aide>>,
}

/// Reads anew what `portnat run` is told, for a portnat that runs with these options.
pub type Reread = Box<dyn Fn(&LoadOptions) -> Result<Config, ConfigError> + Send>;

/// What of it is no part of the intent.
#[derive(Clone, Copy, Debug)]
struct Options {
    fast_path: FastPath,
    /// How long flows live.
    lifetimes: Lifetimes,
    load: LoadOptions,
}

/// A running portnat. Everything it changed is put back by [`Daemon::stop`], unless it is to stay; where
/// that is not called, dropping it does the same but for a clsact queueing discipline that it added.
pub struct Daemon {
    intent: Intent,
    /// What is published, and on whose word.
    ledger: Ledger,
    /// Who may come in.
    admission: AdmissionRules,
    /// What gives and holds the host's ports.
    holder: PortHolder,
    /// Where it is written down what commands have published.
    commands: Commands,
    options: Options,
    datapath: Datapath,
    sysctls: Sysctls,
    watcher: Watcher,
    handle: rtnetlink::Handle,
    held_uplinks: HeldUplinks,
    /// Which containers' links take frames.
    receivers: Receivers,
    /// The ports that are not to be handed out.
    reserved: Vec<(u16, u16)>,
    /// Whether there was no uplink at the last look.
    alone: bool,
    /// What had been refused at the last round.
    refused: Refused,
    /// What could not be done at the last look.
    complaints: Said,
    /// What nobody reached at the last look.
    unreached: Said,
    /// By the indices of the uplinks that were reported as attached, what they masquerade as.
    reported: BTreeMap<u32, Vec<String>>,
    /// The indices of bridges' ports that are kept from each other.
    apart: BTreeSet<u32>,
    /// The control socket.
    server: Option<Server>,
    /// What comes by it.
    requests: mpsc::Receiver<Request>,
    /// Docker, if its containers are served.
    docker: Option<Docker>,
    /// What is published of containers by their names.
    called: Vec<Called>,
    /// How its config is read anew, where there is a file.
    reread: Option<Reread>,
    /// Flows that are to end.
    ending: Ending,
    /// Whether everything stays when this ends.
    persist: bool,
    /// Who does what we may not.
    aide: Option<Arc<Aide>>,
    /// The service manager.
    service: Service,
    _singleton: Singleton,
}

impl Daemon {
    /// Validates all, then loads, fills and attaches.
    ///
    /// # Errors
    /// Names what cannot be done. Nothing is left attached or changed then.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let mut watch = Stopwatch::start();
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
        let options = Options::new(&config);
        watch.ended("looking at the host");
        let mut adoption = Adoption::find(&config)?;
        watch.ended("reading what is pinned");
        let sysctls = adopt::sysctls(&config)?;
        let commands = Commands::new(&config)?;
        let Left {
            kept,
            called: called_before,
        } = match adoption.was_there {
            true => commands.left(),
            false => Left::default(),
        };
        let mut intent = config.intent.clone();
        intent.fast = options.is_fast();
        intent.bypassed = adoption.bypassed();
        let (mut holder, mut ledger) = PortHolder::new(local_ports, &config)?;
        let left = adoption.ports();
        let number = left.len();
        ledger.take_over(left, adoption.last_id());
        let mut called = Vec::new();
        for (specs, origin) in [
            (&config.publish, Origin::Run),
            (&config.config_publish, Origin::Config),
        ] {
            called.extend(called::named(specs, origin));
            let specs = called::plain(specs);
            ledger.publish(&specs, origin, &holder.source_but(&kept)?)?;
            holder.remember(&ledger, &specs);
        }
        commands::restore(&mut ledger, kept, &holder.source()?, &config, &host);
        called.extend(called_before);
        let mut docker = Docker::begin(&config, adoption.was_there).await?;
        if let Some(docker) = &mut docker {
            let known = (&holder, &config.admission);
            let settled = docker.settle(&ledger, &intent, known, &host, &called)?;
            (ledger, intent, called) = docker.take(settled);
        }
        let same = number - ledger.end_taking_over().len();
        intent.published = ledger.ports();
        config.admission.check(&intent.published)?;
        let wanted = docker.as_ref().map(Docker::wanted);
        // What is shut by labels is said already.
        intent.admissions = Admissions::of(&config.admission, wanted, &ledger)?.of;
        intent.check(&host)?;
        let is_docker = |one: &Publication| one.origin == Origin::Docker;
        if !ledger.iter().all(|one| one.is_held() || is_docker(one)) {
            info!("this kernel has no SCTP sockets: published SCTP ports are not reserved");
        }

        watch.ended("giving out ports");
        let mut settings = Settings::new(hz.into(), local_ports);
        settings.lifetimes = options.lifetimes;
        let mut load = config.load;
        load.xdp = frames::mode(load.xdp, intent.fast)?;
        let mut datapath = adoption.load(&load, &settings)?;
        // What is loaded outlives us, and the next one need not load it; else each start would take longer.
        if config.persist && config.aide.is_some() {
            datapath.load_rest()?;
            privileges::loaded()?;
        } else if config.docker.is_some() {
            datapath.load_for_containers()?;
        }
        watch.ended("loading");
        // Whoever asks before the loop runs waits for it.
        let (server, requests) = match socket.map(Server::start).transpose()? {
            Some((server, requests)) => (Some(server), requests),
            None => (None, mpsc::channel(1).1),
        };
        let mut daemon = Daemon {
            intent,
            ledger,
            admission: config.admission,
            holder,
            commands,
            options,
            datapath,
            sysctls,
            watcher,
            handle,
            held_uplinks: HeldUplinks::default(),
            receivers: Receivers::new(load.xdp),
            reserved: Vec::new(),
            alone: false,
            refused: refusals::none(),
            complaints: Said::default(),
            unreached: Said::default(),
            reported: BTreeMap::new(),
            apart: BTreeSet::new(),
            server,
            requests,
            docker,
            called,
            reread: None,
            ending: Ending::default(),
            persist: config.persist,
            aide: config.aide,
            service: Service::default(),
            _singleton: singleton,
        };
        if let Err(error) = daemon.begin(host, config.load.trace, same, watch).await {
            daemon.give_up(adoption.was_there).await;
            return Err(error);
        }
        daemon.announce();
        memory::give_back();
        Ok(daemon)
    }

    /// From now on [`Daemon::reload`] reads the config so.
    pub fn reload_by(&mut self, reread: Reread) {
        self.reread = Some(reread);
    }

    /// `same` is how many ports are as they were with a portnat before this one.
    async fn begin(
        &mut self,
        host: Snapshot,
        trace: bool,
        same: usize,
        mut watch: Stopwatch,
    ) -> anyhow::Result<()> {
        // What cannot be done at the start is refused; later it is said and tried again.
        if let Some(complaint) = self.reconcile(host).await?.into_iter().next() {
            bail!(complaint);
        }
        watch.ended("filling tables and attaching");
        let adopted = self.datapath.settle()?;
        watch.ended("settling");
        debug!("started: {watch}");
        adopt::say(adopted, same, watch.total());
        self.holder.settle()?;
        self.take_called(self.called.clone());
        self.commands.write(&self.ledger, &self.called);
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
        let (mut has_changed, mut next_look) = (false, Instant::now());
        loop {
            self.tell_status();
            tokio::select! {
                // Here and nowhere else, so that it says that this loop turns.
                () = self.service.due() => self.service.ping(),
                () = &mut stop => return Ok(()),
                changed = self.watcher.changed(), if !has_changed => {
                    changed?;
                    has_changed = true;
                }
                // The first change at once, those that follow on its heels together; nobody else waits.
                () = sleep_until(next_look), if has_changed => {
                    has_changed = false;
                    self.follow().await;
                    next_look = Instant::now() + LOOK_AGAIN_AFTER;
                }
                Some(request) = self.requests.recv() => self.answer(request).await,
                Some(news) = Docker::next(&mut self.docker) => self.hear_of_docker(news).await,
                Some(found) = self.ending.next() => self.end_found(found),
                _ = track.tick() => {
                    self.look_for_conntrack();
                    self.lease_frames().await;
                }
                _ = sweep.tick() => {
                    self.receivers.try_again();
                    // Also what announces nothing: a sysctl that somebody has set back.
                    self.follow().await;
                    self.try_dockers_again().await;
                    self.warn_of_refusals();
                    if let Err(error) = self.datapath.sweep() {
                        warn!("sweeping flows: {error}");
                    }
                }
            }
        }
    }

    /// Detaches everything and puts back what was changed, unless it is to stay.
    pub async fn stop(mut self) -> Report {
        self.service.stopping();
        self.warn_of_refusals();
        let report = self.report();
        let stays = self.persist;
        self.give_up(stays).await;
        report
    }
}
