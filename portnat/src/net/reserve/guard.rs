//! Ranges that are held without a socket for each port.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use super::PortRange;
use crate::net::sysctl::ReservedPorts;

/// What refuses binds to ranges of ports, for all processes of this network namespace; dropping it
/// ends that.
pub trait Guard: fmt::Debug + Send {
    /// Refuses binds to these ports from now on.
    ///
    /// # Errors
    /// It cannot; nothing has changed.
    fn refuse(&mut self, ports: &PortRange) -> Result<(), GuardError>;

    /// Refuses them no longer; nothing happens if it does not.
    fn allow(&mut self, ports: &PortRange);
}

/// Why binds cannot be refused.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct GuardError(pub String);

/// Makes a guard when the first range needs one.
pub(super) type Recruit = Box<dyn Fn() -> Result<Box<dyn Guard>, GuardError> + Send>;

/// What the guarded ranges have in common.
pub(super) struct Post {
    recruit: Recruit,
    guard: Option<Box<dyn Guard>>,
    /// How many ranges it guards.
    ranges: usize,
    /// What keeps `connect` from choosing one of these ports, and `bind` where it is asked for any.
    reserved: ReservedPorts,
}

/// A range that is guarded until this is dropped.
pub(super) struct Guarded {
    ports: PortRange,
    post: Arc<Mutex<Post>>,
}

impl Post {
    pub(super) fn new(recruit: Recruit, reserved: ReservedPorts) -> Self {
        Self {
            recruit,
            guard: None,
            ranges: 0,
            reserved,
        }
    }

    /// What keeps the kernel from choosing ports by itself.
    pub(super) fn reserved(&mut self) -> &mut ReservedPorts {
        &mut self.reserved
    }

    fn enter(&mut self, ports: &PortRange) -> Result<(), GuardError> {
        let guard = match &mut self.guard {
            Some(guard) => guard,
            none => none.insert((self.recruit)()?),
        };
        let refused = guard.refuse(ports);
        self.ranges += 1;
        if refused.is_err() {
            self.leave(ports);
            return refused;
        }
        let (first, last) = (ports.first.get(), ports.last.get());
        self.reserved.reserve(first, last).map_err(|error| {
            self.leave(ports);
            GuardError(error.to_string())
        })
    }

    fn leave(&mut self, ports: &PortRange) {
        let (first, last) = (ports.first.get(), ports.last.get());
        if let Err(error) = self.reserved.release(first, last) {
            tracing::warn!("{error}");
        }
        if let Some(guard) = &mut self.guard {
            guard.allow(ports);
        }
        self.ranges -= 1;
        if self.ranges == 0 {
            self.guard = None;
        }
    }
}

impl Guarded {
    pub(super) fn new(post: &Arc<Mutex<Post>>, ports: &PortRange) -> Result<Self, GuardError> {
        post.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .enter(ports)?;
        Ok(Self {
            ports: *ports,
            post: Arc::clone(post),
        })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        post.leave(&self.ports);
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.ports).finish()
    }
}
