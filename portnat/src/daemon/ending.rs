//! Flows of ports that are published no more are ended. They are looked for by a thread, as the
//! tables take a while to read, and ended by the loop a few at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use portnat_common::{Ip4, Ip6, Tuple};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::Daemon;
use crate::control::{ENDED_AT_ONCE, FlowKeys};
use crate::datapath::{DatapathError, FlowReader, FlowTable};
use crate::flows::JoinedFlow;

/// Flows on their way from who finds them to who ends them.
pub(super) struct Ending {
    found: mpsc::UnboundedSender<Found>,
    waiting: mpsc::UnboundedReceiver<Found>,
    /// One looks for them at a time: a copy of a full table takes many megabytes.
    place: Arc<Semaphore>,
}

/// Flows that were found.
pub(super) struct Found {
    /// The ids of the ports that they came through.
    ports: BTreeSet<u32>,
    keys: FlowKeys,
    /// How many of them were ended so far.
    ended: u64,
    /// Who wants to know how many there were.
    told: oneshot::Sender<u64>,
}

impl Default for Ending {
    fn default() -> Self {
        let (found, waiting) = mpsc::unbounded_channel();
        Ending {
            found,
            waiting,
            place: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Ending {
    /// What is to be ended next. It is never over.
    pub(super) async fn next(&mut self) -> Option<Found> {
        self.waiting.recv().await
    }
}

impl Daemon {
    /// Ends the flows through the ports with these ids, which must be out of the tables. Says how
    /// many there were, or nothing if they could not be read.
    pub(super) fn end_flows_of(&mut self, ports: BTreeSet<u32>) -> oneshot::Receiver<u64> {
        let (told, heard) = oneshot::channel();
        if ports.is_empty() {
            // It is there.
            let _ = told.send(0);
            return heard;
        }
        match self.datapath.flow_reader() {
            Ok(reader) => {
                let found = self.ending.found.clone();
                let place = Arc::clone(&self.ending.place);
                tokio::spawn(async move {
                    let _place = place.acquire().await;
                    let look = spawn_blocking(move || {
                        match keys(&reader, &ports, &|| !found.is_closed()) {
                            // At its end the daemon has no more interest.
                            Ok(keys) => drop(found.send(Found {
                                ports,
                                keys,
                                ended: 0,
                                told,
                            })),
                            Err(error) => warn!("looking for flows to end: {error}"),
                        }
                    });
                    // It has said all itself.
                    let _ = look.await;
                });
            }
            Err(error) => warn!("looking for flows to end: {error}"),
        }
        heard
    }

    /// Ends some of what was found; the rest has its turn when others have had theirs.
    pub(super) fn end_found(&mut self, mut found: Found) {
        let keys = found.keys.some(ENDED_AT_ONCE);
        match self.end(&keys) {
            Ok(ended) => found.ended += ended,
            Err(error) => warn!("ending flows: {error}"),
        }
        if !found.keys.is_empty() {
            // We have the other end.
            let _ = self.ending.found.send(found);
            return;
        }
        if let Err(error) = self.datapath.forget_totals(&found.ports) {
            warn!("{error}");
        }
        // Whoever asked may not wait for it any more.
        let _ = found.told.send(found.ended);
    }
}

/// The keys of all flows through these ports, unless `go_on` says no.
fn keys(
    reader: &FlowReader,
    ports: &BTreeSet<u32>,
    go_on: &dyn Fn() -> bool,
) -> Result<FlowKeys, DatapathError> {
    Ok(FlowKeys {
        v4: family::<Ip4>(reader, ports, go_on)?,
        v6: family::<Ip6>(reader, ports, go_on)?,
    })
}

fn family<A: FlowTable>(
    reader: &FlowReader,
    ports: &BTreeSet<u32>,
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<Tuple<A>>, DatapathError> {
    let flows = reader.read::<A>(go_on)?.unwrap_or_default();
    Ok(JoinedFlow::all(&flows)
        .filter(|flow| ports.contains(&flow.port_id()))
        .map(|flow| flow.lead.key)
        .collect())
}
