//! The socket's file: made, taken over from the dead, removed.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Type};

use super::plain;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 64;

/// A listening socket, whose file is removed when this is dropped; and its directory, if that was
/// made for it and is empty.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) files: Files,
}

/// What was made for a socket, in the order of its removal.
#[derive(Debug)]
pub(super) struct Files {
    _file: OwnFile,
    _directory: Option<OwnDirectory>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error(
        "another portnat answers at {}, from another network namespace: give this one a socket of \
         its own with --socket PATH",
        .0.display()
    )]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{} is there and no socket: give another path with --socket PATH", .0.display())]
    NoSocket(PathBuf),
    /// Anything else.
    #[error(
        "making the control socket {}: {}: give another path with --socket PATH",
        path.display(),
        plain(cause)
    )]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl Socket {
    /// Listens at `path`, for root alone. The last directory of the path is made if it is not
    /// there, as systemd makes a RuntimeDirectory. What a killed portnat has left is replaced.
    ///
    /// # Errors
    /// Somebody answers there, something else is there, or the file system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |cause| SocketError::Io {
            path: path.to_owned(),
            cause,
        };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directory = make_directory(parent).map_err(failed)?;
        // Of two that find a dead one's socket at once the second would remove the first's.
        let locked = File::open(parent).map_err(failed)?;
        let _lock = Flock::lock(locked, FlockArg::LockExclusiveNonblock).map_err(
            |(_, cause)| match cause {
                Errno::EWOULDBLOCK => failed(io::Error::other(
                    "another process has locked the directory: try again",
                )),
                cause => failed(cause.into()),
            },
        )?;
        let listener = match listen(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                make_way(path)?;
                listen(path)
            }
            listener => listener,
        }
        .map_err(failed)?;
        let file = OwnFile::of(path).map_err(failed)?;
        Ok(Socket {
            listener,
            files: Files {
                _file: file,
                _directory: directory,
            },
        })
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The kernel gives the file the socket's own mode (net/unix/af_unix.c, unix_bind_bsd), so that
    // it is never there with another one.
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Removes a socket at which nobody answers.
fn make_way(path: &Path) -> Result<(), SocketError> {
    let failed = |cause| SocketError::Io {
        path: path.to_owned(),
        cause,
    };
    let there = fs::symlink_metadata(path).map_err(failed)?;
    if !there.file_type().is_socket() {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    match knock(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // One who has too much to do to accept answers too.
        Ok(()) => Err(SocketError::Taken(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(SocketError::Taken(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

fn knock(path: &Path) -> io::Result<()> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn make_directory(path: &Path) -> io::Result<Option<OwnDirectory>> {
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => Ok(Some(OwnDirectory(path.to_owned()))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// The socket's file, removed on drop if it is still the same.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(OwnFile {
            // The working directory may be another one by then.
            path: std::path::absolute(path)?,
            identity: identity(path)?,
        })
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // What cannot be removed is found dead by the next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A directory that was made for the socket, removed on drop if it is empty.
#[derive(Debug)]
struct OwnDirectory(PathBuf);

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        // Others may use it by now.
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("is there").mode() & 0o7777
    }

    #[test]
    fn it_is_the_owners_alone_and_leaves_nothing() {
        let folder = folder();
        let path = folder.path().join("portnat/portnat.sock");
        let socket = Socket::bind(&path).expect("a socket");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("portnat")), 0o755);
        UnixStream::connect(&path).expect("it listens");
        drop(socket);
        assert!(!folder.path().join("portnat").exists());
    }

    #[test]
    fn a_dead_ones_socket_is_replaced() {
        let folder = folder();
        let path = folder.path().join("portnat.sock");
        // Closed without being removed, as after SIGKILL.
        drop(UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists());
        let _socket = Socket::bind(&path).expect("the dead one's place");
        UnixStream::connect(&path).expect("it listens");
    }

    #[test]
    fn a_living_ones_socket_stays() {
        let folder = folder();
        let path = folder.path().join("portnat.sock");
        let _first = Socket::bind(&path).expect("a socket");
        let refusal = Socket::bind(&path)
            .expect_err("somebody listens")
            .to_string();
        let words = format!("another portnat answers at {}", path.display());
        assert!(refusal.contains(&words), "{refusal}");
        assert!(refusal.contains("--socket"), "{refusal}");
        UnixStream::connect(&path).expect("it still listens");
    }

    /// One that has too many callers to take another is alive.
    #[test]
    fn a_busy_ones_socket_stays() {
        let folder = folder();
        let path = folder.path().join("portnat.sock");
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = SockAddr::unix(&path).expect("an address");
        socket.bind(&address).expect("bound");
        socket.listen(0).expect("listening");
        let callers: Vec<_> = (0..8).map(|_| knock(&path)).collect();
        assert!(callers.iter().any(Result::is_err), "{callers:?}");
        let refusal = Socket::bind(&path).expect_err("somebody listens");
        assert!(matches!(refusal, SocketError::Taken(_)), "{refusal}");
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = folder();
        let path = folder.path().join("precious");
        fs::write(&path, "data").expect("written");
        let refusal = Socket::bind(&path).expect_err("a file").to_string();
        assert!(
            refusal.contains("precious is there and no socket"),
            "{refusal}"
        );
        assert_eq!(fs::read(&path).expect("is there"), b"data");
    }

    /// Somebody has put another in its place meanwhile.
    #[test]
    fn anothers_socket_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("portnat.sock");
        let first = Socket::bind(&path).expect("a socket");
        fs::rename(&path, folder.path().join("elsewhere")).expect("moved");
        let _second = Socket::bind(&path).expect("the place is free");
        drop(first);
        UnixStream::connect(&path).expect("the second listens");
    }

    #[test]
    fn a_path_that_cannot_be() {
        let folder = folder();
        for path in ["no/such/directory.sock", &"x".repeat(200)] {
            let refusal = Socket::bind(&folder.path().join(path)).expect_err("cannot be");
            let words = refusal.to_string();
            assert!(words.starts_with("making the control socket "), "{words}");
        }
    }
}
