//! What goes on all the time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portnat::lab::{Lab, Namespace, probe};

use crate::support::{at, eventually};

/// How long lies between two words.
const PACE: Duration = Duration::from_millis(5);

/// How long an answer is waited for, of what may be lost.
const SILENCE: Duration = Duration::from_millis(100);

/// Conversations, each on a thread of its own.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    talks: Vec<Talk>,
}

struct Talk {
    what: &'static str,
    heard: Arc<AtomicU64>,
    /// Returns how often it spoke.
    thread: JoinHandle<u64>,
}

impl Load {
    pub(super) fn start(lab: &Lab) -> Self {
        let mut load = Load {
            over: Arc::new(AtomicBool::new(false)),
            talks: Vec::new(),
        };
        let client = || lab.client.clone();
        let steady = || lab.containers[0].namespace.clone();
        let moving = || lab.containers[1].namespace.clone();
        let (host, host_v6) = (Lab::HOST, Lab::HOST_V6);
        load.tcp("TCP, published", &client(), at(host, 8080));
        load.tcp("TCP, published, IPv6", &client(), at(host_v6, 8080));
        load.tcp("TCP, masqueraded", &steady(), at(Lab::CLIENT, 7));
        load.tcp("TCP, hairpin", &steady(), at(host, 8080));
        load.udp("UDP, published", client(), at(host, 5353));
        load.udp("UDP, published, to whom moves", client(), at(host, 5354));
        load.udp("UDP, masqueraded", steady(), at(Lab::CLIENT, 7));
        load.udp(
            "UDP, masqueraded, of whom moves",
            moving(),
            at(Lab::CLIENT, 7),
        );
        load.udp("UDP, masqueraded, IPv6", steady(), at(Lab::CLIENT_V6, 7));
        load.pings("ping, masqueraded", steady());
        load
    }

    /// A connection, of which every word comes back, however late.
    fn tcp(&mut self, what: &'static str, from: &Namespace, to: SocketAddr) {
        let mut stream = probe::tcp_connect(from, None, to).expect("a connection");
        self.talk(what, move |over, heard| numbers(&mut stream, over, heard));
    }

    /// Datagrams of one socket, some of which are lost while something happens.
    fn udp(&mut self, what: &'static str, from: Namespace, to: SocketAddr) {
        let mut socket = None;
        let mut word = 0_u64;
        self.often(what, move || {
            let open = match socket.take() {
                Some(open) => open,
                None => connect(&from, to)?,
            };
            word += 1;
            // Who moves has another address then, and so another socket.
            open.send(&word.to_be_bytes()).ok()?;
            let mut answer = [0; 8];
            let heard = loop {
                match open.recv(&mut answer) {
                    // An earlier one may be late.
                    Ok(_) if answer != word.to_be_bytes() => {}
                    heard => break heard,
                }
            };
            socket = Some(open);
            heard.ok().map(|_| ())
        });
    }

    fn pings(&mut self, what: &'static str, from: Namespace) {
        let mut sequence = 0;
        self.often(what, move || {
            sequence += 1;
            probe::ping(&from, Lab::CLIENT, 7, sequence).ok()
        });
    }

    /// What is tried again and again, and need not work each time.
    fn often(
        &mut self,
        what: &'static str,
        mut speak: impl FnMut() -> Option<()> + Send + 'static,
    ) {
        self.talk(what, move |over, heard| {
            let mut said = 0;
            while !over.load(Ordering::Relaxed) {
                said += 1;
                if speak().is_some() {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(PACE);
            }
            said
        });
    }

    fn talk(
        &mut self,
        what: &'static str,
        talk: impl FnOnce(&AtomicBool, &AtomicU64) -> u64 + Send + 'static,
    ) {
        let heard = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (over, heard) = (Arc::clone(&self.over), Arc::clone(&heard));
            move || talk(&over, &heard)
        });
        self.talks.push(Talk {
            what,
            heard,
            thread,
        });
    }

    /// Waits until all of them have heard something again.
    #[track_caller]
    pub(super) fn goes_on(&self, when: &str) {
        let heard = |talk: &Talk| talk.heard.load(Ordering::Relaxed);
        let before: Vec<_> = self.talks.iter().map(heard).collect();
        for (talk, before) in self.talks.iter().zip(before) {
            eventually(&format!("{}, {when}", talk.what), || {
                assert!(!talk.thread.is_finished(), "{} broke {when}", talk.what);
                if heard(talk) > before + 2 {
                    Ok(())
                } else {
                    Err(before)
                }
            });
        }
    }

    /// Ends all; says how much was said and heard. Of connections nothing is lost.
    #[track_caller]
    pub(super) fn end(self) -> String {
        self.over.store(true, Ordering::Relaxed);
        let lines = self.talks.into_iter().map(|talk| {
            let said = talk.thread.join().expect(talk.what);
            let heard = talk.heard.load(Ordering::Relaxed);
            format!("{}: {said} said, {heard} heard\n", talk.what)
        });
        lines.collect()
    }
}

fn connect(from: &Namespace, to: SocketAddr) -> Option<UdpSocket> {
    let socket = probe::udp_connect(from, None, to).ok()?;
    socket.set_read_timeout(Some(SILENCE)).ok()?;
    Some(socket)
}

fn numbers(stream: &mut TcpStream, over: &AtomicBool, heard: &AtomicU64) -> u64 {
    // As long as TCP itself goes on.
    stream.set_read_timeout(None).expect("settable");
    stream.set_write_timeout(None).expect("settable");
    let mut said = 0_u64;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&said.to_be_bytes()).expect("sent");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, said.to_be_bytes());
        said += 1;
        heard.store(said, Ordering::Relaxed);
        thread::sleep(PACE);
    }
    said
}
