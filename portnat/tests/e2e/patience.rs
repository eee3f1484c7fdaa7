//! How long tests wait for what is to come.

use std::env;
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take that is met within milliseconds on a machine with nothing else to
/// do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The same in seconds, for machines that are slower by far.
const PATIENCE_VARIABLE: &str = "PORTNAT_TEST_PATIENCE";
/// How often a condition is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

/// How long a condition may take: [`PATIENCE`], or what the environment says.
pub(crate) fn patience() -> Duration {
    let seconds = env::var(PATIENCE_VARIABLE).ok();
    seconds.map_or(PATIENCE, |seconds| {
        let seconds = seconds.parse().expect("a number of seconds");
        Duration::from_secs(seconds)
    })
}

/// Tries until it works.
///
/// # Panics
/// When it does not, in [`patience`]; with the last failure.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => panic!("{what}: still {error:?}"),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}
