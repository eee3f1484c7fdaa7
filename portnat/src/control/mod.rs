//! The control socket: HTTP and JSON on a Unix socket, see `docs/api.md`.
//!
//! The datapath has one owner, the daemon's loop, and whatever comes by the socket must not hold it
//! up. So requests are read and answered by tasks of their own ([`Server`]) that ask the loop for
//! little ([`Request`]); flow tables are read by another thread, through descriptors of its own.
//!
//! [`Client`] is the other end, for the commands.

mod client;
mod http;
mod query;
mod routes;
mod server;
mod socket;
mod survey;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use portnat_common::{DropReason, Ip4, Ip6, Lifetimes, Ticks, Tuple};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use client::{Client, ClientError};
pub use server::Server;
pub use socket::{Socket, SocketError};

use crate::datapath::{DatapathError, FlowReader, PortTotals};
use crate::model::PublishedPort;

/// What the daemon's loop is asked for.
#[derive(Debug)]
pub enum Request {
    /// What there is to see.
    Look(oneshot::Sender<Result<Look, DatapathError>>),
    /// To end flows; the answer is how many there were.
    End(FlowKeys, oneshot::Sender<Result<u64, DatapathError>>),
}

/// What the daemon knows at a moment, and a way to the flows.
#[derive(Debug)]
pub struct Look {
    /// The published ports.
    pub published: Vec<PublishedPort>,
    /// What flows that have ended carried, by the published port's id.
    pub ended: BTreeMap<u32, PortTotals>,
    /// Dropped packets by reason.
    pub drops: Vec<(DropReason, u64)>,
    /// Packets that went to their containers by XDP.
    pub accelerated: u64,
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
