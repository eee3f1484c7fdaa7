//! Whether a value that was changed is still to be put back.

/// What becomes of a changed value at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it was set: put the previous one back.
    PutBack,
    /// It is as it was before: somebody else has put it back.
    AsBefore,
    /// It is neither: somebody else has set it since, and has the say.
    SetSince,
    /// Somebody else made the whole host forward since, and relies on it for this link too. Docker
    /// does, when it starts; it looks at `ip_forward` only then, and would not notice the loss.
    HostForwards,
}

/// Judges a value that was `previous`, was `set`, and is `now`. `host_forwards` is whether the
/// whole host does that did not when the value was set; it matters only for the value 0.
pub(super) fn verdict(previous: &str, set: &str, now: &str, host_forwards: bool) -> Verdict {
    if now == previous {
        Verdict::AsBefore
    } else if now != set {
        Verdict::SetSince
    } else if host_forwards && previous == "0" {
        Verdict::HostForwards
    } else {
        Verdict::PutBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_it_was_set_is_put_back() {
        assert_eq!(verdict("0", "1", "1", false), Verdict::PutBack);
        assert_eq!(verdict("1", "2", "2", false), Verdict::PutBack);
    }

    #[test]
    fn what_somebody_else_has_set_since_is_left_alone() {
        assert_eq!(verdict("0", "1", "0", false), Verdict::AsBefore);
        assert_eq!(verdict("1", "2", "0", false), Verdict::SetSince);
        assert_eq!(verdict("1", "2", "0", true), Verdict::SetSince);
    }

    #[test]
    fn forwarding_is_not_taken_from_a_host_that_was_made_to_forward() {
        assert_eq!(verdict("0", "1", "1", true), Verdict::HostForwards);
        assert_eq!(verdict("1", "2", "2", true), Verdict::PutBack);
    }
}
