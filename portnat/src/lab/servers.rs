//! Servers that say whom they see: the other half of a [`probe`](super::probe).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::error::{During, Result};
use super::namespace::Namespace;

/// A request with a longer head than this is not one of the lab's.
const LONGEST_HEAD: usize = 8192;

/// A server in a namespace. It listens before its constructor returns, and until it is dropped;
/// then its connections are cut and its thread has ended.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    peers: Peers,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Returns each TCP connection's bytes, up to the client's end of file, then closes.
    ///
    /// # Errors
    /// When the address is taken, or not one of the namespace's.
    pub fn tcp_echo(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        Self::tcp(namespace, "tcp-echo", address, async |stream, _| {
            echo(&stream).await
        })
    }

    /// Answers each HTTP GET, whatever the path, with "hello, you are
    /// ADDRESS:PORT" — the client's, as the server sees it — and closes.
    ///
    /// # Errors
    /// When the address is taken, or not one of the namespace's.
    pub fn http(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        Self::tcp(namespace, "http", address, async |stream, peer| {
            greet(&stream, peer).await
        })
    }

    /// Returns each UDP datagram to its sender. Bind it to one address: from a wildcard, the
    /// answer may leave with another source than the request was sent to.
    ///
    /// # Errors
    /// When the address is taken, or not one of the namespace's.
    pub fn udp_echo(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let listen = async || {
            let socket = UdpSocket::bind(address).await?;
            Ok((socket.local_addr()?, socket))
        };
        Self::start(namespace, "udp-echo", address, listen, return_datagrams)
    }

    /// Where the server listens, with the port that the kernel chose in place of 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whom the server has seen: one entry for each connection or datagram, in the order of
    /// arrival. A client that has its answer is in the list.
    #[must_use]
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.peers.list()
    }

    /// Starts a TCP server that gives each connection to `answer`.
    fn tcp<F>(
        namespace: &Namespace,
        name: &str,
        address: SocketAddr,
        answer: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listen = async || {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let serve = async |listener, peers| accept(listener, peers, answer).await;
        Self::start(namespace, name, address, listen, serve)
    }

    /// Listens, then serves on a thread of its own, until the server is dropped.
    fn start<L: Send + 'static>(
        namespace: &Namespace,
        name: &str,
        address: SocketAddr,
        listen: impl AsyncFnOnce() -> io::Result<(SocketAddr, L)> + Send,
        serve: impl AsyncFnOnce(L, Peers) + Send + 'static,
    ) -> Result<Self> {
        let (runtime, address, listener) = namespace
            .run(|| {
                let runtime = Builder::new_current_thread().enable_io().build()?;
                let (address, listener) = runtime.block_on(listen())?;
                Ok::<(Runtime, _, _), io::Error>((runtime, address, listener))
            })
            .during(|| format!("listening on {address} for {name}"))?;

        let peers = Peers::default();
        let seen = peers.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn(name, move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, seen) => {}
                    _ = stopped => {}
                }
            });
            // The runtime ends here, and its connections with it.
        });
        Ok(Self {
            address,
            peers,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// The clients that a server has seen.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<Vec<SocketAddr>>>);

impl Peers {
    fn add(&self, peer: SocketAddr) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(peer);
    }

    fn list(&self) -> Vec<SocketAddr> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Gives each connection to `answer`. One that failed early, or an answer cut short, is for the
/// client to notice.
async fn accept<F>(listener: TcpListener, peers: Peers, answer: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        if let Ok((stream, peer)) = listener.accept().await {
            peers.add(peer);
            tokio::spawn(answer(stream, peer));
        }
    }
}

async fn return_datagrams(socket: UdpSocket, peers: Peers) {
    let mut datagram = vec![0; 1 << 16];
    loop {
        // An answer that finds no receiver is for the client to notice.
        if let Ok((length, peer)) = socket.recv_from(&mut datagram).await {
            peers.add(peer);
            let _ = socket.send_to(&datagram[..length], peer).await;
        }
    }
}

async fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match read(stream, &mut buffer).await? {
            0 => return Ok(()),
            length => write_all(stream, &buffer[..length]).await?,
        }
    }
}

/// Answers one HTTP/1.1 request. An HTTP library would want threads of its own, which outlive
/// the server and, with it, hold the namespace.
async fn greet(stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let length = read(stream, &mut buffer).await?;
        if length == 0 || head.len() > LONGEST_HEAD {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..length]);
    }
    let (status, body) = if head.starts_with(b"GET ") {
        ("200 OK", format!("hello, you are {peer}\n"))
    } else {
        (
            "405 Method Not Allowed",
            "only GET is answered here\n".into(),
        )
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nAllow: GET\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    write_all(stream, answer.as_bytes()).await
}

/// Reads what is there, and waits if that is nothing; 0 is the end.
async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
