//! Sockets of the host at published ports.

use std::collections::BTreeMap;

use super::sysctls::list;
use crate::doctor::{Facts, Finding, Severity};
use crate::net::Owner;

pub(super) fn listen(facts: &Facts) -> Vec<Finding> {
    let (Some(status), Some(report)) = (facts.daemon.status(), facts.daemon.report()) else {
        return Vec::new();
    };
    let held = match &facts.holders {
        Ok(held) => held,
        Err(why) => {
            return vec![Finding::new(
                Severity::Note,
                format!("the host's sockets are not known: {why}"),
                "So it was not looked at who listens on published ports.",
            )];
        }
    };
    let mut owners: BTreeMap<&Owner, Vec<String>> = BTreeMap::new();
    for one in held {
        let owner = &one.holder.owner;
        // Its own sockets are what holds them.
        if matches!(owner, Owner::Process { pid, .. } if *pid == status.pid) {
            continue;
        }
        let port = one.holder.address.port();
        let is_published = report.ports.iter().any(|published| {
            let sides = &published.sides;
            (sides.address, sides.protocol.0) == (one.address, one.protocol.number())
                && (sides.port..=sides.port_end).contains(&port)
        });
        if is_published {
            let ports = owners.entry(owner).or_default();
            let name = format!("{}/{}", one.holder.address, one.protocol);
            if !ports.contains(&name) {
                ports.push(name);
            }
        }
    }
    if owners.is_empty() {
        return vec![Finding::ok("nobody else listens on published ports")];
    }
    let judged = owners.iter().map(|(owner, ports)| judge(owner, ports));
    judged.collect()
}

fn judge(owner: &Owner, ports: &[String]) -> Finding {
    let ports: Vec<_> = ports.iter().map(String::as_str).collect();
    let listens = format!("{owner} listens on {}", list(&ports));
    // The last part is the port and its protocol, as unpublish takes it.
    let port = ports.first().and_then(|port| port.rsplit(':').next());
    let unpublish = format!("portnat unpublish {}", port.unwrap_or_default());
    let name = match owner {
        Owner::Process { name, .. } => name.as_str(),
        Owner::Unseen | Owner::Kernel => "",
    };
    match (name, owner) {
        ("docker-proxy" | "rootlessport", _) => Finding::new(
            Severity::Warning,
            listens,
            "Docker publishes the same port by its own means. As long as portnat runs packets go \
             past it; when portnat ends it answers, with another source address.",
        )
        .mended_by(
            "set \"userland-proxy\": false in /etc/docker/daemon.json; systemctl restart docker",
        )
        .mended_by("docker run the container anew without -p"),
        ("dockerd", _) => Finding::new(
            Severity::Note,
            listens,
            "Docker holds its containers' ports that way also where it does nothing for them.",
        ),
        (_, Owner::Process { pid, .. }) => Finding::new(
            Severity::Fault,
            listens,
            "The port was published by force, or the process came when portnat did not run. What \
             comes for it goes to the target; the process hears nothing.",
        )
        .mended_by(format!("kill {pid}, or have it listen elsewhere"))
        .mended_by(unpublish),
        (_, Owner::Kernel) => Finding::new(
            Severity::Warning,
            listens,
            "Something in the kernel serves there, as WireGuard and NFS do. What comes for it \
             goes to the target.",
        )
        .mended_by(unpublish),
        (_, Owner::Unseen) => Finding::new(
            Severity::Note,
            listens,
            "It may be portnat itself, seen from a container or without the right to look.",
        ),
    }
}
