//! What the host says to itself by way of a container comes back by the loopback interface.

use super::conf::{Conf, check_interface};
use super::{NetError, Sysctls};

impl Sysctls {
    /// Lets answers come in by the loopback interface `lo` whose source and destination are the
    /// host's own: packets that the host sends to itself carry their route with them, and those that
    /// have been to a container do not, so the kernel takes them for martians. Nothing but the host
    /// itself reaches that interface.
    ///
    /// # Errors
    /// The kernel does not take a value.
    pub fn accept_own_answers(&mut self, lo: &str) -> Result<(), NetError> {
        check_interface(lo)?;
        for name in ["route_localnet", "accept_local"] {
            self.set(Conf::v4(lo, name), "1")?;
        }
        Ok(())
    }
}
