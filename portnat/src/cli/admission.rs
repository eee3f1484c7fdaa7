//! Who may come in, on the command line.

use ipnet::IpNet;

use super::run::first_said;
use crate::config::ConfigFile;
use crate::model::{AdmissionRule, AdmissionRules, RateLimit};

/// Who may come in by the ports that a command publishes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct AdmissionArgs {
    /// Let in by published ports who is in this prefix, and nobody else: 192.0.2.0/24, or for one port
    /// 8080=192.0.2.0/24 or 53/udp=192.0.2.0/24; a range is named by its first. May be given several
    /// times.
    #[arg(long, value_name = "[PORT=]CIDR")]
    allow: Vec<AdmissionRule<IpNet>>,

    /// Keep out who is in this prefix. The longest prefix counts. May be given several times.
    #[arg(long, value_name = "[PORT=]CIDR")]
    deny: Vec<AdmissionRule<IpNet>>,

    /// How many connections a second each source may open by a published port, and how many at once:
    /// 100, 100/s:200, or for one port 8080=100. Also a minute (6/m) or an hour. May be given several
    /// times.
    #[arg(long, value_name = "[PORT=]RATE[/s][:BURST]")]
    limit: Vec<AdmissionRule<RateLimit>>,
}

impl AdmissionArgs {
    /// These, and of the file what they are silent about.
    pub(super) fn rules(&self, file: &ConfigFile) -> AdmissionRules {
        AdmissionRules {
            allow: first_said(&self.allow, &file.allow),
            deny: first_said(&self.deny, &file.deny),
            limit: first_said(&self.limit, &file.limit),
        }
    }
}
