//! Against etherparse's headers, whose checksums are computed by code that is not ours.

extern crate std;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use etherparse::{
    Icmpv4Header, Icmpv6Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader,
};
use proptest::prelude::*;

use super::*;

fn v6_header(
    class: u8,
    flow_label: u32,
    length: u16,
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> ipv6::Header {
    let header = Ipv6Header {
        traffic_class: class,
        flow_label: Ipv6FlowLabel::try_new(flow_label).expect("20 bits"),
        payload_length: length,
        next_header: IpNumber::TCP,
        hop_limit: 64,
        source: src.octets(),
        destination: dst.octets(),
    };
    bytemuck::pod_read_unaligned(&header.to_bytes())
}

fn v4_header(tos: u8, length: u16, src: Ipv4Addr, dst: Ipv4Addr) -> ipv4::Header {
    let mut header =
        Ipv4Header::new(length, 64, IpNumber::UDP, src.octets(), dst.octets()).expect("short");
    header.dscp = (tos >> 2).try_into().expect("6 bits");
    header.ecn = (tos & 3).try_into().expect("2 bits");
    header.header_checksum = header.calc_header_checksum();
    bytemuck::pod_read_unaligned(&header.to_bytes())
}

const SRC: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const SRC6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const DST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10);

proptest! {
    #[test]
    fn ipv4_headers_are_sound(class: u8, label in 0u32..1 << 20, payload in 0usize..=65515, id: u16) {
        let header = v6_header(class, label, payload as u16, SRC6, DST6);
        let made = to_v4(&header, (SRC.into(), DST.into()), 6, payload, id).expect("fits");
        let (read, rest) = Ipv4Header::from_slice(bytemuck::bytes_of(&made)).expect("a header");
        prop_assert!(rest.is_empty());
        prop_assert_eq!(read.header_checksum, read.calc_header_checksum());
        prop_assert_eq!((read.dscp.value() << 2) | read.ecn.value(), class);
        prop_assert_eq!(usize::from(read.total_len), payload + 20);
        prop_assert_eq!((read.time_to_live, read.protocol), (63, IpNumber::TCP));
        prop_assert_eq!((read.source, read.destination), (SRC.octets(), DST.octets()));
        // Section 5.1.
        let short = payload + 20 <= 1260;
        prop_assert_eq!(read.dont_fragment, !short);
        prop_assert_eq!(read.identification, if short { id } else { 0 });
    }

    #[test]
    fn ipv6_headers_are_sound(tos: u8, payload in 0u16..65500) {
        let header = v4_header(tos, payload, SRC, DST);
        let made = to_v6(&header, (SRC6.into(), DST6.into()), payload.into()).expect("fits");
        let (read, rest) = Ipv6Header::from_slice(bytemuck::bytes_of(&made)).expect("a header");
        prop_assert!(rest.is_empty());
        prop_assert_eq!((read.traffic_class, read.flow_label.value()), (tos, 0));
        prop_assert_eq!((read.payload_length, read.hop_limit), (payload, 63));
        prop_assert_eq!(read.next_header, IpNumber::UDP);
        prop_assert_eq!((read.source, read.destination), (SRC6.octets(), DST6.octets()));
    }

    /// The checksum with IPv4's pseudo header becomes that with IPv6's, and back.
    #[test]
    fn checksums_follow_the_addresses(
        from: [u8; 16],
        to: [u8; 16],
        src: [u8; 4],
        dst: [u8; 4],
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let tcp = TcpHeader::new(40000, 80, 7, 512);
        let in_v6 = tcp.calc_checksum_ipv6_raw(from, to, &payload).expect("short").to_be();
        let in_v4 = tcp.calc_checksum_ipv4_raw(src, dst, &payload).expect("short").to_be();
        let (from, to) = (Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into());
        let (src, dst) = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
        let (v6, v4): ((&Ip6, &Ip6), (&Ip4, &Ip4)) = ((&from, &to), (&src, &dst));
        prop_assert_eq!(difference(v6, v4).apply(in_v6), in_v4);
        prop_assert_eq!(difference(v4, v6).apply(in_v4), in_v6);
    }
}

#[test]
fn what_is_too_long_for_a_header() {
    let header = v6_header(0, 0, u16::MAX, SRC6, DST6);
    let ends = (SRC.into(), DST.into());
    assert!(to_v4(&header, ends, 6, 65515, 0).is_some());
    assert!(to_v4(&header, ends, 6, 65516, 0).is_none());
    let header = v4_header(0, 0, SRC, DST);
    assert!(to_v6(&header, (SRC6.into(), DST6.into()), 1 << 16).is_none());
}

