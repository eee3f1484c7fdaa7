//! What can be changed by the socket, and what is said to that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::datapath::DatapathError;
use crate::docker::{NameError, Named};
use crate::flows::PortFilter;
use crate::model::{AdmissionError, Publication, PublishError};
use crate::net::NetError;
use crate::report::PortSides;
use crate::spec::{NamedSpec, PublishSpec, SpecError, Wish};

/// How many specs a request can have: each is compared with each, by a loop that has others to look after.
const MOST: usize = 1024;

/// A request to publish ports of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The target's address, or with Docker its name.
    pub target: String,
    /// What of it, in the words of Docker's `-p`.
    pub specs: Vec<String>,
}

/// The answer: both lists in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPorts {
    /// What is published now.
    pub published: Vec<PortSides>,
    /// What of the request was published before.
    pub unchanged: Vec<PortSides>,
}

/// The answer to a request that ports be published no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpublishedPorts {
    /// What is not published any more.
    pub unpublished: Vec<PortSides>,
    /// How many flows ended with that.
    pub flows_ended: u64,
    /// What was to be published of containers as soon as they are there, and is not any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}

/// The answer to a request that the config be read anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is published now.
    pub published: Vec<PortSides>,
    /// What is not published any more.
    pub unpublished: Vec<PortSides>,
    /// The options that are other than before.
    pub changed: Vec<String>,
    /// How many flows ended with that.
    pub flows_ended: u64,
    /// What of it cannot be done for now, and is tried again.
    pub warnings: Vec<String>,
}

/// Which published ports are meant: all of a target, some of a target, or some of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All that lead to this address.
    Target(IpAddr),
    /// Those that one of these speaks of, see [`Publication::is_meant_by`].
    Specs(Vec<PublishSpec>),
    /// All of a container of Docker's, or those that one of these speaks of, if there are any.
    Container {
        /// Its name.
        name: String,
        /// Of this container.
        specs: Vec<NamedSpec>,
    },
    /// Those of the host.
    Port(PortFilter),
}

