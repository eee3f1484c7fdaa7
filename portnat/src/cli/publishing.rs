//! What to publish, as the command line says it.

use std::net::IpAddr;

use tracing::info;

use crate::spec::{ExposeSpec, SpecError, Wish, publish_all};

/// What to publish.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Publishing {
    /// Publish a port: [[IP:][HOSTPORT]:]PORT[/PROTO]@TARGET, for example 8080:80@172.17.0.2.
    /// HOSTPORT and PORT can be ranges, as in 8000-8099:80-179@172.17.0.2; of a range for one PORT
    /// the first free port is taken, without HOSTPORT any free one. TARGET is an address, or with --docker
    /// a container's name. May be given several times.
    #[arg(short, long = "publish", value_name = "SPEC")]
    publish: Vec<Wish>,

    /// Publish each exposed port that -p does not, on any free port of the host.
    #[arg(short = 'P', long, requires = "expose")]
    publish_all: bool,

    /// Ports that a container listens on, for -P: PORT[-PORT][/PROTO]@TARGET. May be given several
    /// times.
    #[arg(long, value_name = "PORTS")]
    expose: Vec<ExposeSpec>,

    /// The host's address for what is published without one [default: every address of the host].
    #[arg(long, value_name = "ADDR")]
    ip: Option<IpAddr>,
}

impl Publishing {
    /// All that is to be published, each with its address of the host.
    pub(super) fn specs(&self) -> Result<Vec<Wish>, SpecError> {
        let mut specs = self.publish.clone();
        let told: Vec<_> = specs.iter().filter_map(Wish::spec).collect();
        let exposed = publish_all(&self.expose, &told);
        if self.publish_all {
            specs.extend(exposed.into_iter().map(Wish::Of));
        } else {
            for spec in exposed {
                info!("exposed and not published: {spec}: -P publishes it");
            }
        }
        match self.ip {
            Some(ip) => specs.into_iter().map(|spec| spec.or_on(ip)).collect(),
            None => Ok(specs),
        }
    }
}
