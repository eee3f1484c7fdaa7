//! What is published of containers by their names: it follows their addresses, which only Docker knows.

use tracing::debug;

use super::Daemon;
use super::docker::Docker;
use super::ports::PortHolder;
use crate::docker::{NameError, Wanted};
use crate::model::{Change, Ledger, Origin};
use crate::spec::{NamedSpec, PublishSpec, Wish};

/// Something that is to be published of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) spec: NamedSpec,
    /// On whose word.
    pub(super) origin: Origin,
    /// What it has come to; nothing while the container is not there.
    pub(super) now: Option<PublishSpec>,
}

/// What all of it comes to.
pub(super) struct Followed {
    pub(super) ledger: Ledger,
    pub(super) called: Vec<Called>,
    pub(super) change: Change,
    /// What cannot be published for now, and why.
    pub(super) refused: Vec<String>,
}

/// Those of them that are told by a name, of which nothing is published yet.
pub(super) fn named(wishes: &[Wish], origin: Origin) -> impl Iterator<Item = Called> {
    let named = wishes.iter().filter_map(Wish::named);
    named.map(move |spec| Called {
        spec: spec.clone(),
        origin,
        now: None,
    })
}

/// Those that are told by an address.
pub(super) fn plain(wishes: &[Wish]) -> Vec<PublishSpec> {
    wishes.iter().filter_map(Wish::spec).collect()
}

impl Called {
    /// Whether it is still what it came to: somebody may have unpublished it.
    fn stands(&self, ledger: &Ledger) -> bool {
        self.now.is_none_or(|now| {
            let mut all = ledger.iter();
            all.any(|one| (one.spec, one.origin) == (now, self.origin))
        })
    }
}

/// Has all of it lead where its containers are now.
pub(super) fn follow(
    called: &[Called],
    wanted: &Wanted,
    ledger: &Ledger,
    holder: &PortHolder,
) -> anyhow::Result<Followed> {
    let mut followed = Followed {
        ledger: ledger.clone(),
        called: Vec::with_capacity(called.len()),
        change: Change::default(),
        refused: Vec::new(),
    };
    let source = holder.source()?;
    for one in called.iter().filter(|one| one.stands(ledger)) {
        let mut one = one.clone();
        let (next, origin) = (&mut followed.ledger, one.origin);
        let wanted = wanted.at(&one.spec);
        let change = match (one.now, wanted) {
            (Some(now), Ok(new)) if now == new => None,
            // Nobody else has the port meanwhile.
            (Some(now), Ok(new)) if now.target.is_ipv4() == new.target.is_ipv4() => {
                one.now = Some(new);
                next.lead_elsewhere(&now, origin, &new)
            }
            (None, Ok(new)) => match next.publish(&[new], origin, &source) {
                Ok(change) => {
                    one.now = Some(new);
                    Some(change)
                }
                Err(why) => {
                    followed.refused.push(format!("{}: {why}", one.spec));
                    None
                }
            },
            (now, wanted) => {
                followed.refused.push(match wanted {
                    Err(why) => why.to_string(),
                    Ok(_) => format!("{}: its address is of another family now", one.spec),
                });
                one.now = None;
                now.map(|now| {
                    next.unpublish(|publication| {
                        (publication.spec, publication.origin) == (now, origin)
                    })
                })
            }
        };
        if let Some(change) = change {
            debug!("{} is followed", one.spec);
            followed.change.asked.extend(change.asked);
            followed.change.removed.extend(change.removed);
        }
        followed.called.push(one);
    }
    Ok(followed)
}

/// What a wish comes to now.
pub(super) fn resolve(wish: &Wish, docker: Option<&Docker>) -> Result<PublishSpec, NameError> {
    match (wish, docker) {
        (Wish::Of(spec), _) => Ok(*spec),
        (Wish::Named(spec), Some(docker)) => docker.wanted().at(spec),
        (Wish::Named(spec), None) => Err(spec.without_docker().into()),
    }
}

impl Daemon {
    /// Follows what a command has published of containers.
    pub(super) fn follow_from_now_on(&mut self, wishes: &[Wish], change: &Change) {
        let asked = wishes.iter().zip(&change.asked);
        for (wish, (publication, _)) in asked {
            let Some(spec) = wish.named() else {
                continue;
            };
            let one = Called {
                spec: spec.clone(),
                origin: publication.origin,
                now: Some(publication.spec),
            };
            // Docker's own follows by itself.
            if one.origin != Origin::Docker && !self.called.contains(&one) {
                self.called.push(one);
            }
        }
        self.commands.write(&self.ledger, &self.called);
    }

    /// What is to be published by names when the config file says this.
    pub(super) fn called_by_config(&self, wishes: &[Wish]) -> Vec<Called> {
        let others = self
            .called
            .iter()
            .filter(|one| one.origin != Origin::Config);
        let mut called: Vec<_> = others.cloned().collect();
        for mut one in named(wishes, Origin::Config) {
            let wish = Wish::Named(one.spec.clone());
            // One that is not there is published when it comes.
            one.now = resolve(&wish, self.docker.as_ref()).ok();
            called.push(one);
        }
        called
    }
}