/// Why nothing is changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing is meant.
    #[error("{0}")]
    Nothing(String),
    /// There is no config file.
    #[error("portnat was started without --config: there is nothing to reload")]
    NoConfig,
    /// The config file makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Of whom it is to be published is not known.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A port cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Nobody would be let in, as its container's labels make no sense here.
    #[error("{0}")]
    Shut(String),
    /// Who may come in by a port is not clear.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The host is not such that it could be done.
    #[error(transparent)]
    Host(#[from] NetError),
    /// The kernel does not let it be done.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl ChangeError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            ChangeError::Nothing(_) => StatusCode::NOT_FOUND,
            ChangeError::NoConfig
            | ChangeError::Name(_)
            | ChangeError::Publish(_)
            | ChangeError::Shut(_)
            | ChangeError::Admission(_)
            | ChangeError::Host(_) => StatusCode::CONFLICT,
            ChangeError::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ChangeError::Datapath(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl PublishRequest {
    /// What it asks for.
    ///
    /// # Errors
    /// It is nothing, or a spec or the target makes no sense.
    pub fn wishes(&self) -> Result<Vec<Wish>, String> {
        if self.specs.is_empty() {
            return Err("there is nothing to publish in it: specs is empty".to_owned());
        }
        if self.specs.len() > MOST {
            return Err(format!(
                "more than {MOST} specs: a range is one, as in 8000-8999:8000-8999"
            ));
        }
        aim(&self.target, &self.specs).map_err(|error| error.to_string())
    }
}

/// A spec that makes no sense.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AimError {
    /// It is none.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It names a target, which is said elsewhere.
    #[error("{0}: the target is said once, without @")]
    Target(String),
}

/// Docker's specs for a target.
///
/// # Errors
/// The first that makes no sense.
pub fn aim<T: FromStr<Err = SpecError>>(
    target: &str,
    specs: &[String],
) -> Result<Vec<T>, AimError> {
    let aimed = |spec: &String| match spec.contains('@') {
        true => Err(AimError::Target(spec.clone())),
        false => Ok(format!("{spec}@{target}").parse()?),
    };
    specs.iter().map(aimed).collect()
}

impl Selector {
    /// The same by the addresses that containers have; one alone, if no container is meant.
    #[must_use]
    pub fn at(&self, names: &BTreeMap<IpAddr, Named>) -> Vec<Selector> {
        let Selector::Container { name, specs } = self else {
            return vec![self.clone()];
        };
        let own = names.iter().filter(|(_, named)| named.container == *name);
        own.map(|(address, _)| match specs.is_empty() {
            true => Selector::Target(*address),
            // An address of the host that does not lead to this one leads to another of it.
            false => Selector::Specs(specs.iter().filter_map(|it| it.at(*address).ok()).collect()),
        })
        .collect()
    }

    /// Whether a published port is meant. Of containers only those are by their addresses, see
    /// [`Selector::at`].
    #[must_use]
    pub fn means(&self, publication: &Publication) -> bool {
        match self {
            Selector::Target(target) => publication.spec.target == *target,
            Selector::Specs(specs) => specs.iter().any(|spec| publication.is_meant_by(spec)),
            Selector::Port(filter) => publication.ports.iter().any(|port| filter.covers(port)),
            Selector::Container { .. } => false,
        }
    }

    /// Whether this is meant, which is published when its container is there.
    #[must_use]
    pub fn means_waiting(&self, spec: &NamedSpec) -> bool {
        match self {
            Selector::Port(filter) => filter.covers_wanted(&spec.mapping),
            Selector::Container { name, specs } => {
                let is_meant = |it: &NamedSpec| it.mapping.speaks_of(&spec.mapping);
                spec.name == *name && (specs.is_empty() || specs.iter().any(is_meant))
            }
            // Who is not there has no address.
            Selector::Target(_) | Selector::Specs(_) => false,
        }
    }

    /// Whether everything that is named is there: published, or `waiting` for its container. Containers have
    /// these addresses.
    ///
    /// # Errors
    /// Names what is not.
    pub fn check<'a>(
        &self,
        published: impl Iterator<Item = &'a Publication> + Clone,
        waiting: &[&NamedSpec],
        names: &BTreeMap<IpAddr, Named>,
    ) -> Result<(), ChangeError> {
        let is_there = |selector: &Selector| {
            let meant = selector.at(names);
            let is_meant = |one: &Publication| meant.iter().any(|it| it.means(one));
            published.clone().any(is_meant) || waiting.iter().any(|it| selector.means_waiting(it))
        };
        let missing = match self {
            Selector::Specs(specs) => specs
                .iter()
                .find(|spec| !is_there(&Selector::Specs(vec![**spec])))
                .map(|spec| format!("{spec} is not published")),
            Selector::Container { name, specs } if !specs.is_empty() => {
                let alone = |spec: &NamedSpec| Selector::Container {
                    name: name.clone(),
                    specs: vec![spec.clone()],
                };
                let mut specs = specs.iter();
                let missing = specs.find(|spec| !is_there(&alone(spec)));
                missing.map(|spec| format!("{spec} is not published"))
            }
            Selector::Container { name, .. } => {
                (!is_there(self)).then(|| format!("no port of {name} is published"))
            }
            Selector::Target(target) => {
                (!is_there(self)).then(|| format!("no port of {target} is published"))
            }
            Selector::Port(port) => {
                let mut all = published.clone().flat_map(|one| &one.ports);
                match all.find(|range| port.is_in(range) && !port.covers(range)) {
                    Some(range) => Some(format!(
                        "{port} is a part of {range}, which goes as a whole"
                    )),
                    None => (!is_there(self)).then(|| format!("{port} is not published")),
                }
            }
        };
        missing.map_or(Ok(()), |words| Err(ChangeError::Nothing(words)))
    }
}
