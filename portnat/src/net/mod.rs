//! What portnat asks of the host's network and tells it, outside of BPF: netlink, sysctls, sockets.
//!
//! Everything here is about one network namespace, that of the thread that makes the call.
//!
//! | to know or do | here |
//! |---|---|
//! | which links, addresses, default routes and ingress queueing disciplines there are | [`snapshot()`], [`Snapshot`], [`Link`] |
//! | when any of that changes, queueing disciplines aside | [`Watcher`] |
//! | let a link forward, and undo it | [`Sysctls`] |
//! | which devices take frames of which the host has made no packets | [`frame_takers()`] |
//! | read any sysctl | [`sysctl()`] |
//! | which clsact filters an interface has | [`filters()`] |
//! | who has ports of the host | [`holders()`] |
//! | switch GRO on at a container's end of its link, and off again | [`FarEnd`], [`Feature`] |
//! | keep host ports from everyone else | [`Reserver`] |
//! | tell this namespace from all others | [`namespace_name()`] |
//! | be the only portnat here | [`Singleton`] |
//! | read the kernel's clock as BPF sees it | [`ticks_per_second()`] |

mod apart;
mod clock;
mod clsact;
mod dump;
mod error;
mod ethtool;
mod far_end;
mod filters;
mod frames;
mod link;
mod namespace;
mod reserve;
mod single;
mod snapshot;
mod sysctl;
mod watch;

pub use apart::keep_apart;
pub use clock::ticks_per_second;
pub use clsact::remove_clsact;
pub use dump::snapshot;
pub use error::NetError;
pub use ethtool::Feature;
pub use far_end::FarEnd;
pub use filters::{Filter, filters};
pub use frames::frame_takers;
pub use link::{Address, Link, LinkKind, LinkLayer, Scope};
pub use namespace::namespace_name;
pub use reserve::{
    Choice, Guard, GuardError, Holder, MOST_SOCKETS, Owner, Owners, PortRange, Reservation,
    ReserveError, Reserver, Tenure, holders, owners,
};
pub use single::Singleton;
pub use snapshot::Snapshot;
pub use sysctl::{
    Sysctls, has_ipv6, local_port_range, local_reserved_ports, restore_reserved_ports, sysctl,
};
pub use watch::Watcher;
