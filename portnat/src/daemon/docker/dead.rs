//! Containers that have died, and of which Docker's lists do not know that yet.

use std::collections::BTreeSet;

use crate::docker::{Event, Observed};

/// Their ids.
#[derive(Debug, Default)]
pub(super) struct Dead(BTreeSet<String>);

impl Dead {
    /// Takes note of what has happened, in its order.
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Died(id) => drop(self.0.insert(id)),
            Event::Started(id) => drop(self.0.remove(&id)),
            Event::Other => {}
        }
    }

    /// Takes out of a list who has died, so that nothing of theirs comes back for a moment.
    pub(super) fn leave_out(&mut self, observed: &mut Observed) {
        // Of the others the list knows.
        self.0
            .retain(|id| observed.containers.iter().any(|one| one.id == *id));
        observed.containers.retain(|one| !self.0.contains(&one.id));
    }

    /// What is left of `last` without them, if that is less.
    pub(super) fn without(&self, last: &Observed) -> Option<Observed> {
        let mut left = last.clone();
        left.containers.retain(|one| !self.0.contains(&one.id));
        (left.containers.len() < last.containers.len()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::Container;

    fn observed(ids: &[&str]) -> Observed {
        let container = |id: &&str| Container {
            id: (*id).to_owned(),
            ..Container::default()
        };
        Observed {
            containers: ids.iter().map(container).collect(),
            ..Observed::default()
        }
    }

    fn listed(dead: &mut Dead, ids: &[&str]) -> Observed {
        let mut list = observed(ids);
        dead.leave_out(&mut list);
        list
    }

    #[test]
    fn who_has_died_does_not_come_back_by_a_list_that_is_late() {
        let mut dead = Dead::default();
        let both = observed(&["web", "db"]);
        assert_eq!(dead.without(&both), None);
        dead.hear(Event::Died("web".to_owned()));
        dead.hear(Event::Other);
        assert_eq!(dead.without(&both), Some(observed(&["db"])));
        assert_eq!(dead.without(&observed(&["db"])), None);
        for _ in 0..2 {
            assert_eq!(listed(&mut dead, &["web", "db"]), observed(&["db"]));
        }
        // It has been gone from the list: who is there then is alive.
        assert_eq!(listed(&mut dead, &["db"]), observed(&["db"]));
        assert_eq!(listed(&mut dead, &["web", "db"]), both);
    }

    #[test]
    fn who_starts_again_is_there() {
        let mut dead = Dead::default();
        dead.hear(Event::Died("web".to_owned()));
        dead.hear(Event::Started("web".to_owned()));
        assert_eq!(dead.without(&observed(&["web"])), None);
        assert_eq!(listed(&mut dead, &["web"]), observed(&["web"]));
    }
}
