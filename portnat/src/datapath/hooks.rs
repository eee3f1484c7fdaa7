//! Which programs run at a hook, ours and others'.

use std::io;

use aya::programs::tc::TcError;
use aya::programs::{ProgramError, SchedClassifier};
use nix::libc::{EINVAL, EOPNOTSUPP};

use super::attach::{Hook, PRIORITY};
use super::error::errno;
use super::load::Datapath;

/// The priority of our clsact filters: those of others with a lower one are asked before.
pub const FILTER_PRIORITY: u16 = PRIORITY;

/// The programs that portnat has at TC's hooks. The kernel keeps 15 letters of a name.
const OURS: [&str; 10] = [
    "nat_in",
    "nat_in_l3",
    "uplink_out",
    "uplink_out_l3",
    "bridge_out",
    "port_in",
    "port_out",
    "local_out",
    "internal_in",
    "internal_out",
];

/// Whether a program of this name is one of portnat's.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

/// The programs that are attached to a hook by TCX, by their names in the order in which they run; `None`
/// on a kernel without TCX.
///
/// # Errors
/// There is no such interface, or the kernel does not say.
pub fn programs_at(interface: &str, hook: Hook) -> io::Result<Option<Vec<String>>> {
    match SchedClassifier::query_tcx(interface, hook.attach_type()) {
        Ok((_, programs)) => Ok(Some(
            programs
                .iter()
                .map(|program| String::from_utf8_lossy(program.name()).into_owned())
                .collect(),
        )),
        Err(error) if matches!(errno(&error), Some(EINVAL | EOPNOTSUPP)) => Ok(None),
        Err(ProgramError::TcError(TcError::IoError(error))) => Err(error),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

impl Datapath {
    /// Where programs are attached to TC's hooks: the interface's index, where at it, and which.
    pub fn attached(&self) -> impl Iterator<Item = (u32, Hook, &'static str)> {
        self.attachments
            .iter()
            .map(|((index, hook), attachment)| (*index, *hook, attachment.program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_programs_may_have_names_that_begin_alike() {
        for own in OURS {
            assert!(is_ours(own) && own.len() <= 15, "{own}");
        }
        for other in ["nat_ingress", "port_input", "nat", ""] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
