//! The programs that not every host needs.

use super::error::DatapathError;
use super::load::Datapath;

/// The one for the loopback interface.
const LOOPBACK: [&str; 1] = ["local_out"];

/// Those for interfaces without a link layer.
const NO_LINK_LAYER: [&str; 2] = ["nat_in_l3", "uplink_out_l3"];

/// Those for bridges' ports, where packets can go past the host's stack.
const FAST: [&str; 2] = ["port_in", "port_out"];

/// Those for the bridges of networks that lead nowhere.
const INTERNAL: [&str; 2] = ["internal_in", "internal_out"];

impl Datapath {
    /// Loads now what else would be loaded when there is an interface for it: from then on nothing that is
    /// attached has to be loaded before.
    ///
    /// # Errors
    /// The kernel refuses a program.
    pub fn load_rest(&mut self) -> Result<(), DatapathError> {
        self.load_for_containers()?;
        for name in NO_LINK_LAYER {
            self.ensure_loaded(name)?;
        }
        self.ensure_frames()
    }

    /// Loads now what the first container and its first published port would wait for, which is seconds of
    /// the verifier's.
    ///
    /// # Errors
    /// As [`Datapath::load_rest`].
    pub fn load_for_containers(&mut self) -> Result<(), DatapathError> {
        let fast = FAST.into_iter().filter(|_| Self::can_be_fast());
        for name in LOOPBACK.into_iter().chain(INTERNAL).chain(fast) {
            self.ensure_loaded(name)?;
        }
        Ok(())
    }
}
