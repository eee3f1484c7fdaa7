//! Tables whose entries can be held on to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use elsa::FrozenVec;

/// A table. An entry that was removed is there until the world ends, so that a reference outlives the
/// removal, as in the kernel.
pub(super) struct Kept<K, V> {
    places: RefCell<BTreeMap<K, usize>>,
    all: FrozenVec<Box<V>>,
}

impl<K: Ord + Copy, V> Kept<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let place = self.places.borrow().get(key).copied()?;
        self.all.get(place)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.places.borrow().contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.places.borrow().len()
    }

    pub(super) fn insert(&self, key: K, value: V) {
        let place = self.all.len();
        self.all.push(Box::new(value));
        self.places.borrow_mut().insert(key, place);
    }

    /// Takes an entry out of the table, and returns its place, which no other gets.
    pub(super) fn remove(&self, key: &K) -> Option<usize> {
        self.places.borrow_mut().remove(key)
    }

    /// What is or was at a place.
    pub(super) fn at(&self, place: usize) -> &V {
        &self.all[place]
    }

    /// All entries that are in the table, by their keys.
    pub(super) fn entries(&self) -> Vec<(K, &V)> {
        let places = self.places.borrow();
        let entries = places.iter().map(|(key, place)| (*key, self.at(*place)));
        entries.collect()
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Kept {
            places: RefCell::default(),
            all: FrozenVec::default(),
        }
    }
}
