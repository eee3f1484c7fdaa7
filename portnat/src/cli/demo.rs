//! `portnat demo`

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context as _, bail, ensure};
use tokio::sync::oneshot;

use super::privileges;
use crate::daemon::{Config, Daemon};
use crate::datapath::{AttachMode, LoadOptions, UdpMapping, XdpMode};
use crate::lab::{Lab, Namespace, Server, probe};
use crate::model::{AdmissionRules, FastPath, Intent};
use crate::report::Report;

/// Show portnat at work, in network namespaces that it makes for that and that vanish with it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs the demo. Whatever it makes is held by this process alone, so nothing is left of it however
/// it ends; nothing of the machine's own network is touched.
pub(super) fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    privileges::check()?;
    let lab = Lab::builder().build()?;
    let container = &lab.containers[0];
    let gateway = lab.bridges[0].gateway;
    println!("Three hosts, made of network namespaces:\n");
    println!(
        "    client {} ─── {} host {gateway} ─── {} container\n",
        Lab::CLIENT,
        Lab::HOST,
        container.address
    );
    let at = |address: IpAddr, port| SocketAddr::new(address, port);
    let _web = Server::http(&container.namespace, at(container.address.into(), 80))?;
    let _dns = Server::udp_echo(&container.namespace, at(container.address.into(), 53))?;
    let _outside = Server::http(&lab.client, at(Lab::CLIENT.into(), 80))?;

    let publish = ["8080:80", "5353:53/udp"].map(|ports| format!("{ports}@{}", container.address));
    println!("host# portnat run -p {}", publish.join(" -p "));
    let daemon = HostDaemon::start(&lab.host, &publish)?;

    println!("\nThe client asks for the published port; the container sees the client's address:");
    let answer = get(&lab.client, "client", at(Lab::HOST.into(), 8080))?;
    expect(&answer, Lab::CLIENT.into())?;

    println!("\nUDP too:");
    let question = b"who is there?";
    println!("client$ echo 'who is there?' | nc -u {} 5353", Lab::HOST);
    let answer = probe::udp_echo(&lab.client, at(Lab::HOST.into(), 5353), question)
        .context("asking the published UDP port")?;
    ensure!(
        answer == question,
        "the published UDP port answered something else"
    );
    println!("{}", String::from_utf8_lossy(&answer));

    println!("\nThe container's own port is not the host's:");
    println!("client$ curl http://{}/", Lab::HOST);
    match probe::http_get(&lab.client, &format!("http://{}/", Lab::HOST)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            println!("connection refused");
        }
        Err(error) => return Err(error).context("asking the unpublished port"),
        Ok(answer) => bail!("the unpublished port answered: {answer}"),
    }

    println!("\nWhat the container sends outside comes from the host's address:");
    let answer = get(
        &container.namespace,
        "container",
        at(Lab::CLIENT.into(), 80),
    )?;
    expect(&answer, Lab::HOST.into())?;

    println!("\nWhat came through the published ports:");
    println!("{}", daemon.stop()?);
    Ok(ExitCode::SUCCESS)
}

/// Asks a web server for its page and shows both.
fn get(from: &Namespace, who: &str, server: SocketAddr) -> anyhow::Result<String> {
    let url = format!("http://{server}/");
    println!("{who}$ curl {url}");
    let answer = probe::http_get(from, &url).with_context(|| format!("{who} asking {server}"))?;
    println!("{}", answer.trim_end());
    Ok(answer)
}

/// The server names the address that it saw.
fn expect(answer: &str, seen: IpAddr) -> anyhow::Result<()> {
    ensure!(
        answer.contains(&format!(" {seen}:")),
        "the server saw another address than {seen}"
    );
    Ok(())
}

/// The daemon as `portnat run` has it, in the host's namespace.
struct HostDaemon {
    thread: JoinHandle<anyhow::Result<Report>>,
    stop: oneshot::Sender<()>,
}

impl HostDaemon {
    /// Starts the daemon and waits until it has attached.
    fn start(host: &Namespace, publish: &[String]) -> anyhow::Result<Self> {
        let config = Config {
            config_publish: Vec::new(),
            publish: publish
                .iter()
                .map(|spec| spec.parse())
                .collect::<Result<_, _>>()?,
            force: false,
            state: None,
            admission: AdmissionRules::default(),
            intent: Intent::default(),
            fast_path: FastPath::default(),
            timeouts: Vec::new(),
            load: LoadOptions {
                max_flows: 1024,
                max_half_open: 1024,
                max_flows_per_container: 1024,
                udp_mapping: UdpMapping::default(),
                mark: None,
                attach: AttachMode::Auto,
                xdp: XdpMode::Off,
                trace: false,
            },
            socket: None,
            docker: None,
            pin_dir: None,
            persist: false,
            aide: None,
        };
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = host.spawn("portnat", move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut daemon = Daemon::start(config).await?;
                // Whoever waits may have given up; then `stopped` says so too.
                let _ = ready.send(());
                daemon.serve(async { drop(stopped.await) }).await?;
                Ok(daemon.stop().await)
            })
        });
        let daemon = HostDaemon { thread, stop };
        match is_ready.recv() {
            Ok(()) => Ok(daemon),
            // It ended before it was ready: its result says why.
            Err(_) => match daemon.stop() {
                Err(error) => Err(error),
                Ok(_) => bail!("the daemon ended by itself"),
            },
        }
    }

    /// Stops the daemon; returns what it has to tell.
    fn stop(self) -> anyhow::Result<Report> {
        // An error says that it has ended already.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
