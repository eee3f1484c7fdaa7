//! Whether packets go past the host's stack.

/// Which packets of established flows go past the host's stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FastPath {
    /// All that may, as long as connection tracking takes it.
    #[default]
    Auto,
    /// All that may, also where connection tracking then drops what ends a connection.
    Always,
    /// None.
    Off,
}

impl FastPath {
    /// Whether packets go past the stack, where connection tracking takes it or does not.
    #[must_use]
    pub const fn lets_past(self, is_liberal: bool) -> bool {
        match self {
            FastPath::Auto => is_liberal,
            FastPath::Always => true,
            FastPath::Off => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_tracking_has_a_say_unless_told_otherwise() {
        let lets_past = |path: FastPath| [false, true].map(|liberal| path.lets_past(liberal));
        assert_eq!(lets_past(FastPath::Auto), [false, true]);
        assert_eq!(lets_past(FastPath::Always), [true, true]);
        assert_eq!(lets_past(FastPath::Off), [false, false]);
    }
}
