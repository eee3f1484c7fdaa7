//! ICMP echo, of IPv4 (RFC 792) and IPv6 (RFC 4443), as far as a ping needs it.

use std::net::IpAddr;

/// Offsets in an echo message.
mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Range<usize> = 2..4;
    pub(super) const IDENTIFIER: Range<usize> = 4..6;
    pub(super) const SEQUENCE: Range<usize> = 6..8;
    pub(super) const DATA: RangeFrom<usize> = 8..;
    /// What a reply repeats from its request.
    pub(super) const ECHOED: RangeFrom<usize> = 4..;
}

/// What an echo is called in one of the families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Echo {
    request: u8,
    reply: u8,
}

/// The kernel hands out packets with their IPv4 header, and expects messages with their checksum.
const V4: Echo = Echo {
    request: 8,
    reply: 0,
};
/// The kernel hands out messages alone, and does their checksums, which cover addresses too.
const V6: Echo = Echo {
    request: 128,
    reply: 129,
};

/// A request as large as that of ping(8): 8 bytes of header, 56 of data.
const REQUEST_LENGTH: usize = 64;

impl Echo {
    /// The one with which to ask for `destination`.
    pub(super) const fn of(destination: IpAddr) -> Self {
        match destination {
            IpAddr::V4(_) => V4,
            IpAddr::V6(_) => V6,
        }
    }

    /// Builds an echo request. Its data differs from one request to the next, so that a reply with
    /// mangled data shows.
    pub(super) fn request(self, identifier: u16, sequence: u16) -> [u8; REQUEST_LENGTH] {
        let mut message = [0; REQUEST_LENGTH];
        message[field::TYPE] = self.request;
        message[field::IDENTIFIER].copy_from_slice(&identifier.to_be_bytes());
        message[field::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        let start = sequence.to_be_bytes()[1];
        for (offset, byte) in (0..).zip(&mut message[field::DATA]) {
            *byte = start.wrapping_add(offset);
        }
        if self == V4 {
            let sum = checksum(&message);
            message[field::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Whether what a raw socket hands out is the reply to `request`.
    pub(super) fn is_reply(self, packet: &[u8], request: &[u8; REQUEST_LENGTH]) -> bool {
        let message = if self == V4 {
            payload(packet).filter(|message| checksum(message) == 0)
        } else {
            Some(packet)
        };
        message.is_some_and(|message| {
            message.len() == REQUEST_LENGTH
                && message[field::TYPE] == self.reply
                && message[field::CODE] == 0
                && message[field::ECHOED] == request[field::ECHOED]
        })
    }
}

/// What follows the IPv4 header, whose length stands in the low half of the first byte, in words
/// of four bytes.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let words = usize::from(packet.first()? & 0x0f);
    packet.get(4 * words..)
}

/// The Internet checksum (RFC 1071) of an even number of bytes; 0 for a message that contains its
/// own, correct, checksum.
fn checksum(message: &[u8]) -> u16 {
    let sum = message.chunks_exact(2).fold(0, |sum: u32, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        (sum & 0xffff) + (sum >> 16)
    });
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packet that answers `request`, behind an IPv4 header of `words` × 4 bytes.
    fn reply(request: [u8; REQUEST_LENGTH], words: u8) -> Vec<u8> {
        let mut message = request;
        message[field::TYPE] = V4.reply;
        message[field::CHECKSUM].fill(0);
        let sum = checksum(&message);
        message[field::CHECKSUM].copy_from_slice(&sum.to_be_bytes());

        let mut packet = vec![0; 4 * usize::from(words)];
        packet[0] = 0x40 | words;
        packet.extend(message);
        packet
    }

    #[test]
    fn checksum_of_the_example_in_rfc_1071() {
        let message = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&message), !0xddf2);
    }

    #[test]
    fn a_request_carries_its_checksum() {
        let request = V4.request(0xabcd, 7);
        assert_eq!(request[..2], [8, 0]);
        assert_eq!(request[4..8], [0xab, 0xcd, 0, 7]);
        assert_eq!(checksum(&request), 0);
    }

    #[test]
    fn a_reply_is_known_behind_ip_options_too() {
        let request = V4.request(1, 2);
        assert!(V4.is_reply(&reply(request, 5), &request));
        assert!(V4.is_reply(&reply(request, 6), &request));
    }

    #[test]
    fn other_packets_are_no_reply() {
        let request = V4.request(1, 2);
        let mangled = |at: usize| {
            let mut packet = reply(request, 5);
            packet[at] ^= 1;
            packet
        };
        for at in 20..84 {
            assert!(
                !V4.is_reply(&mangled(at), &request),
                "byte {at} is not looked at"
            );
        }
        assert!(
            !V4.is_reply(&reply(V4.request(1, 3), 5), &request),
            "another sequence number"
        );
        assert!(
            !V4.is_reply(&reply(request, 5)[..60], &request),
            "cut short"
        );
        assert!(
            !V4.is_reply(&[0x4f], &request),
            "a header that ends before its length"
        );
        assert!(!V4.is_reply(&[], &request), "nothing");
    }

    #[test]
    fn a_reply_of_ipv6_comes_without_a_header_and_its_checksum_is_the_kernels() {
        let request = V6.request(1, 2);
        assert_eq!(request[..4], [128, 0, 0, 0]);
        let mut reply = request;
        assert!(!V6.is_reply(&reply, &request), "the request itself");
        reply[..4].copy_from_slice(&[129, 0, 0xab, 0xcd]);
        assert!(V6.is_reply(&reply, &request));
        assert!(!V6.is_reply(&reply[..60], &request), "cut short");
        assert!(!V6.is_reply(&[], &request), "nothing");
        reply[63] ^= 1;
        assert!(!V6.is_reply(&reply, &request), "other data");
    }
}
