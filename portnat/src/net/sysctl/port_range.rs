//! The kernel's range of local ports.

use std::path::Path;

use super::{NetError, ROOT, read};

/// The range of ports that the kernel takes local ports from, both ends included
/// (`net.ipv4.ip_local_port_range`, which holds for IPv6 too).
///
/// # Errors
///
/// [`NetError::ReadSysctl`] without `/proc`, [`NetError::SysctlValue`] if it holds no two ports.
pub fn local_port_range() -> Result<(u16, u16), NetError> {
    let key = "net.ipv4.ip_local_port_range";
    let text = read(key, &Path::new(ROOT).join("net/ipv4/ip_local_port_range"))?;
    port_range(&text).ok_or_else(|| NetError::SysctlValue {
        key: key.to_owned(),
        value: text,
        expected: "two ports",
    })
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(char::is_whitespace)?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_range_is_two_ports() {
        assert_eq!(port_range("32768\t60999"), Some((32768, 60999)));
        assert_eq!(port_range("32768"), None);
        assert_eq!(port_range("32768\t99999"), None);
        let (first, last) = local_port_range().expect("this host has one");
        assert!(first <= last);
    }
}
