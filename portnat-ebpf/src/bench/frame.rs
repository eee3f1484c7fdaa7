//! The generator's frames.

use aya_ebpf::programs::XdpContext;

use crate::maps::{PLAN, POSITION};
use crate::plan::{
    DESTINATION, End, FRAME, Flow, IPV4_CHECKSUM, PORTS, Plan, Position, SOURCE, UDP_CHECKSUM,
};

/// Writes the frame that comes next; returns the interface by which it leaves.
#[inline(always)]
pub(crate) fn write(ctx: &XdpContext) -> Option<u32> {
    let plan = PLAN.get(0)?;
    let position = POSITION.get_ptr_mut(0)?;
    let frame = ctx.data();
    if frame + FRAME > ctx.data_end() {
        return None;
    }
    // SAFETY: it is the map's entry, which nobody else changes while the generator runs.
    let position = unsafe { &mut *position };
    let (row, place) = (position.next.row, position.next.place);
    advance(position, plan);
    let [source, destination] =
        [&plan.source, &plan.destination].map(|end| locate(end, row, place));

    for (at, word) in plan.frame.iter().enumerate() {
        // SAFETY: the frame is as long, as was seen above, and begins at a multiple of 8: it has a
        // page of its own.
        unsafe { *(frame as *mut u64).add(at) = *word };
    }
    let (source_port, destination_port) = (source.1 as u16, destination.1 as u16);
    let addresses = halves(source.0) + halves(destination.0);
    let ports = u32::from(source_port) + u32::from(destination_port);
    let udp = checksum(plan.udp_sum + addresses + ports);
    // SAFETY: as above; all offsets are even, and constants within the frame.
    unsafe {
        store(frame + IPV4_CHECKSUM, checksum(plan.ipv4_sum + addresses));
        store(frame + SOURCE, (source.0 >> 16) as u16);
        store(frame + SOURCE + 2, source.0 as u16);
        store(frame + DESTINATION, (destination.0 >> 16) as u16);
        store(frame + DESTINATION + 2, destination.0 as u16);
        store(frame + PORTS, source_port);
        store(frame + PORTS + 2, destination_port);
        // A sum of 0 is written as its other form: 0 would say that there is none (RFC 768).
        store(frame + UDP_CHECKSUM, if udp == 0 { 0xffff } else { udp });
    }
    Some(plan.interface)
}

/// To the next flow.
#[inline(always)]
fn advance(position: &mut Position, plan: &Plan) {
    position.made += 1;
    let next = &mut position.next;
    next.number += 1;
    next.place += 1;
    if next.place >= plan.row {
        next.place = 0;
        next.row += 1;
    }
    position.of_block += 1;
    let is_last = next.number >= plan.flows;
    if position.of_block < plan.block && !is_last {
        return;
    }
    position.of_block = 0;
    position.pass += 1;
    if position.pass < plan.passes {
        *next = position.block;
        return;
    }
    position.pass = 0;
    if is_last {
        *next = Flow {
            number: 0,
            row: 0,
            place: 0,
        };
    }
    position.block = *next;
}

/// The address and port of a flow.
#[inline(always)]
fn locate(end: &End, row: u32, place: u32) -> (u32, u32) {
    (
        end.address.wrapping_add(end.address_step.wrapping_mul(row)),
        end.port.wrapping_add(end.port_step.wrapping_mul(place)),
    )
}

/// Writes a number in network order.
///
/// # Safety
/// `at` must be even, and lie within the frame with two bytes.
#[inline(always)]
unsafe fn store(at: usize, value: u16) {
    // SAFETY: the caller's promise.
    unsafe { *(at as *mut u16) = value.to_be() };
}

/// The sum of an address's 16-bit words.
#[inline(always)]
fn halves(address: u32) -> u32 {
    (address >> 16) + (address & 0xffff)
}

/// The Internet checksum (RFC 1071) of a sum of 16-bit words.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
