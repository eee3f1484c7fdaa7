//! A packet is answered with an ICMP error about it, which takes the packet's place.

use core::ptr::null_mut;

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::{
    bpf_redirect_neigh, bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_change_tail,
    bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use portnat_common::icmp_answer::{self, IcmpError, MOST_QUOTED, Quotation};
use portnat_common::wire::ethernet;
use portnat_common::{Family, Tables};

use crate::maps::{ALLOWANCE, QUOTATION};
use crate::skb::Skb;
use crate::tables::{Mapped, Maps, ticks};

/// What is cut out of the packet: more than lies before a checksum that a device is to compute.
const CUT: usize = ethernet::HEADER_LEN + MOST_QUOTED + 2;
/// What is cut out afterwards.
const CUT_AGAIN: usize = 4;

/// Tells the container that sent the packet that there is no room for its flow: the packet becomes
/// the error and goes back by the bridge that the container is behind. Dropped where that is not
/// possible, or there were too many. Its network header lies at `L3`.
#[inline(never)]
pub(crate) fn refuse<F: Mapped, const L3: usize>(ctx: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    refused::<F, L3>(ctx).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn refused<F: Mapped, const L3: usize>(ctx: &TcContext) -> Option<i32>
where
    Maps: Tables<F>,
{
    let (tables, quotation) = (Maps::at(ctx), quotation()?);
    icmp_answer::quote::<F, _>(&Skb::new::<F>(ctx), L3, quotation)?;
    let bridge = tables.subnet(&quotation.sender())?.bridge;
    if bridge == 0 {
        return None;
    }
    // As the host's own errors do, it comes from the host's address there.
    let source = tables
        .egress_address(bridge)
        .or_else(|| tables.egress_address(tables.interface()))?;
    if !may_answer(&tables) {
        return None;
    }
    become_error::<F, L3>(ctx, &IcmpError::prohibited::<F>(source), quotation)?;
    if L3 == 0 {
        // What goes to a neighbour has a link header, which the neighbour's replaces.
        // SAFETY: the program's context.
        let grown = unsafe { bpf_skb_change_head(ctx.skb.skb, ethernet::HEADER_LEN as u32, 0) };
        if grown != 0 {
            return None;
        }
    }
    // SAFETY: without parameters the neighbour is looked up by the destination. Since 5.10 (commit
    // b4ab31414970).
    let redirected = unsafe { bpf_redirect_neigh(bridge, null_mut(), 0, 0) } as i32;
    (redirected == TC_ACT_REDIRECT).then_some(redirected)
}

/// Room for what is quoted.
#[inline(always)]
fn quotation<'a>() -> Option<&'a mut Quotation> {
    // SAFETY: each CPU has its own, and a program answers once.
    QUOTATION.get_ptr_mut(0).map(|room| unsafe { &mut *room })
}

/// Whether this CPU has not sent too many errors lately.
#[inline(always)]
fn may_answer<F: Family>(tables: &impl Tables<F>) -> bool {
    let (Some(settings), Some(allowance)) = (tables.settings(), ALLOWANCE.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: each CPU has its own, and nothing else of ours runs in between.
    unsafe { (*allowance).spend(settings.hz, ticks()) }
}

/// Puts the error in place of the packet of which it quotes what `quotation` holds. `None` if the
/// kernel has no memory; the packet is good for nothing then.
#[inline(always)]
pub(crate) fn become_error<F: Family, const L3: usize>(
    ctx: &TcContext,
    error: &IcmpError<F::Address>,
    quotation: &Quotation,
) -> Option<()> {
    let skb = ctx.skb.skb;
    let len = (L3 + quotation.packet_len::<F>()) as u32;
    // What a device was to compute (CHECKSUM_PARTIAL) must not be done to the error. No helper says
    // so; but the kernel forgets it when what lies before the checksum is cut out. Until 6.2 (commit
    // 54c3f1a81421) it looked too early, and sees it the second time.
    // SAFETY: the program's context, here and below; the helpers compare all lengths.
    let cut = unsafe {
        bpf_skb_change_tail(skb, len + (CUT + CUT_AGAIN) as u32, 0) == 0
            && bpf_skb_adjust_room(skb, -(CUT as i32), BPF_ADJ_ROOM_MAC, 0) == 0
            && bpf_skb_adjust_room(skb, -(CUT_AGAIN as i32), BPF_ADJ_ROOM_MAC, 0) == 0
            && bpf_skb_pull_data(skb, len) == 0
    };
    if !cut {
        return None;
    }
    icmp_answer::write::<F, _>(&mut Skb::new::<F>(ctx), L3, error, quotation)
}
