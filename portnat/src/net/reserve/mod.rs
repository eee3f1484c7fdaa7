//! Host ports that are portnat's while they are published.
//!
//! The dataplane takes packets to a published port before any socket could, so a server that bound
//! the same port would start and never hear a thing. Holding the port makes that the error it
//! should be, for either side.
//!
//! A few ports are held by a bound socket each, many by a [`Guard`] that refuses binds to them.

mod error;
mod guard;
mod holders;
mod range;
mod sockets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc;
use socket2::Socket;
use tracing::{info, warn};

pub use error::ReserveError;
pub use guard::{Guard, GuardError};
use guard::{Guarded, Post};
pub use holders::{Holder, Owner, Tenure, holders, owners};
pub use range::PortRange;

use super::NetError;
use super::error::reason;
use super::sysctl::ReservedPorts;
use crate::spec::Protocol;

/// How many ports of a range are held by a socket each; a larger range is guarded. A socket takes a
/// descriptor, of which many systems allow 1,024, and about 3 KB of kernel memory (ADR 18).
pub const MOST_SOCKETS: usize = 256;

/// Reserves host ports of one network namespace, that of the thread that uses it.
pub struct Reserver {
    post: Arc<Mutex<Post>>,
    owners: Box<Owners>,
}

/// Who tells whose the sockets with some inodes are.
pub type Owners = dyn Fn(&BTreeSet<u32>) -> BTreeMap<u32, Owner> + Send;

/// Host ports that nobody else can bind, free again on drop.
///
/// Some may be held by nothing: those of SCTP on a kernel without SCTP sockets, which nobody can bind
/// either, Docker's own, and those that were reserved by force.
#[derive(Debug)]
#[must_use = "the ports are free again once this is dropped"]
pub struct Reservation {
    ports: PortRange,
    hold: Hold,
}

/// What holds ports.
#[derive(Debug)]
enum Hold {
    /// A socket each, for their names alone.
    Sockets(#[expect(dead_code, reason = "they hold the ports")] Vec<Socket>),
    /// The guard.
    Guard(#[expect(dead_code, reason = "it holds the ports")] Guarded),
    /// Nothing of ours: somebody else, or the kernel's want of such sockets.
    Nothing,
}

/// Who has chosen ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The user has named them.
    Theirs,
    /// Any others would do as well.
    Ours,
}

/// A port that somebody has.
struct Conflict {
    port: NonZeroU16,
    holder: Option<Holder>,
}

impl Conflict {
    fn is_dockers(&self) -> bool {
        self.holder.as_ref().is_some_and(Holder::is_dockers)
    }
}

impl Reservation {
    /// Ports that somebody else holds for us, who is to have them.
    pub fn by_another(ports: PortRange) -> Self {
        let hold = Hold::Nothing;
        Self { ports, hold }
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &PortRange {
        &self.ports
    }

    /// Whether the kernel has sockets of this protocol.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !matches!(self.hold, Hold::Nothing)
    }
}

impl Reserver {
    /// `recruit` makes the guard, which is asked for when the first large range comes.
    pub fn new(recruit: impl Fn() -> Result<Box<dyn Guard>, GuardError> + Send + 'static) -> Self {
        Self::with(recruit, ReservedPorts::new())
    }

    /// The same, which writes down at `path` what it adds to `ip_local_reserved_ports`, and knows what one
    /// before it has written there.
    ///
    /// # Errors
    /// [`NetError::Record`] if the file cannot be read.
    pub fn recorded(
        recruit: impl Fn() -> Result<Box<dyn Guard>, GuardError> + Send + 'static,
        path: &Path,
    ) -> Result<Self, NetError> {
        Ok(Self::with(recruit, ReservedPorts::recorded(path)?))
    }

    fn with(
        recruit: impl Fn() -> Result<Box<dyn Guard>, GuardError> + Send + 'static,
        reserved: ReservedPorts,
    ) -> Self {
        let post = Post::new(Box::new(recruit), reserved);
        Self {
            post: Arc::new(Mutex::new(post)),
            owners: Box::new(owners),
        }
    }

    /// Has whose sockets are be told by this, and not read in `/proc` by this process.
    #[must_use]
    pub fn with_owners(self, owners: Box<Owners>) -> Self {
        Self { owners, ..self }
    }

    /// Takes out of `ip_local_reserved_ports` what one before this has put there and is not reserved
    /// again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn settle(&self) -> Result<(), NetError> {
        self.post().reserved().settle().map(|_| ())
    }

    /// Leaves in `ip_local_reserved_ports` what is there, for the next one.
    pub fn leave(&self) {
        self.post().reserved().leave();
    }

    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves ports of the host. The address need not be there yet.
    ///
    /// Of ports that the user has named, those that Docker holds for its containers are left to it; with
    /// `force` so are all others that somebody has. Either is said.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Bind`] for the first port that somebody has or that the kernel refuses otherwise.
    pub fn reserve(
        &self,
        ports: PortRange,
        choice: Choice,
        force: bool,
    ) -> Result<Reservation, ReserveError> {
        // The hook does not see SCTP's sockets bind (`inet_bind` calls theirs before it).
        let many = ports.count() > MOST_SOCKETS && ports.protocol != Protocol::Sctp;
        let guarded = match many {
            true => self.guard(&ports, choice, force)?,
            false => None,
        };
        let (hold, conflicts) = match guarded {
            Some((guarded, conflicts)) => (Hold::Guard(guarded), conflicts),
            None => bind(&ports, &self.owners)?,
        };
        check(&ports, &conflicts, choice, force)?;
        say(&ports, conflicts);
        Ok(Reservation { ports, hold })
    }

