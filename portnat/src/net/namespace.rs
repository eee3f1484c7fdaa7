//! A name for the network namespace.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use nix::libc;
use socket2::{Domain, Socket, Type};

use super::NetError;

/// The calling thread's namespace. Not /proc/self: that is the process's first thread.
const FILE: &str = "/proc/thread-self/ns/net";

/// The name of the calling thread's network namespace, of letters, digits and hyphens.
///
/// It is made of the namespace's cookie, which no other gets until the machine is booted again
/// (`SO_NETNS_COOKIE`, Linux 5.14, commit e8b9eab99232). Before, it is the number of its file, which a later namespace can
/// get.
///
/// # Errors
/// [`NetError::Namespace`] if the kernel says neither.
pub fn namespace_name() -> Result<String, NetError> {
    cookie()
        .map(|cookie| format!("netns-{cookie}"))
        .or_else(|_| {
            let number = fs::metadata(FILE)?.ino();
            Ok(format!("netns-i{number}"))
        })
        .map_err(|cause| NetError::Namespace { cause })
}

fn cookie() -> io::Result<u64> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes `length` bytes at most to `cookie`, both of which are ours.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match answer {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_name() {
        let name = namespace_name().expect("every kernel has namespaces");
        assert_eq!(name, namespace_name().expect("as before"));
        assert!(name.starts_with("netns-"), "{name}");
    }
}
