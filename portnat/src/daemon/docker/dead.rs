//! Containers that have died, and of which Docker's lists do not know that yet.

use std::collections::BTreeSet;

use crate::docker::{Event, Moment, Observed};

/// Their ids.
#[derive(Debug, Default)]
pub(super) struct Dead(BTreeSet<String>);

impl Dead {
    /// Takes note of what has happened, in its order. Who has died before the last list was asked for is
    /// missing there, or has come back, of which we may be told later than of the end.
    pub(super) fn hear(&mut self, event: Event, asked: Moment) {
        match event {
            Event::Died(_, time) if time < asked => {}
            Event::Died(id, _) => drop(self.0.insert(id)),
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
        let (mut dead, asked) = (Dead::default(), Moment::now());
        let both = observed(&["web", "db"]);
        assert_eq!(dead.without(&both), None);
        dead.hear(Event::Died("web".to_owned(), Moment::now()), asked);
        dead.hear(Event::Other, asked);
        assert_eq!(dead.without(&both), Some(observed(&["db"])));
        assert_eq!(dead.without(&observed(&["db"])), None);
        for _ in 0..2 {
            assert_eq!(listed(&mut dead, &["web", "db"]), observed(&["db"]));
        }
        // It has been gone from the list: who is there then is alive.
        assert_eq!(listed(&mut dead, &["db"]), observed(&["db"]));
        assert_eq!(listed(&mut dead, &["web", "db"]), both);
    }

    /// Docker tells of its end and of its start one after the other, and may have done both before it was asked.
    #[test]
    fn who_died_before_the_list_is_alive_if_he_is_there() {
        let died = Event::Died("web".to_owned(), Moment::now());
        let asked = Moment::now();
        let mut dead = Dead::default();
        dead.hear(died.clone(), asked);
        assert_eq!(dead.without(&observed(&["web"])), None);
        let Event::Died(_, before) = died else {
            unreachable!("it is one");
        };
        dead.hear(Event::Died("web".to_owned(), Moment::now()), before);
        assert_eq!(dead.without(&observed(&["web"])), Some(observed(&[])));
    }

    #[test]
    fn who_starts_again_is_there() {
        let (mut dead, asked) = (Dead::default(), Moment::now());
        dead.hear(Event::Died("web".to_owned(), Moment::now()), asked);
        dead.hear(Event::Started("web".to_owned()), asked);
        assert_eq!(dead.without(&observed(&["web"])), None);
        assert_eq!(listed(&mut dead, &["web"]), observed(&["web"]));
    }
}
