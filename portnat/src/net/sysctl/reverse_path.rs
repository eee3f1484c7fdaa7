//! Packets whose way back is another one.

use super::conf::{Conf, check_interface};
use super::{NetError, Sysctls};

impl Sysctls {
    /// Takes packets whose sender is reached by any interface, not by this one alone (`rp_filter` 2, RFC
    /// 3704 section 2.4). The kernel takes the greater of this and `all`.
    ///
    /// # Errors
    /// The kernel does not take the value.
    pub fn loosen_reverse_path(&mut self, interface: &str) -> Result<(), NetError> {
        check_interface(interface)?;
        self.set(Conf::v4(interface, "rp_filter"), "2")
    }
}
