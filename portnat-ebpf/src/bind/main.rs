//! The bind hook: no process of the host's network namespace binds a port of a reserved range.
//!
//! An object of its own, because most hosts reserve by sockets and never load it.

#![no_std]
#![no_main]

use aya_ebpf::Global;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_set_retval};
use aya_ebpf::macros::{cgroup_sock_addr, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::SockAddrContext;
use bytemuck::cast;
use portnat_common::address::map as mapped;
use portnat_common::reserved::RANGES as MOST;
use portnat_common::{Ip4, ReservedRange};

/// The network namespace whose ports they are.
#[unsafe(no_mangle)]
static NAMESPACE: Global<u64> = Global::new(0);

/// Whether the kernel lets the hook say what the error is.
#[unsafe(no_mangle)]
static NAMES_ERROR: Global<u8> = Global::new(0);

/// The ranges, without a gap.
#[map]
static RANGES: Array<ReservedRange> = Array::with_max_entries(MOST, 0);

/// EADDRINUSE as a return value.
const IN_USE: i32 = -98;

/// What the program returns.
const REFUSE: i32 = 0;
const ALLOW: i32 = 1;

/// A socket of IPv4 is bound.
#[cgroup_sock_addr(bind4)]
pub(crate) fn bind_v4(ctx: SockAddrContext) -> i32 {
    judge(ctx.sock_addr, |at| {
        // SAFETY: the context, and a field that this attach type may read.
        let address: Ip4 = cast(unsafe { (*at).user_ip4 });
        mapped(address)
    })
}

/// A socket of IPv6 is bound.
#[cgroup_sock_addr(bind6)]
pub(crate) fn bind_v6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above.
    judge(ctx.sock_addr, |at| unsafe { (*at).user_ip6 })
}

#[inline(always)]
fn judge(at: *mut bpf_sock_addr, address: impl Fn(*mut bpf_sock_addr) -> [u32; 4]) -> i32 {
    // First of all: most sockets that are bound on this machine may be containers'.
    // SAFETY: the context.
    if unsafe { bpf_get_netns_cookie(at.cast()) } != NAMESPACE.load() {
        return ALLOW;
    }
    // SAFETY: the context.
    let (protocol, port) = unsafe { ((*at).protocol, (*at).user_port as u16) };
    let (port, address) = (u16::from_be(port), address(at));
    for number in 0..MOST {
        match RANGES.get(number) {
            Some(range) if range.is_end() => return ALLOW,
            Some(range) if range.meets(protocol, &address, port) => return refuse(),
            _ => {}
        }
    }
    ALLOW
}

/// The error is EPERM where the kernel lets it not be named.
#[inline(always)]
fn refuse() -> i32 {
    if NAMES_ERROR.load() != 0 {
        // SAFETY: a number.
        unsafe { bpf_set_retval(IN_USE) };
    }
    REFUSE
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
