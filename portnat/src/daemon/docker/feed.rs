//! What Docker has is looked at whenever something happens there, for as long as portnat runs.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::dead::Dead;
use crate::docker::{Client, ClientError, Moment, Observed};

/// How long after Docker has gone it is asked again for the first time; each further time it is twice as
/// long.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// How long at most.
const LAST_DELAY: Duration = Duration::from_secs(10);

/// How long after something has happened, and how long after that, it is looked at once more: Docker tells
/// of some things before its lists have them (20.10 and 28.5, of a network that is connected).
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// What is heard of Docker.
#[derive(Debug)]
pub(in crate::daemon) enum News {
    /// What it has now.
    Observed(Observed),
    /// It does not answer. This is told once.
    Gone,
}

/// Begins to look.
pub(super) fn follow(socket: PathBuf) -> mpsc::Receiver<News> {
    // Who is slow to hear gets the newest, as nothing is looked at meanwhile.
    let (tell, news) = mpsc::channel(1);
    let feed = Feed {
        socket,
        tell,
        last: Observed::default(),
        gone: false,
        delay: FIRST_DELAY,
    };
    tokio::spawn(feed.run());
    news
}

struct Feed {
    socket: PathBuf,
    tell: mpsc::Sender<News>,
    /// What was there at the last look.
    last: Observed,
    /// Whether it was said that Docker does not answer.
    gone: bool,
    delay: Duration,
}

/// Why the looking is over.
enum Over {
    /// For now.
    Docker(Option<ClientError>),
    /// For good: nobody wants to hear more.
    Unheard,
}

impl From<ClientError> for Over {
    fn from(error: ClientError) -> Self {
        Over::Docker(Some(error))
    }
}

impl Feed {
    async fn run(mut self) {
        loop {
            let why = match self.look().await {
                Ok(never) => match never {},
                Err(Over::Unheard) => return,
                Err(Over::Docker(why)) => why,
            };
            if !self.gone {
                let why = why.map_or("it has ended".to_owned(), |error| error.to_string());
                let socket = self.socket.display();
                warn!(
                    "Docker does not answer at {socket}: {why}; all stays as it is until it does"
                );
                self.gone = true;
                if self.tell.send(News::Gone).await.is_err() {
                    return;
                }
            }
            sleep(self.delay).await;
            self.delay = (self.delay * 2).min(LAST_DELAY);
        }
    }

    /// Looks, and again whenever something happens, until Docker does not answer.
    async fn look(&mut self) -> Result<Infallible, Over> {
        let mut client = Client::connect(&self.socket).await?;
        // What happens from here on is told, also if we listen a little later.
        let mut events = client.events();
        let mut later = AGAIN.iter();
        let mut dead = Dead::default();
        loop {
            let asked = Moment::now();
            let mut observed = client.observe().await?;
            dead.leave_out(&mut observed);
            self.tell(observed).await?;
            if self.gone {
                info!("Docker answers again at {}", self.socket.display());
                self.gone = false;
            }
            self.delay = FIRST_DELAY;
            let mut next = match later.next() {
                Some(delay) => timeout(*delay, events.next()).await.ok(),
                None => Some(events.next().await),
            };
            if next.is_some() {
                later = AGAIN.iter();
            }
            while let Some(event) = next {
                dead.hear(event.ok_or(Over::Docker(None))??, asked);
                // Those that have come already have one look together.
                next = events.next().now_or_never();
            }
            // Who has died is gone at once: Docker may be about to end too, and not answer any more.
            if let Some(left) = dead.without(&self.last) {
                self.tell(left).await?;
            }
        }
    }

    async fn tell(&mut self, observed: Observed) -> Result<(), Over> {
        if observed == self.last && !self.gone && !self.last.networks.is_empty() {
            return Ok(());
        }
        self.last = observed.clone();
        let told = self.tell.send(News::Observed(observed)).await;
        told.map_err(|_| Over::Unheard)
    }
}
