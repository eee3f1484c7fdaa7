//! The programs that not every host needs.

use super::error::DatapathError;
use super::load::Datapath;

/// Those for the loopback interface, and for interfaces without a link layer.
const SOMETIMES: [&str; 3] = ["local_out", "nat_in_l3", "uplink_out_l3"];

/// Those for bridges' ports, where packets can go past the host's stack.
const FAST: [&str; 2] = ["port_in", "port_out"];

impl Datapath {
    /// Loads now what else would be loaded when there is an interface for it: from then on nothing that is
    /// attached has to be loaded before.
    ///
    /// # Errors
    /// The kernel refuses a program.
    pub fn load_rest(&mut self) -> Result<(), DatapathError> {
        let fast = FAST.into_iter().filter(|_| Self::can_be_fast());
        for name in SOMETIMES.into_iter().chain(fast) {
            self.ensure_loaded(name)?;
        }
        self.ensure_frames()
    }
}
