//! Which ephemeral ports were given to whom, so that he gets them again.

use super::Allocator;
use crate::spec::{Ports, PublishSpec};

impl Allocator {
    /// One that knows which ephemeral ports specs had before; they get them again if they are free, and
    /// others get them last.
    #[must_use]
    pub fn remembering(given: impl IntoIterator<Item = (PublishSpec, Vec<Ports>)>) -> Self {
        Allocator {
            remembered: given.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The ephemeral ports that these specs have, as they were given last.
    #[must_use]
    pub fn ephemeral(&self, specs: &[PublishSpec]) -> Vec<(PublishSpec, Vec<Ports>)> {
        let has = |spec: &PublishSpec| Some((*spec, self.remembered.get(spec)?.clone()));
        let ephemeral = specs.iter().filter(|spec| spec.host_ports.is_none());
        ephemeral.filter_map(has).collect()
    }

    /// What was given to one spec is another's from now on.
    pub fn hand_over(&mut self, old: &PublishSpec, new: &PublishSpec) {
        if let Some(rows) = self.remembered.remove(old) {
            self.remembered.insert(*new, rows);
        }
    }

    /// Has a spec be given these, if they are free.
    pub fn prefer(&mut self, spec: &PublishSpec, rows: Vec<Ports>) {
        self.remembered.insert(*spec, rows);
    }

    /// What this spec had is a name's, whose address is another's from now on.
    pub fn set_aside(&mut self, spec: &PublishSpec) {
        let rows = self.remembered.remove(spec);
        self.leave(rows.into_iter().flatten());
    }

    /// Leaves these to somebody who has no spec now.
    pub fn leave(&mut self, rows: impl IntoIterator<Item = Ports>) {
        for row in rows {
            if !self.aside.contains(&row) {
                self.aside.push(row);
            }
        }
    }
}
