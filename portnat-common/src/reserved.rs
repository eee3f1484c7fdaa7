//! Ranges of ports that no process of the host may bind: what userspace tells the bind hook.

use crate::address::{Address as _, Ip4, Wide, map};

/// How many ranges there can be; the hook looks at each of them in turn, and the verifier at as many.
pub const RANGES: u32 = 64;

/// Ports of an address that are reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ReservedRange {
    /// The host's address: of IPv6, or IPv4-mapped. The unspecified one of a family stands for all of
    /// that family alone.
    pub address: Wide,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// Transport protocol number; 0 is no range, and nothing comes behind it.
    pub protocol: u32,
}

const _: () = assert!(size_of::<ReservedRange>() == 24);

/// The unspecified address of IPv4 in IPv6's room.
const ANY_V4: Wide = map(Ip4::ANY);

impl ReservedRange {
    /// Whether there is no range here or behind it.
    #[inline(always)]
    #[must_use]
    pub const fn is_end(&self) -> bool {
        self.protocol == 0
    }

    /// Whether a socket that is bound to an address, IPv4-mapped if it is one of IPv4, and a port has
    /// one of these ports.
    ///
    /// A socket that is bound to `::` takes what comes over IPv4 too, unless it was told otherwise
    /// (`IPV6_V6ONLY`), which the hook cannot see; so it always counts as such a one.
    #[inline(always)]
    #[must_use]
    pub fn meets(&self, protocol: u32, address: &Wide, port: u16) -> bool {
        let port = u64::from(port);
        let before = port.wrapping_sub(self.first.into()) >> 63;
        let behind = u64::from(self.last).wrapping_sub(port) >> 63;
        let other_port = u64::from(self.protocol ^ protocol) | before | behind;
        other_port | self.other_address(address) == 0
    }

    /// 1, or 0 where the addresses overlap. All this is without branches: each one would double what
    /// the verifier looks at for every range.
    #[inline(always)]
    fn other_address(&self, bound: &Wide) -> u64 {
        let own = &self.address;
        let differ = is_set(
            (own[0] ^ bound[0]) | (own[1] ^ bound[1]) | (own[2] ^ bound[2]) | (own[3] ^ bound[3]),
        );
        let bound_any = is_set(bound[0] | bound[1] | bound[2] | bound[3]);
        let own_v6 = is_set(own[0] | own[1] | (own[2] ^ ANY_V4[2]));
        let bound_v6 = is_set(bound[0] | bound[1] | (bound[2] ^ ANY_V4[2]));
        let in_v4 = own_v6 | bound_v6 | is_set(own[3]) & is_set(bound[3]);
        let own_any = is_set(own[0] | own[1] | own[2] | own[3]);
        let in_v6 = own_v6 ^ 1 | bound_v6 ^ 1 | own_any;
        differ & bound_any & in_v4 & in_v6
    }
}

/// 1 if any bit is set, else 0.
#[inline(always)]
const fn is_set(bits: u32) -> u64 {
    (bits as u64 + u32::MAX as u64) >> 32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use crate::Ip6;

    const TCP: u32 = 6;
    const UDP: u32 = 17;

    fn wide(text: &str) -> Wide {
        let address: Ipv6Addr = match text.parse().expect("an address") {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Ip6::from(address).widen()
    }

    fn range(address: &str) -> ReservedRange {
        ReservedRange {
            address: wide(address),
            first: 8000,
            last: 8999,
            protocol: TCP,
        }
    }

    #[test]
    fn both_ends_belong_to_it_and_the_protocol_does() {
        let range = range("0.0.0.0");
        let own = wide("192.0.2.1");
        for (port, inside) in [(7999, false), (8000, true), (8999, true), (9000, false)] {
            assert_eq!(range.meets(TCP, &own, port), inside, "{port}");
        }
        assert!(!range.meets(UDP, &own, 8000));
    }

    #[test]
    fn addresses_meet_as_the_kernels_sockets_do() {
        for (reserved, bound, meet) in [
            ("0.0.0.0", "0.0.0.0", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "0.0.0.0", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            // A socket of both families.
            ("0.0.0.0", "::", true),
            ("127.0.0.1", "::", true),
            ("2001:db8::1", "::", true),
            ("::", "::", true),
            ("::", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            // A range of one family is no range of the other.
            ("::", "0.0.0.0", false),
            ("::", "192.0.2.1", false),
            ("0.0.0.0", "2001:db8::1", false),
        ] {
            let met = range(reserved).meets(TCP, &wide(bound), 8080);
            assert_eq!(met, meet, "{reserved} and {bound}");
        }
    }

    #[test]
    fn what_is_empty_meets_nobody() {
        let none = ReservedRange::default();
        assert!(none.is_end() && !range("::").is_end());
        assert!(!none.meets(TCP, &wide("::"), 0));
    }
}
