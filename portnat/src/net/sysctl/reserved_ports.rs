//! The ports that the administrator keeps from being handed out.

use std::path::Path;

use super::{NetError, ROOT, read};

/// The ports that the kernel gives to nobody who does not ask for them by number, as ranges with both
/// ends included (`net.ipv4.ip_local_reserved_ports`, which holds for IPv6 too).
///
/// # Errors
///
/// [`NetError::ReadSysctl`] without `/proc`, [`NetError::SysctlValue`] if it holds something else.
pub fn local_reserved_ports() -> Result<Vec<(u16, u16)>, NetError> {
    let key = "net.ipv4.ip_local_reserved_ports";
    let path = Path::new(ROOT).join("net/ipv4/ip_local_reserved_ports");
    let text = read(key, &path)?;
    port_ranges(&text).ok_or_else(|| NetError::SysctlValue {
        key: key.to_owned(),
        value: text,
        expected: "ports and ranges of ports",
    })
}

fn port_ranges(text: &str) -> Option<Vec<(u16, u16)>> {
    text.trim()
        .split(',')
        .filter(|range| !range.is_empty())
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_with_commas_between() {
        assert_eq!(port_ranges("\n"), Some(Vec::new()));
        assert_eq!(port_ranges("8080\n"), Some(vec![(8080, 8080)]));
        let several = port_ranges("1-3,8080,65535");
        assert_eq!(several, Some(vec![(1, 3), (8080, 8080), (65535, 65535)]));
        assert_eq!(port_ranges("8080-"), None);
        assert_eq!(port_ranges("65536"), None);
        local_reserved_ports().expect("this host has some or none");
    }
}
