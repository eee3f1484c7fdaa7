//! Real sockets: many short connections, and one that carries much.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portnat::lab::Namespace;
use socket2::{Domain, Socket, Type};

/// How long anything may take that a socket waits for: longer than a SYN's second try.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a server looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// More than CPUs, so that none is idle while a client waits.
const CLIENTS: usize = 8;
const SERVERS: usize = 4;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\
                          Connection: close\r\n\r\nhello\n";

/// What its threads share.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Exchanges done, or bytes received.
    done: AtomicU64,
    failed: AtomicU64,
}

/// Threads in a namespace, which end when this is dropped.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(
        namespace: &Namespace,
        name: &str,
        number: usize,
        work: impl Fn(&Shared) + Clone + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..number)
            .map(|_| {
                let (shared, work) = (Arc::clone(&shared), work.clone());
                namespace.spawn(name, move || {
                    while !shared.over.load(Ordering::Relaxed) {
                        work(&shared);
                    }
                })
            })
            .collect();
        Self { shared, threads }
    }

    /// A single one, which tells what it has done.
    pub(crate) fn one(
        namespace: &Namespace,
        name: &str,
        work: impl Fn(&dyn Fn(u64)) + Send + 'static,
    ) -> Self {
        let work = Arc::new(Mutex::new(work));
        Self::start(namespace, name, 1, move |shared| {
            // There is nobody else who could hold it.
            if let Ok(work) = work.lock() {
                work(&|done| {
                    shared.done.fetch_add(done, Ordering::Relaxed);
                });
            }
        })
    }

    /// What they have done so far.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// How often they have failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Answers requests, one a connection, and closes first, as web servers do.
pub(crate) fn serve(namespace: &Namespace, address: (Ipv4Addr, u16)) -> Result<Threads> {
    let listener = listen(namespace, address)?;
    Ok(Threads::start(namespace, "web", SERVERS, move |shared| {
        if let Some(mut stream) = accept(&listener)
            && stream.read(&mut [0; 512]).is_ok_and(|length| length > 0)
            && stream.write_all(RESPONSE).is_ok()
        {
            shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }))
}

/// Receives on each connection until its end, and counts bytes.
pub(crate) fn swallow(namespace: &Namespace, address: (Ipv4Addr, u16)) -> Result<Threads> {
    let listener = listen(namespace, address)?;
    Ok(Threads::start(namespace, "swallow", 1, move |shared| {
        let Some(mut stream) = accept(&listener) else {
            return;
        };
        let mut buffer = vec![0; 1 << 17];
        while !shared.over.load(Ordering::Relaxed)
            && let Ok(length @ 1..) = stream.read(&mut buffer)
        {
            shared.done.fetch_add(length as u64, Ordering::Relaxed);
        }
    }))
}

/// Asks again and again, each time on a new connection.
pub(crate) fn ask(namespace: &Namespace, address: (Ipv4Addr, u16)) -> Threads {
    Threads::start(namespace, "client", CLIENTS, move |shared| {
        let counter = match visit(address.into()) {
            Ok(()) => &shared.done,
            Err(_) => &shared.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    })
}

/// Sends on one connection for as long as it lasts.
pub(crate) fn pour(namespace: &Namespace, address: (Ipv4Addr, u16)) -> Threads {
    Threads::start(namespace, "pour", 1, move |shared| {
        let poured = connect(address.into()).and_then(|socket| {
            let mut stream = TcpStream::from(socket);
            let buffer = vec![0; 1 << 17];
            while !shared.over.load(Ordering::Relaxed) {
                stream.write_all(&buffer)?;
            }
            Ok(())
        });
        if poured.is_err() {
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Sends datagrams as fast as a socket takes them, from the CPU that packets are made on elsewhere.
pub(crate) fn fire(
    namespace: &Namespace,
    address: (Ipv4Addr, u16),
    length: usize,
) -> Result<Threads> {
    let socket = namespace.run(|| Socket::new(Domain::IPV4, Type::DGRAM, None))?;
    socket.connect(&SocketAddr::from(address).into())?;
    let socket = Arc::new(socket);
    let payload = vec![b'p'; length];
    Ok(Threads::start(namespace, "fire", 1, move |shared| {
        let pinned = crate::machine::pin_generator();
        while pinned.is_ok() && !shared.over.load(Ordering::Relaxed) {
            let counter = match socket.send(&payload) {
                Ok(_) => &shared.done,
                Err(_) => &shared.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }))
}

/// How many exchanges a second there are, after a while.
pub(crate) fn rate(threads: &Threads, warm_up: Duration, time: Duration) -> Result<f64> {
    thread::sleep(warm_up);
    let (started, before, failed) = (Instant::now(), threads.done(), threads.failed());
    thread::sleep(time);
    let (done, failed) = (threads.done() - before, threads.failed() - failed);
    let seconds = started.elapsed().as_secs_f64();
    ensure!(done > 0, "nothing gets through ({failed} failures)");
    if failed > 0 {
        crate::say(&format!("{failed} failures beside {done} successes"));
    }
    Ok(done as f64 / seconds)
}

fn visit(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::from(connect(address)?);
    stream.write_all(REQUEST)?;
    let mut response = [0; 512];
    let mut length = 0;
    loop {
        match stream.read(&mut response[length..])? {
            0 if length == RESPONSE.len() => return Ok(()),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Linux gives up connecting after it, too.
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&address.into())?;
    Ok(socket)
}

fn listen(namespace: &Namespace, address: (Ipv4Addr, u16)) -> Result<Arc<Socket>> {
    let socket = namespace.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(address).into())?;
    socket.listen(4096)?;
    // Linux gives up accepting after it.
    socket.set_read_timeout(Some(LOOK))?;
    Ok(Arc::new(socket))
}

/// The next connection, if there is one soon.
fn accept(listener: &Socket) -> Option<TcpStream> {
    let (socket, _) = listener.accept().ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(socket.into())
}
