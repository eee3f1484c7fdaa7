//! The lab: hosts made of anonymous network namespaces, for `portnat demo` and the tests.
//!
//! ```text
//!   client                     host                            containers
//!  ┌────────────┐   ┌──────────────────────────────┐   ┌────────────────────────┐
//!  │       eth0 ├───┤ eth0                   veth0 ├───┤ eth0  172.17.0.2       │
//!  │ 192.0.2.10 │   │ 192.0.2.1              veth1 ├───┤ eth0  172.17.0.3       │
//!  └────────────┘   │   docker0 172.17.0.1 ──┘     │   │ default via 172.17.0.1 │
//!                   └──────────────────────────────┘   └────────────────────────┘
//! ```
//!
//! [`Lab`] builds this picture, out of [`Namespace`]s joined by [`Links`]. [`Server`] answers in
//! one of them, the functions of [`probe`] ask from another.
//!
//! Nothing of a lab has a name outside the process, and no packet of it passes through the
//! machine's own network. The kernel removes a namespace together with its last holder, so a
//! lab cleans up after itself even when its process is killed. It needs root: to be exact,
//! `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and `CAP_NET_RAW`.

mod error;
mod frames;
mod icmp;
mod links;
mod namespace;
pub mod probe;
mod servers;
mod topology;

pub use error::{LabError, Result};
pub use frames::frames;
pub use links::Links;
pub use namespace::Namespace;
pub use servers::Server;
pub use topology::{Bridge, Container, Lab, LabBuilder};
