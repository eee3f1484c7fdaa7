//! portnat's eBPF programs: thin entry points that hand a packet to `portnat-common`.
//!
//! Uplinks and bridges get a program on their way in and one on their way out, a bridge's ports one
//! on their way in; bridges of networks that lead nowhere get two that but let pass or drop. Uplinks without a link layer (tun, WireGuard) get the `_l3` ones, whose packets
//! begin with the network header.

#![no_std]
#![no_main]
// An atomic addition: `AtomicU64` has none where the target has no compare-and-swap.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "see above; the compiler is pinned")]

mod across;
mod admission;
mod answer;
mod counts;
mod done;
mod fragments;
mod internal;
mod maps;
mod place;
mod ranges;
mod run;
mod skb;
mod socket;
mod steps;
mod tables;
mod xdp;

use aya_ebpf::macros::{classifier, xdp as xdp_program};
use aya_ebpf::programs::{TcContext, XdpContext};
use portnat_common::settings::SWEPT_AT_ONCE;
use portnat_common::wire::ethernet;
use portnat_common::{Family, V4, V6};

use crate::place::{In, Inside, Local, Outside, Port};

/// Where the network header lies behind an Ethernet header.
const ETHERNET: usize = ethernet::HEADER_LEN;

/// In from an uplink, a bridge or a bridge's port.
#[classifier]
pub(crate) fn nat_in(ctx: TcContext) -> i32 {
    run::run::<In<ETHERNET>>(&ctx)
}

/// In from a bridge's port.
#[classifier]
pub(crate) fn port_in(ctx: TcContext) -> i32 {
    run::run::<Port>(&ctx)
}

/// Out by a bridge's port, to a container. Changes nothing.
#[classifier]
pub(crate) fn port_out(ctx: TcContext) -> i32 {
    steps::arrive::<Inside<ETHERNET>>(&ctx);
    run::NEXT
}

/// Out by an uplink.
#[classifier]
pub(crate) fn uplink_out(ctx: TcContext) -> i32 {
    run::run::<Outside<ETHERNET>>(&ctx)
}

/// Out by a bridge, to a container.
#[classifier]
pub(crate) fn bridge_out(ctx: TcContext) -> i32 {
    run::run::<Inside<ETHERNET>>(&ctx)
}

/// In from the bridge of a network that leads nowhere.
#[classifier]
pub(crate) fn internal_in(ctx: TcContext) -> i32 {
    internal::leave(&ctx)
}

/// Out by the bridge of a network that leads nowhere, to a container.
#[classifier]
pub(crate) fn internal_out(ctx: TcContext) -> i32 {
    internal::enter(&ctx)
}

/// Out by the loopback interface: from the host to itself.
#[classifier]
pub(crate) fn local_out(ctx: TcContext) -> i32 {
    run::run::<Local>(&ctx)
}

/// In from an uplink without a link layer.
#[classifier]
pub(crate) fn nat_in_l3(ctx: TcContext) -> i32 {
    run::run::<In<0>>(&ctx)
}

/// Out by an uplink without a link layer.
#[classifier]
pub(crate) fn uplink_out_l3(ctx: TcContext) -> i32 {
    run::run::<Outside<0>>(&ctx)
}

/// In by an uplink, before the host has made packets of what comes. What is not sent on by this meets
/// `nat_in` as it was.
#[xdp_program(frags)]
pub(crate) fn uplink_xdp(ctx: XdpContext) -> u32 {
    xdp::run(&ctx)
}

/// The same in front of the host's stack (generic XDP), which hands over all of a packet in one buffer.
/// For a program that takes several, newer kernels copy most packets, and `nat_in` does not find its
/// way in the copy (seen on 6.18).
#[xdp_program]
pub(crate) fn uplink_xdp_generic(ctx: XdpContext) -> u32 {
    xdp::run(&ctx)
}

/// The datapath's clock. Never attached: userspace runs it to learn what time it is for the flows.
#[classifier]
pub(crate) fn clock(_ctx: TcContext) -> i32 {
    match maps::CLOCK.set(0, tables::ticks().0, 0) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Examines flows, whether their time is over. Never attached: userspace runs it, so that those go
/// too that no new flow would push out. Returns 1 if there was any to examine.
#[classifier]
pub(crate) fn sweep_flows(ctx: TcContext) -> i32 {
    let mut examined = false;
    for _ in 0..SWEPT_AT_ONCE {
        examined = steps::sweep::<V4>(&ctx) | steps::sweep::<V6>(&ctx);
    }
    i32::from(examined)
}

/// Ends the flow whose key lies in the packet behind its Ethernet header, which says the family.
/// Never attached: userspace runs it. Returns 1 if there was such a flow.
#[classifier]
pub(crate) fn end_flow(ctx: TcContext) -> i32 {
    i32::from(match run::ethertype(&ctx) {
        Some(V4::ETHERTYPE) => steps::end::<V4>(&ctx),
        Some(V6::ETHERTYPE) => steps::end::<V6>(&ctx),
        _ => false,
    })
}

/// Whether the kernel knows `BPF_F_IPV6`. Never attached: userspace runs it once. Returns 1 or 0.
#[classifier]
pub(crate) fn knows_ipv6_flag(ctx: TcContext) -> i32 {
    i32::from(skb::knows_ipv6_flag(&ctx))
}

/// The licence that lets the programs call GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Unreachable: the verifier refuses a program in which a panic could be reached, because of the
/// endless loop.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
