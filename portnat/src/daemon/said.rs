//! What is wrong is said once, for as long as it is so.

/// What was so at the last look.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<String>);

impl Said {
    /// Takes what is so now; returns what of it was not said before.
    pub(super) fn news(&mut self, now: Vec<String>) -> Vec<String> {
        let mut news = now.clone();
        news.retain(|new| !self.0.contains(new));
        self.0 = now;
        news
    }

    /// Takes something that is so too; returns it, if it was not said before.
    pub(super) fn also(&mut self, so: String) -> Option<String> {
        if self.0.contains(&so) {
            return None;
        }
        self.0.push(so.clone());
        Some(so)
    }

    /// All that is so.
    pub(super) fn all(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_is_said_until_it_is_not() {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut said = Said::default();
        assert_eq!(said.news(list(&["a", "b"])), ["a", "b"]);
        assert_eq!(said.news(list(&["b", "c"])), ["c"]);
        assert_eq!(said.also("c".to_owned()), None);
        assert_eq!(said.also("d".to_owned()).as_deref(), Some("d"));
        assert_eq!(said.all(), ["b", "c", "d"]);
        assert_eq!(said.news(list(&["a"])), ["a"]);
    }
}
