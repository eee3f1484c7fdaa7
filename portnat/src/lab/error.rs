//! What can go wrong while a lab is built.

use std::io;

use ipnet::Ipv4Net;

/// The result of a step of the lab.
pub type Result<T> = std::result::Result<T, LabError>;

/// A step of the lab that failed. Each message names the step and what it was about.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The kernel refused a step.
    ///
    /// The cause is part of the message and therefore not also the error's source: printed as a
    /// chain, it would appear twice.
    #[error("{step}: {cause}{}", advice(cause))]
    Refused {
        /// What was being done, and to what.
        step: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// A link without a six-byte hardware address.
    #[error("link {0} has no Ethernet address")]
    NoEthernetAddress(String),
    /// A container was to join a bridge that the host lacks.
    #[error("the lab's host has no bridge {0}")]
    NoSuchBridge(String),
    /// All addresses of a bridge's subnet are taken.
    #[error("bridge {bridge} has no address left in {subnet}")]
    SubnetFull {
        /// The bridge's name.
        bridge: String,
        /// Its subnet.
        subnet: Ipv4Net,
    },
}

/// The likeliest remedy, to follow the kernel's own words.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "; the lab needs root",
        _ => "",
    }
}

/// Names the step during which the kernel said no.
pub(super) trait During<T> {
    /// `step` is a phrase like "creating veth eth0".
    fn during(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| LabError::Refused {
            step: step(),
            cause: cause.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(cause: io::ErrorKind) -> String {
        let result: Result<()> = Err(io::Error::from(cause)).during(|| "creating veth eth0".into());
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_missing_privilege_is_named_with_its_remedy() {
        assert_eq!(
            refused(io::ErrorKind::PermissionDenied),
            "creating veth eth0: permission denied; the lab needs root"
        );
    }

    #[test]
    fn other_refusals_speak_for_themselves() {
        assert_eq!(
            refused(io::ErrorKind::AlreadyExists),
            "creating veth eth0: entity already exists"
        );
    }
}
