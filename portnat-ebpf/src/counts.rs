//! What is counted in maps.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use portnat_common::Total;

use crate::maps::{QUEUED, TOTALS};
use crate::tables::NEW;

/// Counts what goes into a family's queue and comes out.
#[inline(always)]
pub(crate) fn count_queued(family: u32, change: i64) {
    if let Some(length) = QUEUED.get_ptr_mut(family) {
        // SAFETY: each CPU has its own, and nothing else of ours runs in between.
        unsafe { *length += change };
    }
}

/// What came through a port before anything did. Not on the stack, where room is scarce.
static NOTHING: Total = Total {
    packets_in: 0,
    bytes_in: 0,
    packets_out: 0,
    bytes_out: 0,
};

/// How many flows a container has before the first. Not on the stack either.
pub(crate) static NONE: u64 = 0;

/// Adds to a published port's total.
#[inline(always)]
pub(crate) fn add_to_total(port_id: u32, inbound: bool, packets: u64, bytes: u64) {
    let total = match TOTALS.get_ptr_mut(port_id) {
        Some(total) => total,
        None => {
            // Another CPU may be faster, which is as well.
            let nothing: &Total = &NOTHING;
            let _ = TOTALS.insert(port_id, nothing, NEW);
            let Some(total) = TOTALS.get_ptr_mut(port_id) else {
                return;
            };
            total
        }
    };
    // SAFETY: the entry is never removed while programs run, and other CPUs add to it as we do.
    let (packet_sum, byte_sum) = unsafe {
        if inbound {
            (&raw mut (*total).packets_in, &raw mut (*total).bytes_in)
        } else {
            (&raw mut (*total).packets_out, &raw mut (*total).bytes_out)
        }
    };
    for (sum, value) in [(packet_sum, packets), (byte_sum, bytes)] {
        // SAFETY: as above.
        unsafe { add(sum, value) };
    }
}

/// Adds to what other CPUs add to at the same time, wrapping.
///
/// # Safety
/// `sum` points to a whole word, at a multiple of its size, of which everybody makes such use.
#[inline(always)]
pub(crate) unsafe fn add(sum: *mut u64, value: u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(sum, value) };
}
