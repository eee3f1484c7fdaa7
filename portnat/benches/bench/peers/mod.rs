//! Who is measured.

mod iptables;
mod nftables;
mod proxy;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;

use crate::daemon::Daemon;
use crate::dockerd::Which;
use crate::ground::{Ground, INSIDE, Needs, PUBLISHED};
use crate::machine;

/// Something that brings packets from a client to a container, or could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// The host's routing, without NAT.
    Plain,
    /// Docker's rules, by iptables-legacy.
    IptablesLegacy,
    /// Docker's rules, by nftables.
    Nftables,
    /// Docker's userland proxy, without rules.
    DockerProxy,
    /// What this is about.
    Portnat,
    /// The same with `--xdp native`.
    PortnatXdp,
    /// A TC program that does nothing but hand over to the next link: the limit for TC.
    TcRedirect,
    /// An XDP program that does nothing but that, counted in the next driver: the limit for XDP.
    XdpRedirect,
    /// The same, counted where the container's stack begins.
    XdpRedirectStack,
    /// An XDP program that drops: the limit of the uplink.
    XdpDrop,
    /// A whole Docker with its rules and its proxies: this machine's Debian's.
    DockerStable,
    /// The same of Debian's newest.
    DockerNewest,
}

impl Peer {
    /// Those with which sockets can talk.
    pub(crate) const REAL: [Peer; 5] = [
        Peer::Plain,
        Peer::IptablesLegacy,
        Peer::Nftables,
        Peer::DockerProxy,
        Peer::Portnat,
    ];

    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Whether clients ask the host, rather than the container itself.
    pub(crate) fn translates(self) -> bool {
        self.is_portnat()
            || matches!(
                self,
                Peer::IptablesLegacy | Peer::Nftables | Peer::DockerProxy
            )
    }

    /// Whether it is portnat, in whatever way.
    pub(crate) fn is_portnat(self) -> bool {
        matches!(self, Peer::Portnat | Peer::PortnatXdp)
    }

    /// Why it cannot be measured here, if so.
    pub(crate) fn missing(self) -> Option<String> {
        let program = match self {
            Peer::IptablesLegacy => find(iptables::PROGRAM),
            Peer::Nftables => find(nftables::PROGRAM),
            Peer::DockerProxy => proxy::program(),
            Peer::DockerStable => env::var_os(Which::Stable.variable()).map(PathBuf::from),
            Peer::DockerNewest => env::var_os(Which::Newest.variable()).map(PathBuf::from),
            _ => return None,
        };
        program
            .is_none()
            .then(|| "its program is not installed".to_owned())
    }

    /// Why it cannot keep so many flows, if so.
    pub(crate) fn too_many(self, flows: u32) -> Option<String> {
        match self {
            Peer::IptablesLegacy | Peer::Nftables => {
                let max = machine::conntrack_max()?;
                (u64::from(flows) > max).then(|| {
                    // No namespace has one of its own, and the machine's is not ours to change.
                    format!(
                        "nf_conntrack_max is {max} on this machine (`sysctl -w \
                         net.netfilter.nf_conntrack_max={}` lets it be measured)",
                        u64::from(flows) * 2
                    )
                })
            }
            Peer::DockerProxy => (flows > 1000).then(|| "it has a socket for each flow".to_owned()),
            _ => None,
        }
    }
}

/// Brings a peer into a lab.
pub(crate) fn set_up(ground: &mut Ground, needs: Needs) -> Result<()> {
    // Docker and portnat both have the host forward; so has who routes.
    ground.lab.host.sysctl("net/ipv4/ip_forward", "1")?;
    match ground.peer {
        Peer::IptablesLegacy => iptables::set_up(ground),
        Peer::Nftables => nftables::set_up(ground),
        Peer::DockerProxy => proxy::set_up(ground),
        peer if peer.is_portnat() => run_portnat(ground, needs),
        _ => Ok(()),
    }
}

/// The real daemon, as the tests end to end start it.
fn run_portnat(ground: &mut Ground, needs: Needs) -> Result<()> {
    let target = ground.container().address;
    let udp = format!("{PUBLISHED}:{INSIDE}/udp@{target}");
    let tcp = format!("{PUBLISHED}:{INSIDE}/tcp@{target}");
    // Its default; and for more, room for all of them.
    let flows = needs.flows.saturating_add(needs.flows / 4).max(262_144);
    let flows = flows.to_string();
    let mut arguments = vec!["-p", &udp, "-p", &tcp, "--max-flows", &flows];
    if ground.peer != Peer::Portnat {
        arguments.extend(["--xdp", "native"]);
    }
    if needs.flows > 0 {
        arguments.extend(["--max-flows-per-container", &flows]);
    }
    // In a test it would be enough to panic.
    let run = AssertUnwindSafe(|| Daemon::run(&ground.lab, &arguments));
    let daemon = catch_unwind(run).map_err(|_| anyhow!("portnat did not get ready"))?;
    ground.daemon = Some(daemon);
    Ok(())
}

/// A program that is installed. Not only where PATH looks: a user's has no sbin.
fn find(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| PathBuf::from(folder).join(program))
        .find(|path| path.is_file())
}
