//! Who comes by the socket, and how many at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tracing::warn;

use super::Request;
use super::http::{converse, refusal};
use super::routes::{self, Desk};
use super::socket::{Files, Socket};

/// How many connections of root there are at once; more wait until one ends.
const CONNECTIONS: usize = 16;
/// How many of others, who are only told to go, and are not told if there are more.
const STRANGERS: usize = 4;
/// How long nobody is let in when the system has no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);
/// How many requests wait for the daemon's loop.
const QUEUE: usize = 8;

/// Serves a socket until it is dropped; then its file is gone, and whoever waits for an answer
/// hears no more.
#[derive(Debug)]
#[must_use = "it serves until it is dropped"]
pub struct Server {
    accepting: AbortHandle,
    _files: Files,
}

impl Server {
    /// Serves `socket` on this runtime. What is asked of the daemon comes out of the other end.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub fn start(socket: Socket) -> io::Result<(Self, mpsc::Receiver<Request>)> {
        let listener = UnixListener::from_std(socket.listener)?;
        let (requests, asked) = mpsc::channel(QUEUE);
        let accepting = tokio::spawn(accept(listener, Desk::new(requests)));
        let server = Server {
            accepting: accepting.abort_handle(),
            _files: socket.files,
        };
        Ok((server, asked))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one client, who is root, whatever it comes by. Of the socket there is a [`Server`]; this is for
/// who plays both ends.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, requests: mpsc::Sender<Request>) {
    let desk = Desk::new(requests);
    converse(stream, |request| routes::answer(request, desk.clone())).await;
}

async fn accept(listener: UnixListener, desk: Desk) {
    let root = Arc::new(Semaphore::new(CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut talks = JoinSet::new();
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&root).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("accepting at the control socket: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        if is_root(&stream) {
            let desk = desk.clone();
            talks.spawn(async move {
                converse(stream, |request| routes::answer(request, desk.clone())).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&strangers).try_acquire_owned() {
            talks.spawn(async move {
                let words = "the control socket is for root alone: use sudo";
                converse(stream, async |_| refusal(StatusCode::FORBIDDEN, words)).await;
                drop(place);
            });
        }
        while talks.try_join_next().is_some() {}
    }
}

/// Whether root is at the other end (SO_PEERCRED, unix(7)): who it was when it connected. The
/// file's mode says the same, but somebody may change that.
fn is_root(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
}
