//! What is concluded from the facts, a file for each matter.

mod daemon;
mod firewall;
mod forward;
mod frames;
mod holders;
mod hooks;
mod kernel;
mod pieces;
mod recipes;
mod redirects;
mod sysctls;
#[cfg(test)]
mod tests;

use super::{Diagnosis, Facts, Finding};

/// What looks at one matter.
type Check = fn(&Facts) -> Vec<Finding>;

/// The checks in the order in which their findings are told. Each has a name, which its findings carry.
const CHECKS: [(&str, Check); 18] = [
    ("kernel", kernel::version),
    ("privileges", kernel::privileges),
    ("jit", kernel::jit),
    ("btf", kernel::btf),
    ("bpf-fs", kernel::bpf_fs),
    ("daemon", daemon::answers),
    ("hooks", hooks::stand),
    ("drops", daemon::drops),
    ("forwarding", sysctls::forwarding),
    ("conntrack", sysctls::conntrack),
    ("rp-filter", sysctls::reverse_path),
    ("localhost", sysctls::localhost),
    ("source-ports", sysctls::source_ports),
    ("firewall", firewall::is_read),
    ("forward-rules", forward::passes),
    ("nat-rules", redirects::conflicts),
    ("port-holders", holders::listen),
    ("xdp", frames::take),
];

/// Judges what was found.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let findings = CHECKS
        .iter()
        .flat_map(|(name, check)| {
            check(facts).into_iter().map(|finding| Finding {
                check: name,
                ..finding
            })
        })
        .collect();
    Diagnosis {
        mended: Vec::new(),
        findings,
    }
}
