//! The control socket: HTTP and JSON on a Unix socket, see `docs/api.md`.
//!
//! The datapath has one owner, the daemon's loop, and whatever comes by the socket must not hold it
//! up. So requests are read and answered by tasks of their own ([`Server`]) that ask the loop for
//! little ([`Request`]); flow tables are read by another thread, through descriptors of its own.
//!
//! [`Client`] is the other end, for the commands.

mod change;
mod client;
mod http;
mod query;
mod routes;
mod server;
mod socket;
mod stats;
mod status;
mod survey;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use portnat_common::{DropReason, Ip4, Ip6, Lifetimes, Ticks, Tuple};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use change::{
    AimError, ChangeError, PublishRequest, PublishedPorts, Reloaded, Selector, UnpublishedPorts,
    aim,
};
pub use client::{Client, ClientError};
pub use server::{Server, serve};
pub use socket::{Socket, SocketError};
pub use stats::{FlowStats, Stats};
pub use status::{Attached, Status};

use crate::datapath::{DatapathError, FlowReader, PortTotals};
use crate::docker::Named;
use crate::model::{Origin, PublishedPort};
use crate::report::PortSides;
use crate::spec::Wish;

/// What the daemon's loop is asked for.
#[derive(Debug)]
pub enum Request {
    /// What there is to see.
    Look(oneshot::Sender<Result<Look, DatapathError>>),
    /// To end flows; the answer is how many there were.
    End(FlowKeys, oneshot::Sender<Result<u64, DatapathError>>),
    /// To publish all of these, or none.
    Publish(
        Vec<Wish>,
        oneshot::Sender<Result<PublishedPorts, ChangeError>>,
    ),
    /// To publish some no more.
    Unpublish(Selector, oneshot::Sender<Result<Unpublishing, ChangeError>>),
    /// What it is like, without a look at the tables.
    Status(oneshot::Sender<Status>),
    /// To read the config anew.
    Reload(oneshot::Sender<Result<Reloading, ChangeError>>),
}

/// A config that was read anew and applied.
#[derive(Debug)]
pub struct Reloading {
    /// What that has changed.
    pub reloaded: Reloaded,
    /// When the flows of what is published no more are ended, how many there were.
    pub ended: oneshot::Receiver<u64>,
}

/// Ports that are out of the tables.
#[derive(Debug)]
pub struct Unpublishing {
    /// The ports.
    pub ports: Vec<PortSides>,
    /// What was not there yet, as `8080:80/tcp@web`.
    pub waiting: Vec<String>,
    /// When their flows are ended, how many there were.
    pub ended: oneshot::Receiver<u64>,
}

/// How many flows the loop ends at a time: it has others to look after in between.
pub(crate) const ENDED_AT_ONCE: usize = 256;

/// What the daemon knows at a moment, and a way to the flows.
#[derive(Debug)]
pub struct Look {
    /// The published ports.
    pub published: Vec<(PublishedPort, Origin)>,
    /// Whose the targets' addresses are.
    pub names: Arc<BTreeMap<IpAddr, Named>>,
    /// What flows that have ended carried, by the published port's id.
    pub ended: BTreeMap<u32, PortTotals>,
    /// Dropped packets by reason.
    pub drops: Vec<(DropReason, u64)>,
    /// Packets that went to their containers by XDP.
    pub accelerated: u64,
    /// How many source ports were lent, by how many were tried for each.
    pub probes: Vec<u64>,
    /// How many flows of each family there can be.
    pub max_flows: u32,
    /// The flow tables.
    pub flows: FlowReader,
    /// The time.
    pub now: Ticks,
    /// How many ticks a second has.
    pub hz: u32,
    /// How long flows live.
    pub lifetimes: Lifetimes,
}

impl Look {
    /// A time span of the datapath's.
    fn duration(&self, ticks: Ticks) -> Duration {
        Duration::from_secs(ticks.0 / u64::from(self.hz))
    }
}

/// Flows by the keys of the entries that speak for them.
#[derive(Clone, Debug, Default)]
pub struct FlowKeys {
    /// Those of IPv4.
    pub v4: Vec<Tuple<Ip4>>,
    /// Those of IPv6.
    pub v6: Vec<Tuple<Ip6>>,
}

impl FlowKeys {
    /// Takes so many of each family out.
    pub(crate) fn some(&mut self, number: usize) -> Self {
        FlowKeys {
            v4: self.v4.split_off(self.v4.len().saturating_sub(number)),
            v6: self.v6.split_off(self.v6.len().saturating_sub(number)),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// Which socket a command means.
#[derive(Clone, Debug, clap::Args)]
pub struct SocketArg {
    /// The control socket.
    #[arg(
        long,
        value_name = "PATH",
        env = "PORTNAT_SOCKET",
        hide_env_values = true,
        default_value = "/run/portnat/portnat.sock"
    )]
    pub socket: PathBuf,
}

/// The answer to a request that ends flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many flows were ended.
    pub ended: u64,
}

/// The answer to a request that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Why, in one line.
    pub error: String,
}

/// An I/O error in the kernel's words alone.
fn plain(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |code| Errno::from_raw(code).desc().to_lowercase(),
    )
}