/// Type, code, and MTU or pointer.
type Words = (u8, u8, u32);

fn error(kind: u8, code: u8, value: u32) -> icmp::Error {
    icmp::Error::new(kind, code, value)
}

/// Section 4.2.
#[test]
fn icmpv4_in_icmpv6() {
    let table: &[(Words, Option<Words>)] = &[
        ((3, 0, 0), Some((1, 0, 0))),
        ((3, 1, 0), Some((1, 0, 0))),
        ((3, 2, 0), Some((4, 1, 6))),
        ((3, 3, 0), Some((1, 4, 0))),
        ((3, 4, 1400), Some((2, 0, 1420))),
        ((3, 4, 0), Some((2, 0, 1280))),
        ((3, 4, 0xffff_0000 | 1500), Some((2, 0, 1520))),
        ((3, 13, 0), Some((1, 1, 0))),
        ((3, 14, 0), None),
        ((11, 1, 0), Some((3, 1, 0))),
        ((12, 0, 0), None),
        ((4, 0, 0), None),
    ];
    for ((kind, code, value), expected) in table {
        let meaning = meaning_in_v6(&error(*kind, *code, *value));
        assert_eq!(
            meaning.map(|meaning| (meaning.kind, meaning.code, meaning.value.get())),
            *expected,
            "{kind}, {code}"
        );
    }
}

/// Section 5.2.
#[test]
fn icmpv6_in_icmpv4() {
    let table: &[(Words, Option<Words>)] = &[
        ((1, 0, 0), Some((3, 1, 0))),
        ((1, 1, 0), Some((3, 10, 0))),
        ((1, 4, 0), Some((3, 3, 0))),
        ((1, 5, 0), None),
        ((2, 0, 1400), Some((3, 4, 1380))),
        ((2, 0, 100), Some((3, 4, 1260))),
        ((2, 0, 1 << 20), Some((3, 4, 0xffff))),
        ((3, 0, 0), Some((11, 0, 0))),
        ((4, 0, 8), None),
        ((4, 1, 6), Some((3, 2, 0))),
    ];
    for ((kind, code, value), expected) in table {
        let meaning = meaning_in_v4(&error(*kind, *code, *value));
        assert_eq!(
            meaning.map(|meaning| (meaning.kind, meaning.code, meaning.value.get())),
            *expected,
            "{kind}, {code}"
        );
    }
}

#[test]
fn errors_are_sound() {
    let transport = [80, 40000, 16, 0].map(Be16::new);
    let too_big = icmp::Error::new(2, 0, 1400);
    let quoted = v6_header(0, 0, 1400, SRC6, DST6);
    let bytes = bytemuck::bytes_of(&ErrorV6::new(too_big, quoted, transport)).to_vec();
    let (ip, rest) = Ipv6Header::from_slice(&bytes).expect("a header");
    assert_eq!((ip.source, ip.destination), (DST6.octets(), SRC6.octets()));
    assert_eq!(usize::from(ip.payload_length), rest.len());
    let (icmp, quotation) = Icmpv6Header::from_slice(rest).expect("a header");
    let sum = icmp
        .icmp_type
        .calc_checksum(ip.source, ip.destination, quotation);
    assert_eq!(icmp.checksum, sum.expect("short"));
    assert_eq!(quotation, quote(bytemuck::bytes_of(&quoted), &transport));

    let refused = icmp::Error::new(3, 3, 0);
    let quoted = v4_header(0, 100, SRC, DST);
    let bytes = bytemuck::bytes_of(&ErrorV4::new(refused, quoted, transport)).to_vec();
    let (ip, rest) = Ipv4Header::from_slice(&bytes).expect("a header");
    assert_eq!((ip.source, ip.destination), (DST.octets(), SRC.octets()));
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    assert_eq!(usize::from(ip.total_len), bytes.len());
    let (icmp, quotation) = Icmpv4Header::from_slice(rest).expect("a header");
    assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(quotation));
    assert_eq!(quotation, quote(bytemuck::bytes_of(&quoted), &transport));
}

fn quote(header: &[u8], transport: &[Be16; 4]) -> Vec<u8> {
    [header, bytemuck::bytes_of(transport)].concat()
}
