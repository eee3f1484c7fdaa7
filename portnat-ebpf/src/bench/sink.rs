//! Where packets end: they are looked at and counted.

use crate::maps::{COUNTED, EXPECTED};
use crate::plan::{self, DESTINATION, IPV4, PORTS, SOURCE};

/// Where the protocol stands in IPv4's header.
const PROTOCOL: usize = IPV4 + 9;

/// UDP's number there.
const UDP: u8 = 17;

/// How much of a frame is looked at.
const LOOKED_AT: usize = PORTS + 4;

/// What became of a frame.
pub(crate) enum Seen {
    /// It is none of ours.
    Nothing,
    /// It is counted.
    Counted,
    /// It is counted and has become its own answer.
    Answered,
}

/// Looks at the frame that lies between two addresses.
#[inline(always)]
pub(crate) fn see(start: usize, end: usize) -> Seen {
    if !is_udp(start, end) {
        return Seen::Nothing;
    }
    let Some(expected) = EXPECTED.get(0) else {
        return Seen::Nothing;
    };
    // SAFETY: `is_udp` has found the frame that long.
    let (source, destination, source_port, destination_port) = unsafe {
        (
            address(start + SOURCE),
            address(start + DESTINATION),
            load(start + PORTS),
            load(start + PORTS + 2),
        )
    };
    let is_expected = fits(expected.source, source)
        && fits(expected.destination, destination)
        && fits(expected.source_port, source_port.into())
        && fits(expected.destination_port, destination_port.into());
    if !is_expected {
        count(plan::OTHERS);
        return Seen::Counted;
    }
    count(plan::EXPECTED);
    if expected.answer == 0 {
        return Seen::Counted;
    }
    // What is swapped leaves the checksums as they are.
    // SAFETY: as above.
    unsafe {
        for at in [0, 2, 4] {
            swap(start + at, start + at + 6);
        }
        for at in [0, 2] {
            swap(start + SOURCE + at, start + DESTINATION + at);
        }
        swap(start + PORTS, start + PORTS + 2);
    }
    Seen::Answered
}

/// Whether there is a UDP header behind one of IPv4 that has no options.
#[inline(always)]
pub(crate) fn is_udp(start: usize, end: usize) -> bool {
    if start + LOOKED_AT > end {
        return false;
    }
    // SAFETY: the frame is that long.
    unsafe {
        load(start + 12) == 0x0800_u16.to_be()
            && *((start + IPV4) as *const u8) == 0x45
            && *((start + PROTOCOL) as *const u8) == UDP
    }
}

#[inline(always)]
fn fits(expected: u32, found: u32) -> bool {
    expected == 0 || expected == found
}

#[inline(always)]
pub(crate) fn count(which: u32) {
    if let Some(counter) = COUNTED.get_ptr_mut(which) {
        // SAFETY: the map's entry of this CPU, which nothing interrupts at this hook.
        unsafe { *counter += 1 };
    }
}

/// An address, as it lies in memory.
///
/// # Safety
/// As for [`load`], with four bytes.
#[inline(always)]
unsafe fn address(at: usize) -> u32 {
    // SAFETY: the caller's promise.
    let [first, second] = unsafe { [load(at), load(at + 2)] };
    #[cfg(target_endian = "little")]
    let [low, high] = [first, second];
    #[cfg(target_endian = "big")]
    let [high, low] = [first, second];
    u32::from(high) << 16 | u32::from(low)
}

/// # Safety
/// `at` must be even, and lie within the frame with two bytes.
#[inline(always)]
unsafe fn load(at: usize) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { *(at as *const u16) }
}

/// # Safety
/// As for [`load`], for both.
#[inline(always)]
unsafe fn swap(one: usize, other: usize) {
    let (one, other) = (one as *mut u16, other as *mut u16);
    // SAFETY: the caller's promise.
    unsafe { (*one, *other) = (*other, *one) };
}
