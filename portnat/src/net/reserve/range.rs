//! Ports in a row.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use crate::spec::Protocol;

/// Ports in a row of one address and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The host's address; the unspecified one stands for every one of its family.
    pub address: IpAddr,
    /// The first port.
    pub first: NonZeroU16,
    /// The last port, which belongs to the range.
    pub last: NonZeroU16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub const fn single(address: IpAddr, port: NonZeroU16, protocol: Protocol) -> Self {
        Self {
            address,
            first: port,
            last: port,
            protocol,
        }
    }

    /// How many ports there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ports().count()
    }

    /// Every port, in order.
    pub fn ports(&self) -> impl Iterator<Item = NonZeroU16> + use<> {
        (self.first.get()..=self.last.get()).filter_map(NonZeroU16::new)
    }

    /// The address with one of the ports.
    #[must_use]
    pub const fn at(&self, port: NonZeroU16) -> SocketAddr {
        SocketAddr::new(self.address, port.get())
    }

    /// Whether a socket that is bound to `bound` has one of these ports. `only_v6` is whether it leaves
    /// IPv4 to others, where its address is `::`.
    pub(super) fn meets(&self, bound: SocketAddr, only_v6: bool) -> bool {
        (self.first.get()..=self.last.get()).contains(&bound.port())
            && match (self.address, bound.ip().to_canonical()) {
                (IpAddr::V4(_), IpAddr::V6(v6)) => v6.is_unspecified() && !only_v6,
                (IpAddr::V6(_), IpAddr::V4(_)) => false,
                (own, other) => own == other || own.is_unspecified() || other.is_unspecified(),
            }
    }
}

/// As `0.0.0.0:8080/tcp` or `0.0.0.0:8000-8999/tcp`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at(self.first).fmt(f)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, "/{}", self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(address: &str) -> PortRange {
        PortRange {
            address: address.parse().expect("an address"),
            first: NonZeroU16::MIN.saturating_add(7999),
            last: NonZeroU16::MIN.saturating_add(8009),
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn a_range_is_written_with_its_ends() {
        assert_eq!(range("::").to_string(), "[::]:8000-8010/tcp");
        assert_eq!(range("::").count(), 11);
        let one = PortRange::single([127, 0, 0, 1].into(), NonZeroU16::MAX, Protocol::Udp);
        assert_eq!(one.to_string(), "127.0.0.1:65535/udp");
        assert_eq!(one.ports().collect::<Vec<_>>(), [NonZeroU16::MAX]);
    }

    #[test]
    fn sockets_have_a_port_of_the_range_where_the_kernel_says_so() {
        for (own, bound, only_v6, meet) in [
            ("0.0.0.0", "127.0.0.1:8000", false, true),
            ("0.0.0.0", "127.0.0.1:7999", false, false),
            ("127.0.0.1", "0.0.0.0:8010", false, true),
            ("127.0.0.1", "127.0.0.2:8010", false, false),
            ("127.0.0.1", "[::]:8010", false, true),
            ("127.0.0.1", "[::]:8010", true, false),
            ("127.0.0.1", "[::1]:8010", false, false),
            ("127.0.0.1", "[::ffff:127.0.0.1]:8010", false, true),
            ("::", "[::]:8010", true, true),
            ("::", "[::1]:8010", true, true),
            ("::1", "[::]:8010", true, true),
            ("::", "[::ffff:127.0.0.1]:8010", false, false),
            ("::", "0.0.0.0:8010", false, false),
        ] {
            let bound = bound.parse().expect("an address and a port");
            assert_eq!(
                range(own).meets(bound, only_v6),
                meet,
                "{own}, {bound}, {only_v6}"
            );
        }
    }
}
