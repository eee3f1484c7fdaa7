//! What is published changes while packets flow.

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::admissions::Admissions;
use super::called::{Called, plain, resolve};
use super::docker::Docker;
use super::{Daemon, Options, memory};
use crate::control::{ChangeError, PublishedPorts, Selector, Unpublishing};
use crate::datapath::DatapathError;
use crate::model::{AdmissionError, Change, Intent, Ledger, Origin, Publication};
use crate::net::{Snapshot, snapshot};
use crate::report::PortSides;
use crate::spec::Wish;

impl Daemon {
    /// Publishes all of these, or none.
    pub(super) async fn publish(&mut self, wishes: &[Wish]) -> Result<PublishedPorts, ChangeError> {
        let docker = self.docker.as_ref();
        let specs: Result<Vec<_>, _> = wishes.iter().map(|wish| resolve(wish, docker)).collect();
        let specs = specs?;
        let mut next = self.ledger.clone();
        for (wish, spec) in wishes.iter().zip(&specs) {
            let named = wish.named().into_iter();
            named.for_each(|named| self.holder.prefer(&mut next, named, spec));
        }
        let change = next.publish(&specs, Origin::Command, &self.holder.source()?)?;
        let admissions = self.admissions(&next)?;
        if let Some(why) = admissions.why_shut(added(&change)) {
            return Err(ChangeError::Shut(why.to_owned()));
        }
        let called = self.called_by(wishes, &change);
        self.commit_ledger(next, called).await?;
        self.holder.remember(&self.ledger, &plain(wishes));
        say(&change);
        let known = change.asked.iter().filter(|(_, new)| !new);
        Ok(PublishedPorts {
            published: sides(added(&change)),
            unchanged: sides(known.map(|(one, _)| one)),
        })
    }

    /// Publishes what is meant no more, and ends its flows; how many there were is heard of later.
    pub(super) async fn unpublish(
        &mut self,
        selector: &Selector,
    ) -> Result<Unpublishing, ChangeError> {
        let names = self.names();
        let waiting = self.called.iter().filter(|one| one.now.is_none());
        let mut waiting: Vec<_> = waiting.map(|one| &one.spec).collect();
        selector.check(self.ledger.iter(), &waiting, &names)?;
        waiting.retain(|spec| selector.means_waiting(spec));
        let waiting: Vec<_> = waiting.iter().map(ToString::to_string).collect();
        let meant = selector.at(&names);
        let mut next = self.ledger.clone();
        let change = next.unpublish(|one| meant.iter().any(|it| it.means(one)));
        let is_waiting = |one: &Called| one.now.is_none() && selector.means_waiting(&one.spec);
        let mut called = self.called.clone();
        called.retain(|one| !is_waiting(one));
        self.commit_ledger(next, called).await?;
        say(&change);
        for spec in &waiting {
            info!("no longer to be published: {spec}");
        }
        Ok(Unpublishing {
            ports: sides(&change.removed),
            waiting,
            ended: self.end_flows(&change),
        })
    }

    /// Ends the flows of what is published no more.
    pub(super) fn end_flows(&mut self, change: &Change) -> oneshot::Receiver<u64> {
        let removed = change.removed.iter().flat_map(|one| &one.ports);
        self.end_flows_of(removed.map(|port| port.id).collect())
    }

    fn admissions(&self, ledger: &Ledger) -> Result<Admissions, AdmissionError> {
        let wanted = self.docker.as_ref().map(Docker::wanted);
        Admissions::of(&self.admission, wanted, ledger)
    }

    /// Has the datapath publish what `next` says, which is the ledger then; or all stays as it was.
    async fn commit_ledger(
        &mut self,
        next: Ledger,
        called: Vec<Called>,
    ) -> Result<(), ChangeError> {
        let host = snapshot(&self.handle).await?;
        let published = next.ports();
        let intent = Intent {
            admissions: self.admissions(&next)?.of,
            published,
            ..self.intent.clone()
        };
        intent.check_targets(&host)?;
        let next = (next, called);
        self.commit(host, next, intent, self.options).await?;
        Ok(())
    }

    /// The same with all else that is wanted, and what is told by names of it. Returns what of it cannot be done for now, as at some
    /// interface; that is tried again.
    pub(super) async fn commit(
        &mut self,
        host: Snapshot,
        (ledger, called): (Ledger, Vec<Called>),
        intent: Intent,
        options: Options,
    ) -> Result<Vec<String>, ChangeError> {
        let before = (self.intent.clone(), self.options);
        match self.apply(host, intent, options).await {
            Ok(complaints) => {
                self.ledger = ledger;
                self.take_called(called);
                self.commands.write(&self.ledger, &self.called);
                // The guard of large ranges may have been loaded for it.
                memory::give_back();
                Ok(self.complain(complaints))
            }
            Err(error) => {
                (self.intent, self.options) = before;
                let back = self.set_options();
                back.unwrap_or_else(|error| warn!("{error}"));
                self.follow().await;
                Err(error.into())
            }
        }
    }

    async fn apply(
        &mut self,
        host: Snapshot,
        intent: Intent,
        options: Options,
    ) -> Result<Vec<String>, DatapathError> {
        (self.intent, self.options) = (intent, options);
        self.set_options()?;
        self.reconcile(host).await
    }

    fn set_options(&mut self) -> Result<(), DatapathError> {
        let Options {
            lifetimes, load, ..
        } = &self.options;
        self.datapath.set_options(lifetimes, load)
    }
}

/// What is new of what was asked for.
pub(super) fn added(change: &Change) -> impl Iterator<Item = &Publication> {
    let new = change.asked.iter().filter(|(_, new)| *new);
    new.map(|(one, _)| one)
}

/// Their ports.
pub(super) fn sides<'a>(publications: impl IntoIterator<Item = &'a Publication>) -> Vec<PortSides> {
    let listed = publications.into_iter().flat_map(Publication::listed);
    listed
        .map(|(port, origin)| PortSides::new(port, origin))
        .collect()
}

/// Says what has changed.
pub(super) fn say(change: &Change) {
    for port in change.removed.iter().flat_map(|one| &one.ports) {
        info!("no longer published: {port}");
    }
    for port in added(change).flat_map(|one| &one.ports) {
        info!("published {port}");
    }
}
