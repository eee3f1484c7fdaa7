//! What can be mended safely: what the daemon itself would set. All of it ends when the machine is booted
//! again.

use super::{Diagnosis, Mended};
use crate::net::{NetError, Snapshot, Sysctls};

/// Something that can be done safely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// An interface is to forward IPv4.
    Forward(String),
    /// An interface is to forward IPv6.
    ForwardV6(String),
    /// Connection tracking is to take what is outside the windows it knows.
    Liberal,
    /// The loopback interface is to take answers that have been to a container.
    OwnAnswers(String),
    /// The container's end behind this interface is to have GRO.
    Gro(u32),
}

/// Does what the findings say that can be done safely; returns what was done and what could not be.
pub async fn mend(
    diagnosis: &Diagnosis,
    handle: &rtnetlink::Handle,
    host: &Snapshot,
) -> Vec<Mended> {
    let mut mended = Vec::new();
    for finding in &diagnosis.findings {
        let Some(fix) = &finding.fix else {
            continue;
        };
        let check = finding.check;
        match fix.apply(handle, host).await {
            Ok(done) => mended.extend(done.into_iter().map(|what| Mended {
                check,
                done: true,
                what,
            })),
            Err(error) => mended.push(Mended {
                check,
                done: false,
                what: error.to_string(),
            }),
        }
    }
    mended
}

impl Fix {
    /// Says what that came to.
    async fn apply(
        &self,
        handle: &rtnetlink::Handle,
        host: &Snapshot,
    ) -> Result<Vec<String>, NetError> {
        let mut sysctls = Sysctls::until_boot();
        match self {
            Fix::Forward(interface) => sysctls.enable_forwarding(interface)?,
            Fix::ForwardV6(interface) => sysctls.enable_forwarding_v6(interface)?,
            Fix::Liberal => sysctls.be_liberal()?,
            Fix::OwnAnswers(loopback) => sysctls.accept_own_answers(loopback)?,
            Fix::Gro(index) => return gro(*index, handle, host).await,
        }
        Ok(sysctls
            .changes()
            .map(|change| format!("set {change}"))
            .collect())
    }
}

async fn gro(
    index: u32,
    handle: &rtnetlink::Handle,
    host: &Snapshot,
) -> Result<Vec<String>, NetError> {
    let Some(link) = host.link_by_index(index) else {
        return Ok(Vec::new());
    };
    match link.far_end {
        Some(far_end) if far_end.set_gro(handle, true).await? => Ok(vec![format!(
            "switched GRO on at the container's end of {}",
            link.name
        )]),
        _ => Ok(Vec::new()),
    }
}
