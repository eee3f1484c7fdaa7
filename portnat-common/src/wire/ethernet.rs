//! Ethernet II.

/// The length in bytes of an Ethernet header; a VLAN tag lies in the skb's metadata instead.
pub const HEADER_LEN: usize = 14;
/// Where the EtherType lies in the header, in bytes.
pub const ETHERTYPE: usize = 12;
/// The EtherType of IPv4, host byte order.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// The EtherType of IPv6, host byte order.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
