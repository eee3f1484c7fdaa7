//! What can go wrong between us and the kernel's BPF.

use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;
use aya::programs::tc::TcError;
use aya::programs::xdp::XdpError;

/// Why the datapath could not be loaded, filled or attached.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The eBPF object could not be brought into the kernel.
    #[error("loading the eBPF object: {0}: {remedy}", remedy = LOAD_REMEDY)]
    Object(#[from] aya::EbpfError),
    /// The verifier refused a program.
    #[error("the kernel's verifier refuses program {program}: {summary} (--verbose shows its log)")]
    Verifier {
        /// The program.
        program: String,
        /// The last words of the verifier.
        summary: String,
        /// All it said.
        log: String,
    },
    /// The kernel refused a program for another reason.
    #[error("the kernel refuses program {program}: {reason}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
    /// A program could not be attached.
    #[error("attaching {program} to {interface}: {reason}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        interface: String,
        /// Why.
        reason: String,
    },
    /// Something could not be pinned, or a pin could not be removed.
    #[error("pinning at {}: {reason}", path.display())]
    Pins {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A table could not be read or written.
    #[error("table {table}: {reason}")]
    Table {
        /// The table.
        table: &'static str,
        /// Why.
        reason: String,
    },
}

const LOAD_REMEDY: &str = "portnat needs root (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN) and a kernel of 5.10 or later with CONFIG_BPF_SYSCALL";

impl DatapathError {
    /// What the verifier said, where it was the verifier.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            DatapathError::Verifier { log, .. } => Some(log),
            _ => None,
        }
    }

    pub(super) fn program(program: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => {
                let log = verifier_log.to_string();
                match last_words(&log) {
                    Some(summary) => DatapathError::Verifier {
                        program: program.to_owned(),
                        summary: summary.to_owned(),
                        log,
                    },
                    None => DatapathError::Program {
                        program: program.to_owned(),
                        reason: plain(&io_error),
                    },
                }
            }
            error => DatapathError::Program {
                program: program.to_owned(),
                reason: root_cause(&error),
            },
        }
    }

    pub(super) fn attach(program: &'static str, interface: &str, error: &ProgramError) -> Self {
        DatapathError::Attach {
            program,
            interface: interface.to_owned(),
            reason: errno(error).map_or_else(
                || root_cause(error),
                |code| plain(&io::Error::from_raw_os_error(code)),
            ),
        }
    }

    pub(super) fn table(table: &'static str, error: impl std::error::Error + 'static) -> Self {
        DatapathError::Table {
            table,
            reason: root_cause(&error),
        }
    }
}

/// The line of a verifier's log that says what is wrong: the last one before its statistics.
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time", "stack depth"];
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
}

/// The innermost cause in words, without Rust's `Os { code }`.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
        .downcast_ref::<io::Error>()
        .map_or_else(|| cause.to_string(), plain)
}

/// An I/O error in the kernel's words alone.
pub(super) fn plain(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |code| nix::errno::Errno::from_raw(code).desc().to_lowercase(),
    )
}

/// The error code of an attachment that failed in the kernel.
pub(super) fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::NetlinkError(error)) => error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        ProgramError::NetlinkError(error) => error.raw_os_error(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_come_before_its_statistics() {
        let log = "0: (b7) r0 = 0\n1: (61) r2 = *(u32 *)(r1 +0)\n\
                   invalid access to packet, off=30 size=4, R2(id=0,off=30,r=0)\n\
                   verification time 12 usec\nstack depth 0\n\
                   processed 9 insns (limit 1000000) max_states_per_insn 0\n\n";
        assert_eq!(
            last_words(log),
            Some("invalid access to packet, off=30 size=4, R2(id=0,off=30,r=0)")
        );
        assert_eq!(last_words("\n"), None);
    }

    #[test]
    fn an_errno_is_words() {
        assert_eq!(plain(&io::Error::from_raw_os_error(22)), "invalid argument");
    }
}
