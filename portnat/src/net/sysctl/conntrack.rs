//! The kernel's connection tracking does not see what goes past the stack.

use super::conf::Conf;
use super::{NetError, Sysctls};

impl Sysctls {
    /// Lets connection tracking take TCP packets that are outside the windows that it knows of: of a
    /// connection that goes past the stack it has seen but one packet a second, and would call the
    /// rest INVALID. Without it there is nothing to be done, and so where it is not loaded.
    ///
    /// # Errors
    /// The kernel does not take the value.
    pub fn be_liberal(&mut self) -> Result<(), NetError> {
        let conf = Conf::netfilter("nf_conntrack_tcp_be_liberal");
        if !conf.path(&self.root).exists() {
            return Ok(());
        }
        self.set(conf, "1")
    }
}
