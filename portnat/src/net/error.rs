//! Why the host's network could not be read or changed.

use std::io;

use nix::errno::Errno;
use thiserror::Error;

/// Why the host's network could not be read or changed.
///
/// The texts say what the kernel answered; so no error has a `source` that would say it again.
#[derive(Debug, Error)]
pub enum NetError {
    /// Netlink did not list what it was asked for.
    #[error("cannot list the {objects} of this network namespace: {reason}")]
    Dump {
        /// What was asked for: `links`, `addresses`, `routes`, `queueing disciplines`.
        objects: &'static str,
        /// The kernel's answer.
        reason: String,
    },
    /// Changes could not be followed.
    #[error("cannot follow changes of this host's links, addresses and routes: {}", reason(.cause))]
    Watch {
        /// The kernel's answer.
        cause: io::Error,
    },
    /// No link has this name.
    #[error("no interface {name} in this network namespace: `ip link` lists those there are")]
    UnknownInterface {
        /// The name as given.
        name: String,
    },
    /// The interface cannot be an uplink.
    #[error("interface {name} cannot be an uplink: {why}")]
    UnsupportedUplink {
        /// The interface.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// Containers cannot be behind this interface.
    #[error("interface {name} cannot be a bridge: {why}")]
    UnsupportedBridge {
        /// The interface.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A bridge's port is not kept from the others.
    #[error("cannot keep port {index} of a bridge from the others: {reason}")]
    Apart {
        /// The port's index.
        index: u32,
        /// The kernel's answer.
        reason: String,
    },
    /// A target is the host itself.
    #[error("target {target} is an address of this host: publish what answers behind a bridge")]
    OwnTarget {
        /// The target.
        target: std::net::IpAddr,
    },
    /// The address as which something is to be masqueraded is not the host's.
    #[error("{net} cannot be masqueraded as {to}, which is no address of this host")]
    ForeignEgress {
        /// The prefix.
        net: ipnet::IpNet,
        /// The address.
        to: std::net::IpAddr,
    },
    /// A prefix is to be masqueraded in two ways.
    #[error("{net} is to be masqueraded as two addresses")]
    TwoEgresses {
        /// The prefix.
        net: ipnet::IpNet,
    },
    /// Who may come in is said of a port that nobody comes in by.
    #[error(
        "target {target} is behind a bridge of mode routed: nobody comes to it by portnat, so who may come in is for the firewall to say"
    )]
    RoutedTarget {
        /// The target.
        target: std::net::IpAddr,
    },
    /// A queueing discipline could not be removed.
    #[error(
        "cannot remove the clsact queueing discipline of interface {index}: {reason}: remove it by `tc qdisc del dev INTERFACE clsact`"
    )]
    Qdisc {
        /// Index of the interface.
        index: u32,
        /// The kernel's answer.
        reason: String,
    },
    /// No link can have this name, or it stands for all of them.
    #[error("{name:?} is not an interface's name")]
    InterfaceName {
        /// The name as given.
        name: String,
    },
    /// The kernel was built or booted without IPv6.
    #[error(
        "this host has no IPv6, /proc/sys/net/ipv6 is missing: boot without ipv6.disable=1, or publish to IPv4 targets only"
    )]
    NoIpv6,
    /// The kernel has IPv6, but not on this link.
    #[error("interface {name} has no IPv6: its MTU must be 1280 or more")]
    InterfaceWithoutIpv6 {
        /// The interface.
        name: String,
    },
    /// A sysctl could not be read.
    #[error("cannot read {key}: {}", reason(.cause))]
    ReadSysctl {
        /// The sysctl as `sysctl` spells it.
        key: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// A sysctl could not be written.
    #[error(
        "cannot set {key} = {value}: {}: portnat needs root and a writable /proc/sys",
        reason(.cause)
    )]
    WriteSysctl {
        /// The sysctl as `sysctl` spells it.
        key: String,
        /// The value it should have had.
        value: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// What was changed could not be written down, or read again.
    #[error("cannot keep record of changed sysctls in {}: {} (where the file makes no sense, remove it; what it said is lost)", path.display(), reason(.cause))]
    Record {
        /// The file.
        path: std::path::PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The namespace could not be named.
    #[error("cannot tell this network namespace from others: {}", reason(.cause))]
    Namespace {
        /// The kernel's answer.
        cause: io::Error,
    },
    /// A sysctl holds something other than what the kernel documents.
    #[error("{key} is {value:?}: expected {expected}")]
    SysctlValue {
        /// The sysctl as `sysctl` spells it.
        key: String,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The other end of a veth could not be reached.
    #[error("{}", reason(.cause))]
    FarEnd {
        /// The kernel's answer, or ours.
        cause: io::Error,
    },
    /// Another portnat has this namespace.
    #[error("another portnat already runs in this network namespace: stop it first")]
    AlreadyRunning,
    /// The socket that keeps a second portnat away could not be made.
    #[error(
        "cannot bind the unix socket @{name}, which keeps a second portnat away: {}",
        reason(.cause)
    )]
    Singleton {
        /// The socket's abstract name.
        name: String,
        /// The kernel's answer.
        cause: io::Error,
    },
}

/// The kernel's answer as C and Go print it, without Rust's `(os error 98)`.
pub(super) fn reason(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    let text = Errno::from_raw(code).desc();
    text[..1].to_lowercase() + &text[1..]
}

/// As [`reason`], for what rtnetlink answers.
pub(super) fn answer(error: rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(answer) => reason(&answer.to_io()),
        rtnetlink::Error::RequestFailed => "the netlink connection is closed".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_answer_reads_as_dockers_does() {
        let text = |errno: Errno| reason(&errno.into());
        assert_eq!(text(Errno::EADDRINUSE), "address already in use");
        assert_eq!(text(Errno::EACCES), "permission denied");
        assert_eq!(reason(&io::Error::other("closed")), "closed");
    }
}
