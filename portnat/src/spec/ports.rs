//! Ports in a row.

use std::fmt;
use std::num::{NonZeroU16, ParseIntError};
use std::str::FromStr;

/// The ports from one to another, both included; most often just one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    first: NonZeroU16,
    last: NonZeroU16,
}

impl Ports {
    /// The ports from `first` to `last`; `None` if they are in the wrong order.
    #[must_use]
    pub fn new(first: NonZeroU16, last: NonZeroU16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// So many ports from `first` on; `None` if there are not so many.
    #[must_use]
    pub fn from_first(first: NonZeroU16, count: NonZeroU16) -> Option<Self> {
        let last = first.checked_add(count.get() - 1)?;
        Some(Self { first, last })
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> NonZeroU16 {
        self.first
    }

    /// The last port.
    #[must_use]
    pub const fn last(self) -> NonZeroU16 {
        self.last
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> NonZeroU16 {
        let others = self.last.get() - self.first.get();
        NonZeroU16::MIN.saturating_add(others)
    }

    /// The port, if it is only one.
    #[must_use]
    pub fn single(self) -> Option<NonZeroU16> {
        (self.first == self.last).then_some(self.first)
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first.get()..=self.last.get()).contains(&port)
    }

    /// Those that are `other`'s too.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = NonZeroU16> {
        (self.first.get()..=self.last.get()).filter_map(NonZeroU16::new)
    }
}

impl From<NonZeroU16> for Ports {
    fn from(port: NonZeroU16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl FromStr for Ports {
    type Err = ParseIntError;

    /// As they are displayed.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (NonZeroU16, NonZeroU16) = (first.parse()?, last.parse()?);
        Ok(Self {
            first: first.min(last),
            last: last.max(first),
        })
    }
}

/// `80`, or `80-90`.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(port) => write!(f, "{port}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, last: u16) -> Option<Ports> {
        Ports::new(NonZeroU16::new(first)?, NonZeroU16::new(last)?)
    }

    #[test]
    fn all_ports_and_one_port() {
        let all = ports(1, 65535).expect("in order");
        assert_eq!(
            (all.count().get(), all.iter().count(), all.single()),
            (65535, 65535, None)
        );
        assert_eq!(all.to_string(), "1-65535");
        let one = ports(80, 80).expect("in order");
        assert_eq!((one.count().get(), one.to_string()), (1, "80".to_owned()));
        assert_eq!(("80".parse(), "1-65535".parse()), (Ok(one), Ok(all)));
        assert!("".parse::<Ports>().is_err() && "0".parse::<Ports>().is_err());
        assert_eq!(ports(81, 80), None);
        assert_eq!(
            Ports::from_first(all.last(), all.first()),
            ports(65535, 65535)
        );
        assert_eq!(Ports::from_first(all.last(), one.last()), None);
    }

    #[test]
    fn what_two_ranges_share() {
        let shared = |a: (u16, u16), b: (u16, u16)| {
            let (a, b) = (ports(a.0, a.1)?, ports(b.0, b.1)?);
            assert_eq!(a.intersection(b), b.intersection(a));
            a.intersection(b)
        };
        assert_eq!(shared((80, 90), (85, 95)), ports(85, 90));
        assert_eq!(shared((80, 90), (90, 95)), ports(90, 90));
        assert_eq!(shared((80, 90), (1, 9)), None);
        assert_eq!(shared((80, 90), (82, 83)), ports(82, 83));
    }
}
