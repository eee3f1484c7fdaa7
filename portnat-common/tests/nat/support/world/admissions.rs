//! Who may come in, in plain memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use portnat_common::{Address, AdmissionKey, Admissions, Limit, LimitKey};

use super::{Hosts, TestFamily};

/// The tables.
pub(crate) struct AdmissionTables<F: TestFamily> {
    /// Prefixes with their lengths in bits, and whether they are let in.
    pub(crate) lists: Vec<(AdmissionKey<F::Address>, u32, bool)>,
    /// By port ids.
    pub(crate) limits: BTreeMap<u32, Limit>,
    buckets: RefCell<BTreeMap<LimitKey<F::Address>, u64>>,
}

impl<F: TestFamily> Default for AdmissionTables<F> {
    fn default() -> Self {
        AdmissionTables {
            lists: Vec::new(),
            limits: BTreeMap::new(),
            buckets: RefCell::default(),
        }
    }
}

/// Whether two addresses begin with the same bits.
fn agree<A: Address>(one: &A, other: &A, bits: u32) -> bool {
    let bytes = |address: &A| -> Vec<u8> {
        let words = address.words().iter();
        words.flat_map(|word| word.to_ne_bytes()).collect()
    };
    let (one, other) = (bytes(one), bytes(other));
    (0..bits as usize).all(|bit| (one[bit / 8] ^ other[bit / 8]) & 0x80 >> (bit % 8) == 0)
}

impl<F: TestFamily> Admissions<F> for Hosts<F> {
    fn admits(&self, key: &AdmissionKey<F::Address>) -> Option<bool> {
        let lists = self.admissions.lists.iter();
        let matching = lists.filter(|(prefix, bits, _)| {
            prefix.port_id == key.port_id && agree(&prefix.source, &key.source, *bits)
        });
        let longest = matching.max_by_key(|(_, bits, _)| *bits)?;
        Some(longest.2)
    }

    fn limit(&self, port_id: u32) -> Option<&Limit> {
        self.admissions.limits.get(&port_id)
    }

    fn bucket(&self, key: &LimitKey<F::Address>) -> Option<u64> {
        self.admissions.buckets.borrow().get(key).copied()
    }

    fn set_bucket(&self, key: &LimitKey<F::Address>, full_at: u64) {
        self.admissions.buckets.borrow_mut().insert(*key, full_at);
    }
}
