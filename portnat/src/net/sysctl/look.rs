//! Any sysctl, to be looked at.

use std::fs;
use std::path::Path;

use super::ROOT;

/// The value of a sysctl by its path below `/proc/sys`, such as `net/ipv4/ip_forward`; of a network one
/// that of the calling thread's namespace. `None` where there is none that may be read.
#[must_use]
pub fn sysctl(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(path)).ok()?;
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_has_a_value_or_is_not_there() {
        let value = sysctl("net/ipv4/conf/all/rp_filter").expect("every host has it");
        assert!(value.parse::<u8>().is_ok(), "{value}");
        assert_eq!(sysctl("net/ipv4/conf/all/no_such"), None);
    }
}
