//! Whether the host has IPv6.

use std::path::Path;

use super::{ROOT, read};

/// Whether this network namespace has IPv6: the kernel knows it, and it is not switched off for all
/// interfaces (`net.ipv6.conf.all.disable_ipv6`).
#[must_use]
pub fn has_ipv6() -> bool {
    is_on(Path::new(ROOT))
}

fn is_on(root: &Path) -> bool {
    let key = "net.ipv6.conf.all.disable_ipv6";
    let path = root.join("net/ipv6/conf/all/disable_ipv6");
    // A kernel without IPv6 does not have it.
    read(key, &path).is_ok_and(|value| value == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switched_off_is_as_good_as_unknown() {
        let root = tempfile::tempdir().expect("a directory");
        assert!(!is_on(root.path()));
        let conf = root.path().join("net/ipv6/conf/all");
        std::fs::create_dir_all(&conf).expect("a directory");
        for (value, expected) in [("0\n", true), ("1\n", false)] {
            std::fs::write(conf.join("disable_ipv6"), value).expect("a file");
            assert_eq!(is_on(root.path()), expected);
        }
    }
}
