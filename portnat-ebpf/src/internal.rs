//! At the bridge of a network that leads nowhere.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::programs::TcContext;
use portnat_common::nat::{enter_internal, leave_internal};
use portnat_common::{DropReason, Family, Tables, V4, V6, Verdict};

use crate::ETHERNET;
use crate::run::{NEXT, drop_for, ethertype, is_disguised};
use crate::skb::Skb;
use crate::tables::{Mapped, Maps};

/// Up to the host's stack.
#[inline(always)]
pub(crate) fn leave(ctx: &TcContext) -> i32 {
    match ethertype(ctx) {
        Some(V4::ETHERTYPE) => leave_as::<V4>(ctx),
        Some(V6::ETHERTYPE) => leave_as::<V6>(ctx),
        _ if is_disguised(ctx) => become_of(ctx, Verdict::Drop(DropReason::Disguised)),
        _ => NEXT,
    }
}

#[inline(never)]
fn leave_as<F: Mapped>(ctx: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    let packet = Skb::new::<F>(ctx);
    become_of(
        ctx,
        leave_internal::<F, _, _>(&packet, ETHERNET, &Maps::at(ctx)),
    )
}

/// Down to the containers.
#[inline(always)]
pub(crate) fn enter(ctx: &TcContext) -> i32 {
    let tables = Maps::at(ctx);
    match ethertype(ctx) {
        Some(V4::ETHERTYPE) => become_of(ctx, enter_internal::<V4, _>(&tables)),
        Some(V6::ETHERTYPE) => become_of(ctx, enter_internal::<V6, _>(&tables)),
        _ => NEXT,
    }
}

#[inline(always)]
fn become_of(ctx: &TcContext, verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Drop(reason) => {
            drop_for(ctx, reason as u32);
            TC_ACT_SHOT
        }
        _ => NEXT,
    }
}
