//! What becomes of a world in time, and what must hold in it at any.

use std::collections::BTreeMap;

use portnat_common::flow::{COUNTED, Direction, NO_PORT};
use portnat_common::{Side, Table, Total};

use super::{Hosts, TestFamily};

impl<F: TestFamily> Hosts<F> {
    /// Examines every confirmed flow once.
    pub(crate) fn sweep(&self) {
        let queued = self.queued();
        for _ in 0..queued {
            assert!(portnat_common::nat::sweep::<F, _>(self));
        }
    }

    /// How many flows are in the queue.
    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// What came through a port in flows that have ended or are half-open.
    pub(crate) fn total(&self, port_id: u32) -> Total {
        self.totals
            .borrow()
            .get(&port_id)
            .copied()
            .unwrap_or_default()
    }

    /// Each container's counter says how many flows it has opened to the outside that are there, but
    /// for those from its published ports.
    #[track_caller]
    pub(crate) fn assert_counted(&self, what: &str) {
        let mut counted: BTreeMap<F::Address, u64> = BTreeMap::new();
        for (key, flow) in self.records_in(Table::Confirmed) {
            // The flows of published ports do not count, whoever begins them.
            let outward = flow.direction() == Direction::Original
                && key.side == Side::Egress
                && flow.port_id == NO_PORT;
            let is_known = self.containers.borrow().contains_key(&key.src);
            let is_counted = flow.flags & COUNTED != 0;
            assert_eq!(is_counted, outward && is_known, "{what}: {key:?}");
            if is_counted {
                *counted.entry(key.src).or_default() += 1;
            }
        }
        let mut counters = self.containers.borrow().clone();
        counters.retain(|_, flows| *flows > 0);
        assert_eq!(counters, counted, "{what}");
    }

    /// Nobody has left a claim behind or written to an entry after its removal, which would have
    /// been another flow's by then.
    #[track_caller]
    pub(crate) fn assert_tidy(&self, what: &str) {
        assert!(self.claims.borrow().is_empty(), "{what}: a claim is left");
        self.assert_counted(what);
        for (place, record) in self.removed.borrow().iter() {
            assert_eq!(
                self.flows.at(*place).record(),
                *record,
                "{what}: written to after its removal"
            );
        }
    }
}
