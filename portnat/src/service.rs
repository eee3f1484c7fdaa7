//! What a service manager is told (sd_notify(3)): that we are ready, reload, stop, what we do, and that
//! our loop still turns.

use std::future::pending;
use std::io;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::debug;

/// How many published ports are named in the status.
const NAMED: usize = 3;

/// The service manager that has started us, if one has (`NOTIFY_SOCKET`).
#[derive(Debug, Default)]
pub struct Service {
    /// Whether there is one.
    listens: bool,
    /// When it is to be told next that the loop turns, where it wants to know (`WATCHDOG_USEC`).
    watchdog: Option<Interval>,
    /// What it was told last of what we do.
    status: String,
}

impl Service {
    /// The one that the environment names. To be called within a runtime.
    #[must_use]
    pub fn from_environment() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = watchdog_enabled().filter(|_| listens).map(|patience| {
            // A third, so that two of them may be late.
            let mut watchdog = interval((patience / 3).max(Duration::from_millis(1)));
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            watchdog
        });
        Service {
            listens,
            watchdog,
            status: String::new(),
        }
    }

    /// All that was asked for is done.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The config is being read anew. [`Service::ready`] has to follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!("reading the clock for the service manager: {error}"),
        }
    }

    /// We are about to end.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// What we do, if that is not what it was; `status` is asked only if somebody listens.
    pub fn status(&mut self, status: impl FnOnce() -> String) {
        if !self.listens {
            return;
        }
        let status = status();
        if status != self.status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Waits until [`Service::ping`] is due, which may be never.
    pub async fn due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => drop(watchdog.tick().await),
            None => pending().await,
        }
    }

    /// Our loop turns.
    pub fn ping(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, news: &[NotifyState<'_>]) {
        let told = match self.listens {
            true => notify(news),
            false => Ok::<_, io::Error>(()),
        };
        // It may be gone, or not hear us just now: no reason to stop forwarding.
        if let Err(error) = told {
            debug!("telling the service manager: {error}");
        }
    }
}

/// What is published, in a line.
pub(crate) fn status<P: ToString>(published: &[P], uplinks: usize) -> String {
    let number = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let ports = number(published.len(), "published port");
    let uplinks = number(uplinks, "uplink");
    let mut named: Vec<_> = published
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    if published.len() > NAMED {
        named.push(format!("and {} more", published.len() - NAMED));
    }
    let named = named.join(", ");
    match published.is_empty() {
        true => format!("{ports}, {uplinks}"),
        false => format!("{ports}, {uplinks}: {named}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_line_however_much_is_published() {
        assert_eq!(status::<&str>(&[], 0), "0 published ports, 0 uplinks");
        assert_eq!(status(&["a"], 1), "1 published port, 1 uplink: a");
        assert_eq!(
            status(&["a", "b", "c", "d", "e"], 2),
            "5 published ports, 2 uplinks: a, b, c, and 2 more"
        );
    }

    #[test]
    fn a_status_is_told_if_it_is_news() {
        let mut deaf = Service::default();
        deaf.status(|| unreachable!("nobody listens"));
    }
}
