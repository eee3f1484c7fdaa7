//! Frames as somebody writes them, past the stack of who sends them.

use std::io;

use nix::libc;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Namespace;

/// A socket that sends frames out by a link of this namespace, and receives nothing.
///
/// # Errors
/// There is no such link, or the privilege is missing (`CAP_NET_RAW`).
pub fn frames(namespace: &Namespace, link: &str) -> io::Result<Socket> {
    let index = namespace.links().index(link).map_err(io::Error::other)?;
    // Protocol 0: nothing is received.
    let socket = namespace.run(|| Socket::new(Domain::PACKET, Type::RAW, None))?;
    // SAFETY: a sockaddr_ll fits a sockaddr_storage, and its length is what is set.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_ifindex = index as i32;
            *length = size_of::<libc::sockaddr_ll>() as u32;
            Ok(())
        })
    }?;
    socket.bind(&address)?;
    Ok(socket)
}
