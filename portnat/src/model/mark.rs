//! The mark that translated packets get, as a handle for firewall and routing rules.

use std::fmt;
use std::str::FromStr;

/// Bits of a packet's mark and what they are made, as iptables(8) has it for `--set-xmark`:
/// `0x100/0xff00`. Without a mask it is the whole mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What the bits are made; none is set outside the mask.
    pub value: u32,
    /// The bits.
    pub mask: u32,
}

impl FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number(value)?, number(mask)?),
            None => (number(text)?, u32::MAX),
        };
        if mask == 0 {
            return Err(format!("{text:?} marks nothing: its mask is 0"));
        }
        if value & !mask != 0 {
            return Err(format!("{text:?} has bits that its mask has not"));
        }
        Ok(Mark { value, mask })
    }
}

/// A number, in hexadecimal notation behind 0x.
fn number(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text:?} is not a number of 32 bits, such as 256 or 0x100"))
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_iptables_has_it() {
        for (text, shown) in [
            ("256", "0x100/0xffffffff"),
            ("0x100/0xff00", "0x100/0xff00"),
            ("0/1", "0x0/0x1"),
        ] {
            let mark: Mark = text.parse().expect(text);
            assert_eq!(mark.to_string(), shown);
            assert_eq!(shown.parse(), Ok(mark));
        }
        for text in ["", "x", "0x", "0x100000000", "1/0", "3/1", "-1", "1/2/3"] {
            let error = text.parse::<Mark>().expect_err(text);
            assert!(error.contains('"'), "{error}");
        }
    }
}
