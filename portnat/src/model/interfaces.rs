//! Which interfaces the user means.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use glob::Pattern;

/// An interface by its name, or several by a pattern as shells have it: `br-*`, `eth?`, `veth[ab]*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    text: String,
    /// `None` for a name.
    pattern: Option<Pattern>,
}

impl Interfaces {
    /// Whether the interface of this name is meant.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match &self.pattern {
            // A name may be any characters, also those of a pattern.
            Some(pattern) => pattern.matches(name) || self.text == name,
            None => self.text == name,
        }
    }

    /// The name, where only one interface can be meant: it should be there.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.pattern.is_none().then_some(&*self.text)
    }
}

impl From<&str> for Interfaces {
    fn from(text: &str) -> Self {
        let is_pattern = text.contains(['*', '?', '[']);
        // What is no pattern is a name, odd as it may be.
        let pattern = is_pattern.then(|| Pattern::new(text).ok()).flatten();
        let text = text.to_owned();
        Interfaces { text, pattern }
    }
}

impl FromStr for Interfaces {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_several_and_a_name_one() {
        let br = Interfaces::from("br-*");
        assert!(br.contains("br-1") && br.contains("br-") && !br.contains("br1"));
        assert_eq!(br.name(), None);
        let eth = Interfaces::from("eth?");
        assert!(eth.contains("eth0") && !eth.contains("eth10"));
        let name = Interfaces::from("eth0");
        assert!(name.contains("eth0") && !name.contains("eth00"));
        assert_eq!(name.name(), Some("eth0"));
        // No pattern, and a name that Linux allows.
        let odd = Interfaces::from("a[b");
        assert!(odd.contains("a[b"));
        assert_eq!(odd.name(), Some("a[b"));
    }
}
