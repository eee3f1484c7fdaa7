//! Conversations that go on while daemons come and go, and of which each word is counted.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portnat::lab::{Namespace, probe};

use crate::support::eventually;

/// How long lies between two datagrams.
const PACE: Duration = Duration::from_millis(1);

/// How many datagrams are on their way at most. More than that may find no room at a busy machine's
/// sockets, and be lost there.
const WINDOW: u64 = 64;

/// How long it is listened for answers that have not come at the end: on a busy machine a packet waits, and
/// is not lost.
const SILENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether this is the end.
const LOOK: Duration = Duration::from_millis(50);

/// A conversation on a thread of its own.
pub(crate) struct Talk {
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Talk {
    /// Sends numbered datagrams to an echo server.
    pub(crate) fn udp(from: &Namespace, to: SocketAddr) -> Self {
        let socket = probe::udp_connect(from, None, to).expect("a socket");
        Self::start(move |stop, heard| datagrams(&socket, stop, heard))
    }

    /// Sends numbers to an echo server on one connection.
    pub(crate) fn tcp(from: &Namespace, to: SocketAddr) -> Self {
        let stream = probe::tcp_connect(from, None, to).expect("a connection");
        Self::start(move |stop, heard| numbers(stream, stop, heard))
    }

    fn start(talk: impl FnOnce(&AtomicBool, &AtomicU64) -> u64 + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, heard) = (Arc::clone(&stop), Arc::clone(&heard));
            move || talk(&stop, &heard)
        });
        let talk = Talk {
            stop,
            heard,
            thread,
        };
        talk.goes_on();
        talk
    }

    /// Waits until more has come back than before.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let before = self.heard.load(Ordering::Relaxed);
        eventually("a conversation that goes on", || {
            let now = self.heard.load(Ordering::Relaxed);
            if now > before + 20 { Ok(()) } else { Err(now) }
        });
    }

    /// Ends it; all that was said has come back.
    #[track_caller]
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let said = self.thread.join().expect("nothing is lost");
        assert_eq!(self.heard.load(Ordering::Relaxed), said);
    }
}

/// Returns how many were sent, once all have come back or nothing does any more.
fn datagrams(socket: &UdpSocket, stop: &AtomicBool, heard: &AtomicU64) -> u64 {
    let listener = socket.try_clone().expect("a descriptor");
    listener.set_read_timeout(Some(LOOK)).expect("settable");
    // How many were sent, once that is all.
    let all = OnceLock::new();
    let mut sent = 0u64;
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut datagram, mut last) = ([0; 8], Instant::now());
            loop {
                match listener.recv(&mut datagram) {
                    Ok(_) => {
                        heard.fetch_add(1, Ordering::Relaxed);
                        last = Instant::now();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        let is_all = |all| heard.load(Ordering::Relaxed) >= all;
                        let ended = |all: &u64| is_all(*all) || last.elapsed() > SILENCE;
                        if all.get().is_some_and(ended) {
                            return;
                        }
                    }
                    Err(error) => panic!("listening: {error}"),
                }
            }
        });
        while !stop.load(Ordering::Relaxed) {
            if sent - heard.load(Ordering::Relaxed) >= WINDOW {
                thread::sleep(PACE);
                continue;
            }
            socket.send(&sent.to_be_bytes()).expect("sent");
            sent += 1;
            thread::sleep(PACE);
        }
        all.set(sent).expect("once");
    });
    sent
}

fn numbers(mut stream: TcpStream, stop: &AtomicBool, heard: &AtomicU64) -> u64 {
    let mut said = 0u64;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&said.to_be_bytes()).expect("sent");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, said.to_be_bytes());
        said += 1;
        heard.store(said, Ordering::Relaxed);
    }
    said
}
