//! portnat: port publishing for Linux containers as an eBPF dataplane.
//!
//! The rooms, from the outside in:
//! - [`cli`]: the commands, a file each.
//! - [`daemon`]: `portnat run`, which keeps the datapath in step with the world; [`report`] is what
//!   it has to tell.
//! - [`config`]: the config file. [`control`]: the socket by which the commands ask the daemon.
//!   [`flows`]: flows as they are told there. [`docker`]: Docker's containers and networks.
//!   [`compose`]: what compose files publish.
//! - [`doctor`]: `portnat doctor`, which looks at all of the host that published ports depend on.
//! - [`spec`]: Docker's `-p` grammar. [`model`]: what should be, as pure functions.
//! - [`net`]: netlink, sysctls and sockets. [`datapath`]: programs and maps, the only room that
//!   knows aya.
//! - [`privileges`]: what the daemon may do, and who does the rest. [`service`]: what a service manager is
//!   told.
//! - `written`: small files in which a portnat writes down what the next one has to know.
//! - [`lab`]: hosts made out of network namespaces, for the demo and the tests.

pub mod cli;
pub mod compose;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod docker;
pub mod doctor;
pub mod flows;
pub mod lab;
pub mod model;
pub mod net;
pub mod privileges;
pub mod report;
pub mod service;
pub mod spec;
mod written;
