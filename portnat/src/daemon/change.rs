//! What is published changes while packets flow.

use tokio::sync::oneshot;
use tracing::info;

use super::Daemon;
use crate::control::{ChangeError, PublishedPorts, Selector, Unpublishing};
use crate::model::{Change, Ledger, Origin, Publication};
use crate::net::snapshot;
use crate::report::PortSides;
use crate::spec::PublishSpec;

impl Daemon {
    /// Publishes all of these, or none.
    pub(super) async fn publish(
        &mut self,
        specs: &[PublishSpec],
    ) -> Result<PublishedPorts, ChangeError> {
        let mut next = self.ledger.clone();
        let change = next.publish(specs, Origin::Command, self.local_ports)?;
        self.commit(next).await?;
        say(&change);
        let sides = |one: &Publication| PortSides::new(&one.port, one.origin);
        let (new, known): (Vec<_>, Vec<_>) = change.asked.iter().partition(|(_, new)| *new);
        Ok(PublishedPorts {
            published: new.iter().map(|(one, _)| sides(one)).collect(),
            unchanged: known.iter().map(|(one, _)| sides(one)).collect(),
        })
    }

    /// Publishes what is meant no more, and ends its flows; how many there were is heard of later.
    pub(super) async fn unpublish(
        &mut self,
        selector: &Selector,
    ) -> Result<Unpublishing, ChangeError> {
        selector.check(self.ledger.iter())?;
        let mut next = self.ledger.clone();
        let change = next.unpublish(|one| selector.means(one));
        self.commit(next).await?;
        say(&change);
        let removed = change.removed.iter();
        let sides = removed.map(|one| PortSides::new(&one.port, one.origin));
        Ok(Unpublishing {
            ports: sides.collect(),
            ended: self.end_flows(&change),
        })
    }

    /// Ends the flows of what is published no more.
    pub(super) fn end_flows(&mut self, change: &Change) -> oneshot::Receiver<u64> {
        self.end_flows_of(change.removed.iter().map(|one| one.port.id).collect())
    }

    /// Has the datapath publish what `next` says, which is the ledger then; or all stays as it was.
    async fn commit(&mut self, next: Ledger) -> Result<(), ChangeError> {
        let host = snapshot(&self.handle).await?;
        let before = std::mem::replace(&mut self.intent.published, next.ports());
        let done = match self.intent.check_targets(&host) {
            Ok(()) => self.reconcile(host).await.map_err(ChangeError::from),
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(complaints) => {
                self.complain(complaints);
                self.ledger = next;
                Ok(())
            }
            Err(error) => {
                self.intent.published = before;
                self.follow().await;
                Err(error)
            }
        }
    }
}

/// Says what has changed.
fn say(change: &Change) {
    for one in &change.removed {
        info!("no longer published: {}", one.port);
    }
    for (one, _) in change.asked.iter().filter(|(_, new)| *new) {
        info!("published {}", one.port);
    }
}
