//! The helper's side: a process that does what takes more than the daemon keeps, and only that.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context as _;
use caps::CapsHashSet;
use nix::sys::signal::SigSet;
use serde::Serialize;

use super::protocol::{Failure, Request, receive, send};
use super::{HELPER, keep};
use crate::config;
use crate::net::{FarEnd, owners};

/// Answers what the daemon asks by standard input, until the daemon ends.
///
/// # Errors
/// Standard input is no socket, the daemon breaks the protocol, or capabilities cannot be given up.
pub fn help(config: Option<&Path>) -> anyhow::Result<()> {
    let only = CapsHashSet::from(HELPER);
    keep(&only)?;
    // A terminal's Ctrl-C is for all its processes: we are needed until the daemon has ended.
    SigSet::all().thread_block().context("blocking signals")?;
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut daemon = UnixStream::from(stdin);
    // Refuses what is no socket.
    daemon
        .peer_addr()
        .context("the helper is for portnat itself")?;
    while let Some(request) = receive(&mut daemon)? {
        match request {
            Request::Owners(inodes) => {
                let inodes = inodes.into_iter().collect();
                answer(&mut daemon, Ok(owners(&inodes)))
            }
            Request::SetGro { end, on } => answer(&mut daemon, set_gro(end, on)),
            Request::Config => answer(&mut daemon, read(config)),
        }?;
    }
    Ok(())
}

fn answer<T: Serialize>(daemon: &mut UnixStream, answer: io::Result<T>) -> io::Result<()> {
    send(daemon, &answer.map_err(Failure::from))
}

fn set_gro(end: FarEnd, on: bool) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        end.set_gro(&handle, on).await.map_err(io::Error::other)
    })
}

fn read(config: Option<&Path>) -> io::Result<String> {
    match config {
        Some(path) => config::text(path),
        None => Err(io::Error::other("there is no config file")),
    }
}
