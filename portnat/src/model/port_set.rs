//! A set of ports.

/// Some of the 65,536 ports.
#[derive(Clone, Debug)]
pub(super) struct PortSet(Box<[u64; 1024]>);

impl PortSet {
    /// None at all.
    pub(super) fn new() -> Self {
        PortSet(Box::new([0; 1024]))
    }

    /// Adds the ports from `first` to `last`, both included.
    pub(super) fn insert(&mut self, first: u16, last: u16) {
        // A word at a time: there may be many long ranges.
        let (low, high) = (usize::from(first / 64), usize::from(last / 64));
        for word in low..=high {
            let mut bits = u64::MAX;
            if word == low {
                bits &= u64::MAX << (first % 64);
            }
            if word == high {
                bits &= u64::MAX >> (63 - last % 64);
            }
            self.0[word] |= bits;
        }
    }

    /// Whether `port` is in it.
    pub(super) fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port / 64)] >> (port % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_inserted_is_in_it(ranges in prop::collection::vec(any::<(u16, u16)>(), 0..4)) {
            let mut set = PortSet::new();
            let ranges: Vec<_> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            for (first, last) in &ranges {
                set.insert(*first, *last);
            }
            for port in 0..=u16::MAX {
                let expected = ranges.iter().any(|(first, last)| (*first..=*last).contains(&port));
                prop_assert_eq!(set.contains(port), expected);
            }
        }
    }
}
