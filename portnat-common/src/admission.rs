//! Who may open flows by a published port: lists of prefixes, and how many each source may open in a
//! second.

use crate::family::Family;
use crate::settings::Ticks;

/// [`crate::Published::flags`]: who may open flows is told by lists, see [`Admissions::admits`].
pub const LISTED: u32 = 1;
/// [`crate::Published::flags`]: how many flows a source may open is limited, see [`Limit`].
pub const LIMITED: u32 = 1 << 1;

/// What a list is asked. In the trie a prefix is 32 bits longer than its own: those of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct AdmissionKey<A> {
    /// The published port's id.
    pub port_id: u32,
    /// Who opens a flow.
    pub source: A,
}

const _: () = assert!(size_of::<AdmissionKey<crate::Ip4>>() == 8);
const _: () = assert!(size_of::<AdmissionKey<crate::Ip6>>() == 20);

/// Whose new flows are counted together: a source's at one published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct LimitKey<A> {
    /// The published port's id.
    pub port_id: u32,
    /// The source: an IPv4 address, an IPv6 site ([`crate::Address::site`]), or a container's or
    /// neighbour's IPv6 address.
    pub source: A,
}

const _: () = assert!(size_of::<LimitKey<crate::Ip4>>() == 8);
const _: () = assert!(size_of::<LimitKey<crate::Ip6>>() == 20);

/// How many flows each source may open by a published port: a bucket of [`Limit::burst`] tokens, into
/// which [`Limit::rate`] drop in each period. A flow takes one.
///
/// A bucket is one number, the time at which it will be full again, in units of a tick's `rate`-th
/// part. So it is read and written whole, and nothing is ever rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// How many in a period; not more than [`Limit::MOST`].
    pub rate: u32,
    /// How many at once, at least 1 and not more than [`Limit::MOST`].
    pub burst: u32,
    /// The period in ticks; at most an hour's. It is also what a token is worth in a bucket's units.
    pub period: Ticks,
}

const _: () = assert!(size_of::<Limit>() == 16);

impl Limit {
    /// The highest rate and burst: with it no number overflows before the host has been up for
    /// centuries.
    pub const MOST: u32 = 1_000_000;

    /// Takes a token from the bucket that will be full at `full_at`, and returns when it will be full
    /// then; `None` where there is no token in it. A bucket that nobody has taken from is full at 0.
    #[inline(always)]
    #[must_use]
    pub const fn spend(&self, full_at: u64, now: Ticks) -> Option<u64> {
        let now = now.0.wrapping_mul(self.rate as u64);
        let room = self.period.0.wrapping_mul(self.burst as u64);
        let missing = full_at.saturating_sub(now);
        // More than fits was reckoned by another limit, which the port had before.
        let missing = if missing > room { 0 } else { missing };
        let left = missing.wrapping_add(self.period.0);
        if left > room {
            return None;
        }
        Some(now.wrapping_add(left))
    }
}

/// What the NAT asks about who may come in.
pub trait Admissions<F: Family> {
    /// What the longest prefix of the port's lists that the source lies in says; `None` where it lies in
    /// none.
    fn admits(&self, key: &AdmissionKey<F::Address>) -> Option<bool>;

    /// The limit of a published port.
    fn limit(&self, port_id: u32) -> Option<&Limit>;

    /// When a source's bucket is full, see [`Limit::spend`].
    fn bucket(&self, key: &LimitKey<F::Address>) -> Option<u64>;

    /// Says when it is full from now on. Where there are too many the oldest are forgotten, which are
    /// full then.
    fn set_bucket(&self, key: &LimitKey<F::Address>, full_at: u64);
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Each number is how many ticks pass before the next flow. Returns when flows passed.
    fn passes(limit: &Limit, pauses: &[u64]) -> Vec<u64> {
        let (mut full_at, mut now) = (0, 1 << 32);
        let mut passed = Vec::new();
        for pause in pauses {
            now += pause;
            if let Some(later) = limit.spend(full_at, Ticks(now)) {
                full_at = later;
                passed.push(now);
            }
        }
        passed
    }

    fn limits() -> impl Strategy<Value = Limit> {
        let seconds = prop::sample::select(std::vec![1_u64, 60, 3600]);
        let hz = prop::sample::select(std::vec![100_u64, 250, 1000]);
        let number = || prop_oneof![1..20_u32, 1..=Limit::MOST];
        (number(), number(), seconds, hz).prop_map(|(rate, burst, seconds, hz)| Limit {
            rate,
            burst,
            period: Ticks(seconds * hz),
        })
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        let limit = Limit {
            rate: 10,
            burst: 3,
            period: Ticks(100),
        };
        assert_eq!(passes(&limit, &[0; 50]).len(), 3);
        // One each tenth of a second.
        assert_eq!(passes(&limit, &[1; 100]).len(), 3 + 9);
        // A bucket does not hold more than it holds.
        let pauses: Vec<_> = [0; 5].into_iter().chain([10_000]).chain([0; 5]).collect();
        assert_eq!(passes(&limit, &pauses).len(), 6);
    }

    proptest! {
        /// In no time, from any flow to any other, more pass than the rate and a burst.
        #[test]
        fn never_more_than_the_rate_and_a_burst(
            limit in limits(),
            pauses in prop::collection::vec(prop_oneof![Just(0), 0..3_u64, 0..5000_u64], 1..200),
        ) {
            let passed = passes(&limit, &pauses);
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let dropped_in = u128::from(to - from) * u128::from(limit.rate)
                        / u128::from(limit.period.0);
                    let most = dropped_in + u128::from(limit.burst);
                    prop_assert!((last - first + 1) as u128 <= most);
                }
            }
        }

        /// Who keeps to the rate is never refused.
        #[test]
        fn who_keeps_to_the_rate_passes(limit in limits(), flows in 1..100_usize) {
            let pause = limit.period.0.div_ceil(limit.rate.into());
            prop_assert_eq!(passes(&limit, &std::vec![pause; flows]).len(), flows);
        }

        /// Whatever another limit, which the port had before, has left of a bucket: in the time that it
        /// takes to fill an empty one it is full.
        #[test]
        fn a_bucket_of_another_limit_is_full_in_time(limit in limits(), full_at in any::<u64>()) {
            let fills = (limit.period.0 * u64::from(limit.burst)).div_ceil(limit.rate.into());
            let now = Ticks((1 << 32) + fills);
            let begun = (1_u64 << 32) * u64::from(limit.rate);
            let empty = begun + limit.period.0 * u64::from(limit.burst);
            // What this limit itself can have left, and what it cannot.
            prop_assume!(full_at <= empty || full_at > now.0 * u64::from(limit.rate) + empty);
            let mut full_at = full_at;
            for _ in 0..limit.burst.min(1000) {
                let spent = limit.spend(full_at, now);
                prop_assert!(spent.is_some());
                full_at = spent.unwrap_or_default();
            }
        }
    }
}