    /// Guards a range, if that can be done here; and who has ports of it.
    fn guard(
        &self,
        ports: &PortRange,
        choice: Choice,
        force: bool,
    ) -> Result<Option<(Guarded, Vec<Conflict>)>, ReserveError> {
        // Before, so that a refusal changes nothing; and after, when nobody can bind any more.
        let listed = match passed_by(ports, &self.owners) {
            Ok(conflicts) => {
                check(ports, &conflicts, choice, force)?;
                Guarded::new(&self.post, ports)
                    .and_then(|guarded| Ok((guarded, passed_by(ports, &self.owners)?)))
            }
            Err(error) => Err(error),
        };
        Ok(listed
            .inspect_err(|error| {
                warn!("{ports} takes a socket for each port: binds cannot be refused: {error}");
            })
            .ok())
    }
}

/// Who has ports of a range that is guarded.
fn passed_by(ports: &PortRange, owners: &Owners) -> Result<Vec<Conflict>, GuardError> {
    let found =
        holders(ports, owners).map_err(|error| GuardError(unlisted(ports.protocol, &error)))?;
    // What is remembered of connections is in nobody's way here, and most hosts have some.
    let there = found
        .into_iter()
        .filter(|holder| holder.tenure != Tenure::TimeWait);
    Ok(there
        .filter_map(|holder| {
            Some(Conflict {
                port: NonZeroU16::new(holder.address.port())?,
                holder: Some(holder),
            })
        })
        .collect())
}

/// Holds ports by a socket each; and who has those that cannot be held.
fn bind(ports: &PortRange, owners: &Owners) -> Result<(Hold, Vec<Conflict>), ReserveError> {
    let mut held = Vec::new();
    let mut in_use = Vec::new();
    for port in ports.ports() {
        match sockets::bind(ports.at(port), ports.protocol) {
            Ok(Some(socket)) => held.push(socket),
            Ok(None) => return Ok((Hold::Nothing, Vec::new())),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => in_use.push(port),
            Err(error) => return Err(refused(ports, port, error, None)),
        }
    }
    let mut conflicts = Vec::new();
    if !in_use.is_empty() {
        let found = holders(ports, owners).unwrap_or_else(|error| {
            warn!("{}", unlisted(ports.protocol, &error));
            Vec::new()
        });
        for port in in_use {
            let holders = found.iter().filter(|has| has.address.port() == port.get());
            let holders: Vec<_> = holders.cloned().map(Some).collect();
            let holders = match holders.is_empty() {
                true => vec![None],
                false => holders,
            };
            conflicts.extend(holders.into_iter().map(|holder| Conflict { port, holder }));
        }
    }
    Ok((Hold::Sockets(held), conflicts))
}

/// Whether ports can be published that somebody has. Where any others would do none can.
fn check(
    ports: &PortRange,
    conflicts: &[Conflict],
    choice: Choice,
    force: bool,
) -> Result<(), ReserveError> {
    let in_the_way = |conflict: &&Conflict| match choice {
        Choice::Ours => true,
        Choice::Theirs => !force && !conflict.is_dockers(),
    };
    match conflicts.iter().find(in_the_way) {
        Some(Conflict { port, holder }) => {
            let in_use = io::Error::from_raw_os_error(libc::EADDRINUSE);
            Err(refused(ports, *port, in_use, holder.clone()))
        }
        None => Ok(()),
    }
}

/// Says which ports are published that somebody has.
fn say(ports: &PortRange, conflicts: Vec<Conflict>) {
    let who = |conflicts: &[Conflict]| {
        let (first, others) = conflicts.split_first()?;
        let first = match &first.holder {
            Some(holder) => holder.about(ports.at(first.port)),
            None => format!("somebody holds {}", ports.at(first.port)),
        };
        Some(match others.len() {
            0 => first,
            more => format!("{first}, and {more} more"),
        })
    };
    let (dockers, others): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(Conflict::is_dockers);
    if let Some(who) = who(&others) {
        warn!(
            "publishing {ports} by force, though {who}: what comes for it from now on goes to the target"
        );
    }
    if let Some(who) = who(&dockers) {
        info!("publishing {ports} beside Docker ({who}), without reserving it");
    }
}

/// That the kernel does not list its sockets, as where it may not load the module that does.
fn unlisted(protocol: Protocol, error: &io::Error) -> String {
    format!(
        "the kernel does not list its sockets (by {protocol}_diag): {}",
        reason(error)
    )
}

fn refused(
    ports: &PortRange,
    port: NonZeroU16,
    cause: io::Error,
    holder: Option<Holder>,
) -> ReserveError {
    ReserveError::Bind {
        address: SocketAddr::new(ports.address, port.get()),
        protocol: ports.protocol,
        cause,
        holder: holder.map(Box::new),
    }
}
