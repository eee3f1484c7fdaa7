//! From the hook to the NAT and back to a verdict that the kernel understands.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::info;
use portnat_common::nat::{self, Leaving};
use portnat_common::{DropReason, Family, V4, Verdict};

use crate::maps::DROPS;
use crate::skb::Skb;
use crate::tables::Maps;

/// The next program's turn: `TCX_NEXT`, and clsact's `TC_ACT_UNSPEC`, which is the same number.
const NEXT: i32 = TC_ACT_UNSPEC;

/// How much of a packet is read at most: a link header, a network header with all its options, an
/// ICMP error's header, and of what it quotes as much again with 8 bytes of transport header.
const HEADERS: usize = 14 + 60 + 8 + 60 + 8;

/// A packet comes in; its network header lies at `L3`.
#[inline(always)]
pub(crate) fn ingress<const L3: usize>(ctx: &TcContext) -> i32 {
    if !is_ours::<V4>(ctx) {
        return NEXT;
    }
    let mut packet = Skb::with_headers(ctx, HEADERS);
    let verdict = nat::ingress::<V4, _, _>(&mut packet, L3, &maps(ctx));
    conclude(ctx, verdict)
}

/// A packet goes out; its network header lies at `L3`.
#[inline(always)]
pub(crate) fn egress<const L3: usize>(ctx: &TcContext, leaving: Leaving) -> i32 {
    if !is_ours::<V4>(ctx) {
        return NEXT;
    }
    // What the host sends itself came in nowhere.
    let forwarded = metadata(ctx).ingress_ifindex != 0;
    let mut packet = Skb::with_headers(ctx, HEADERS);
    let verdict = nat::egress::<V4, _, _>(&mut packet, L3, forwarded, leaving, &maps(ctx));
    conclude(ctx, verdict)
}

/// Whether a packet is of family `F` and of this interface. A VLAN tag lies in the skb's metadata;
/// the packet belongs to the VLAN's own interface, which has its own hooks.
#[inline(always)]
fn is_ours<F: Family>(ctx: &TcContext) -> bool {
    let skb = metadata(ctx);
    skb.protocol == u32::from(F::ETHERTYPE.to_be()) && skb.vlan_present == 0
}

/// The maps as seen from the hook's interface.
#[inline(always)]
fn maps(ctx: &TcContext) -> Maps {
    Maps::at(metadata(ctx).ifindex)
}

/// What the kernel knows of the packet.
#[inline(always)]
fn metadata(ctx: &TcContext) -> &__sk_buff {
    // SAFETY: it is this program's context. The verifier turns each access to one of its fields
    // into one to the kernel's own structure.
    unsafe { &*ctx.skb.skb }
}

/// Counts a drop and turns the verdict into the kernel's.
#[inline(always)]
fn conclude(ctx: &TcContext, verdict: Verdict) -> i32 {
    let Verdict::Drop(reason) = verdict else {
        return NEXT;
    };
    count(reason);
    // Costs nothing unless `--trace` sets the level: the verifier removes the dead branch.
    info!(
        ctx,
        "dropped {} bytes at interface {}: {}",
        ctx.len(),
        metadata(ctx).ifindex,
        reason.name()
    );
    TC_ACT_SHOT
}

/// Counts a drop.
#[inline(always)]
fn count(reason: DropReason) {
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: the counter is this CPU's own, and a program is not preempted by itself.
        unsafe { *counter += 1 };
    }
}
