//! What is published of containers by their names: it follows their addresses, which only Docker knows.

use tracing::warn;

use super::Daemon;
use super::docker::Docker;
use super::ports::PortHolder;
use crate::docker::{NameError, Wanted};
use crate::model::{Change, Ledger, Origin, Publication, Source};
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
        self.now.is_none() || ledger.iter().any(|one| self.is(one))
    }

    /// Whether this is what it came to.
    fn is(&self, publication: &Publication) -> bool {
        (Some(publication.spec), publication.origin) == (self.now, self.origin)
    }

    /// Has it lead to where its container is now.
    fn lead(
        &self,
        new: &PublishSpec,
        ledger: &mut Ledger,
        (holder, source): (&PortHolder, &Source<'_>),
    ) -> Result<Change, String> {
        match self.now {
            // Nobody else has the port meanwhile.
            Some(now) if now.target.is_ipv4() == new.target.is_ipv4() => {
                let change = ledger.lead_elsewhere(&now, self.origin, new);
                Ok(change.unwrap_or_default())
            }
            // It is published anew when this has been done.
            Some(_) => Err(format!(
                "{}: its address is of another family now",
                self.spec
            )),
            None => {
                holder.prefer(ledger, &self.spec, new);
                ledger
                    .publish(&[*new], self.origin, source)
                    .map_err(|why| format!("{}: {why}", self.spec))
            }
        }
    }
}

/// Has all of it lead where its containers are now. `judge` says why something cannot be published.
pub(super) fn follow(
    called: &[Called],
    wanted: &Wanted,
    ledger: &Ledger,
    holder: &PortHolder,
    judge: impl Fn(&Ledger) -> Result<(), String>,
) -> anyhow::Result<Followed> {
    let mut followed = Followed {
        ledger: ledger.clone(),
        called: Vec::with_capacity(called.len()),
        change: Change::default(),
        refused: Vec::new(),
    };
    let source = holder.source()?;
    for one in called.iter().filter(|one| one.stands(ledger)) {
        let mut next = followed.ledger.clone();
        let change = match wanted.at(&one.spec) {
            Err(why) => Err(why.to_string()),
            Ok(new) if one.now == Some(new) => Ok(Change::default()),
            Ok(new) => one.lead(&new, &mut next, (holder, &source)),
        };
        let change = change.and_then(|change| judge(&next).map(|()| change));
        let (change, now) = match change {
            Ok(change) => {
                followed.ledger = next;
                (change, wanted.at(&one.spec).ok())
            }
            Err(why) => {
                followed.refused.push(why);
                let is_it = |publication: &Publication| one.is(publication);
                let gone = followed.ledger.unpublish(is_it);
                one.now
                    .iter()
                    .for_each(|now| followed.ledger.set_aside(now));
                (gone, None)
            }
        };
        followed.change.asked.extend(change.asked);
        followed.change.removed.extend(change.removed);
        followed.called.push(Called { now, ..one.clone() });
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
    /// What is to be followed when a command has published this.
    pub(super) fn called_by(&self, wishes: &[Wish], change: &Change) -> Vec<Called> {
        let mut called = self.called.clone();
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
            if one.origin != Origin::Docker && !called.contains(&one) {
                called.push(one);
            }
        }
        called
    }

    /// Follows these from now on, as far as nobody has unpublished them. Where they have got ports that we
    /// have chosen, they keep them wherever their containers go.
    pub(super) fn take_called(&mut self, mut called: Vec<Called>) {
        called.retain(|one| one.stands(&self.ledger));
        self.called = called;
        self.holder.remember_called(&self.ledger, &self.called);
    }

    /// What is to be published by names when the config file says this.
    ///
    /// Returns also what is not there: it is published when it comes.
    pub(super) fn called_by_config(&self, wishes: &[Wish]) -> (Vec<Called>, Vec<String>) {
        let others = self
            .called
            .iter()
            .filter(|one| one.origin != Origin::Config);
        let mut called: Vec<_> = others.cloned().collect();
        let mut missing = Vec::new();
        for mut one in named(wishes, Origin::Config) {
            let wish = Wish::Named(one.spec.clone());
            match resolve(&wish, self.docker.as_ref()) {
                Ok(spec) => one.now = Some(spec),
                Err(why) => {
                    warn!("{why}");
                    missing.push(why.to_string());
                }
            }
            called.push(one);
        }
        (called, missing)
    }
}
