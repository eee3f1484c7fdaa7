//! What the daemon is like: what it holds on to, and what it cannot do.

use serde::{Deserialize, Serialize};

/// What the daemon is like. Its fields are those of the JSON, see `docs/api.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process's number.
    pub pid: u32,
    /// The name of its network namespace.
    pub namespace: String,
    /// Whether everything stays when it ends.
    pub persist: bool,
    /// The names of the interfaces to the outside.
    pub uplinks: Vec<String>,
    /// The names of those that containers are behind.
    pub bridges: Vec<String>,
    /// Whether IPv6 packets are to be forwarded.
    pub ipv6: bool,
    /// The programs that it has attached to TC's hooks.
    pub attached: Vec<Attached>,
    /// Whether it wants packets of established flows to go past the host's stack.
    pub fast_path: bool,
    /// `off`, or where XDP is: `auto`, `native` or `generic`.
    pub xdp: String,
    /// The indices of the bridges' ports whose containers could get packets by XDP.
    pub frame_ports: Vec<u32>,
    /// What could not be done at the last look at the host.
    pub complaints: Vec<String>,
}

/// A program at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// `in` or `out`.
    pub hook: String,
    /// The program's name.
    pub program: String,
}
