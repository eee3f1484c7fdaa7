//! SCTP's checksum (RFC 9260 section 6.8 and appendix A), brought up to date without reading what it
//! covers.
//!
//! A CRC is linear: two messages of one length differ in their CRC by what their difference alone
//! would give, without initial value and final complement. Where only the first four bytes differ,
//! that is their difference as a polynomial, times x for each bit of the message, modulo the CRC's
//! polynomial. So the length says all that there is to know about the rest.

/// The polynomial of Castagnoli. Here as everywhere the least significant bit is the highest power,
/// as bits go over the wire.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The polynomial 1.
const ONE: u64 = 1 << 31;
/// The polynomial x^8: a byte's worth.
const BYTE: u64 = 1 << 23;

/// x^(8 n) for n from 0 to 255.
const BYTES: [u32; 256] = powers(BYTE);
/// x^(8 · 256 n) for n from 0 to 255.
const PAGES: [u32; 256] = powers(multiply(BYTES[255] as u64, BYTE));

/// What the CRC of a message of `length` bytes changes by (to be XORed) where its first four bytes
/// change by `difference`, both with the first byte as the least significant.
#[inline(always)]
#[must_use]
pub const fn change(difference: u32, length: u16) -> u32 {
    let bytes = BYTES[(length & 0xff) as usize] as u64;
    let pages = PAGES[(length >> 8) as usize] as u64;
    multiply(multiply(difference as u64, bytes), pages) as u32
}

/// The product of two polynomials modulo [`POLYNOMIAL`].
///
/// Without a branch, and written so that the compiler makes none: the verifier would follow each
/// side. Bits are taken four places apart, so that the sums of an ordinary product, of up to eight
/// bits each, do not carry into one another; their lowest bits are the product without carries.
#[inline(always)]
const fn multiply(left: u64, right: u64) -> u64 {
    let mut product = 0;
    let mut place = 0;
    while place < 4 {
        let (mut sum, mut of_left) = (0, 0);
        while of_left < 4 {
            let of_right = (4 + place - of_left) & 3;
            sum ^= (left & (FOURTHS << of_left)) * (right & (FOURTHS << of_right));
            of_left += 1;
        }
        product |= sum & ((FOURTHS << 32 | FOURTHS) << place);
        place += 1;
    }
    // Of its 63 bits the upper ones are the powers below 32. The lower ones are what a CRC with that
    // value goes on from to four bytes of zero.
    let product = product << 1;
    let mut rest = product & 0xffff_ffff;
    let mut byte = 0;
    while byte < 4 {
        rest = REST[(rest & 0xff) as usize] as u64 ^ (rest >> 8);
        byte += 1;
    }
    (product >> 32) ^ rest
}

/// Each fourth bit of 32.
const FOURTHS: u64 = 0x1111_1111;

/// By a byte: what it is times x^8, modulo [`POLYNOMIAL`], beside the shift.
const REST: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut rest, mut bit) = (byte as u32, 0);
        while bit < 8 {
            rest = (rest >> 1) ^ (POLYNOMIAL * (rest & 1));
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

/// The powers of `base`, from 0 on.
const fn powers(base: u64) -> [u32; 256] {
    let mut powers = [0; 256];
    let (mut power, mut number) = (ONE, 0);
    while number < powers.len() {
        powers[number] = power as u32;
        power = multiply(power, base);
        number += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crc::{CRC_32_ISCSI, Crc};
    use proptest::prelude::*;

    const REFERENCE: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

    fn first(bytes: &[u8]) -> u32 {
        u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
    }

    #[test]
    fn the_least_and_the_greatest_length() {
        for length in [4usize, 16, 255, 256, 257, 0xfffc, 0xffff] {
            let mut bytes = std::vec![0xa5; length];
            let before = REFERENCE.checksum(&bytes);
            let old = first(&bytes);
            bytes[..4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
            let change = change(old ^ first(&bytes), length as u16);
            assert_eq!(before ^ change, REFERENCE.checksum(&bytes), "{length}");
        }
    }

    #[test]
    fn no_difference_is_no_change() {
        assert_eq!(change(0, 1500), 0);
    }

    proptest! {
        #[test]
        fn incremental_equals_full(
            mut bytes in prop::collection::vec(any::<u8>(), 4..2048),
            zeros in 0usize..60_000,
            ports in any::<[u8; 4]>(),
        ) {
            // Random bytes for the whole length would take long; a CRC sees zeros too.
            bytes.resize(bytes.len() + zeros, 0);
            let before = REFERENCE.checksum(&bytes);
            let old = first(&bytes);
            bytes[..4].copy_from_slice(&ports);
            let change = change(old ^ first(&bytes), bytes.len() as u16);
            prop_assert_eq!(before ^ change, REFERENCE.checksum(&bytes));
        }
    }
}
