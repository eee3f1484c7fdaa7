//! How long the parts of a start take.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Measures one part after the other.
pub(super) struct Stopwatch {
    begun: Instant,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    /// Begins.
    pub(super) fn start() -> Self {
        let begun = Instant::now();
        Stopwatch {
            begun,
            last: begun,
            parts: Vec::new(),
        }
    }

    /// This part has ended, and the next one begins.
    pub(super) fn ended(&mut self, part: &'static str) {
        let now = Instant::now();
        self.parts.push((part, now - self.last));
        self.last = now;
    }

    /// How long all of them took.
    pub(super) fn total(&self) -> Duration {
        self.last - self.begun
    }
}

/// As `reading 12 ms, loading 80 ms`.
impl fmt::Display for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (part, took)) in self.parts.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{part} {} ms", took.as_millis())?;
        }
        Ok(())
    }
}
