//! The benchmark's own eBPF programs, in an object of their own: what makes packets, what counts
//! them, and the bare redirects that show what the machine could do at best.

#![no_std]
#![no_main]

mod frame;
mod maps;
mod plan;
mod sink;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, socket_filter, xdp};
use aya_ebpf::programs::{SkBuffContext, TcContext, XdpContext};

use crate::sink::Seen;

/// Writes the next frame and sends it out. Run by BPF_PROG_TEST_RUN with live frames, whose pages
/// come back as the path has left them: so all of each frame is written.
#[xdp]
pub(crate) fn generate(ctx: XdpContext) -> u32 {
    frame::write(&ctx).map_or(xdp_action::XDP_ABORTED, |interface| {
        // SAFETY: the helper takes numbers only.
        unsafe { bpf_redirect(interface, 0) as u32 }
    })
}

/// Counts what comes in, and drops it or sends it back; what is not UDP over IPv4 goes on.
#[classifier]
pub(crate) fn sink(ctx: TcContext) -> i32 {
    // SAFETY: this is the program's context, which the verifier lets us read.
    let (start, end, interface) = unsafe {
        let skb = &*ctx.skb.skb;
        (skb.data as usize, skb.data_end as usize, skb.ifindex)
    };
    match sink::see(start, end) {
        Seen::Nothing => TC_ACT_UNSPEC,
        Seen::Counted => TC_ACT_SHOT,
        // SAFETY: the helper takes numbers only.
        Seen::Answered => unsafe { bpf_redirect(interface, 0) as i32 },
    }
}

/// The same for frames that came by way of XDP only; drops all of them.
#[xdp]
pub(crate) fn sink_xdp(ctx: XdpContext) -> u32 {
    match sink::see(ctx.data(), ctx.data_end()) {
        Seen::Nothing => xdp_action::XDP_PASS,
        Seen::Counted => xdp_action::XDP_DROP,
        Seen::Answered => xdp_action::XDP_TX,
    }
}

/// Counts what reaches a socket, and drops it there.
#[socket_filter]
pub(crate) fn sink_socket(_ctx: SkBuffContext) -> i64 {
    sink::count(plan::EXPECTED);
    0
}

/// Hands UDP over to the other end of a veth pair, in its namespace.
#[classifier]
pub(crate) fn hand_over(ctx: TcContext) -> i32 {
    if !is_udp(&ctx) {
        return TC_ACT_UNSPEC;
    }
    maps::WAY.get(0).map_or(TC_ACT_UNSPEC, |way| {
        // SAFETY: the helper takes numbers only.
        unsafe { bpf_redirect_peer(way.interface, 0) as i32 }
    })
}

/// Sends UDP out by another interface.
#[classifier]
pub(crate) fn pass_on(ctx: TcContext) -> i32 {
    if !is_udp(&ctx) {
        return TC_ACT_UNSPEC;
    }
    maps::WAY.get(0).map_or(TC_ACT_UNSPEC, |way| {
        // SAFETY: the helper takes numbers only.
        unsafe { bpf_redirect(way.interface, 0) as i32 }
    })
}

/// The same before there is an skb.
#[xdp]
pub(crate) fn pass_on_xdp(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if !sink::is_udp(start, end) {
        return xdp_action::XDP_PASS;
    }
    let Some(way) = maps::WAY.get(0) else {
        return xdp_action::XDP_PASS;
    };
    if start + size_of::<[u8; 6]>() <= end {
        // SAFETY: lies within the frame, and is its destination.
        unsafe { (start as *mut [u8; 6]).write(way.destination) };
    }
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect(way.interface, 0) as u32 }
}

/// Does nothing, so that it shows what a run costs besides the program.
#[classifier]
pub(crate) fn nothing(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

#[inline(always)]
fn is_udp(ctx: &TcContext) -> bool {
    // SAFETY: this is the program's context, which the verifier lets us read.
    let skb = unsafe { &*ctx.skb.skb };
    sink::is_udp(skb.data as usize, skb.data_end as usize)
}

/// The licence that lets the programs call GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Unreachable, as in portnat's own object.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
