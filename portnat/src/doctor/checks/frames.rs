//! Whether containers take frames of which the host has made no packets (XDP).

use crate::doctor::{Facts, Finding, Fix, Severity};

pub(super) fn take(facts: &Facts) -> Vec<Finding> {
    let Some(status) = facts.daemon.status() else {
        return Vec::new();
    };
    if status.xdp == "off" {
        return vec![Finding::ok("off")];
    }
    let takers = match &facts.takers {
        Ok(takers) => takers,
        Err(why) => {
            return vec![Finding::new(
                Severity::Note,
                format!("which devices take frames is not known: {why}"),
                "Packets of containers that do not go by TC.",
            )];
        }
    };
    let missing: Vec<_> = status
        .frame_ports
        .iter()
        .filter(|port| !takers.contains(port))
        .filter_map(|port| facts.host.link_by_index(*port))
        .collect();
    if missing.is_empty() {
        return vec![Finding::ok(format!(
            "{}, and all containers take part",
            status.xdp
        ))];
    }
    missing
        .into_iter()
        .map(|link| {
            Finding::new(
                Severity::Warning,
                format!("the container behind {} has no GRO", link.name),
                "What XDP hands to a link arrives only where its other end polls, so this \
                 container's packets go by TC, which takes more of the CPU. portnat switches GRO \
                 on once; here it could not, or somebody has switched it off. PID is of a process \
                 in the container.",
            )
            .mended_by("nsenter -t PID -n ethtool -K eth0 gro on")
            .fixed_by(Fix::Gro(link.index))
        })
        .collect()
}
