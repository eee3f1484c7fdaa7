//! A packet is answered with an ICMP error about it, which takes the packet's place.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::helpers::{bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use portnat_common::icmp_answer::{self, IcmpError, MOST_QUOTED, Quotation};
use portnat_common::wire::ethernet;
use portnat_common::{Family, Packet, Tables};

use crate::fragments::passing;
use crate::maps::{ALLOWANCE, QUOTATION};
use crate::skb::Skb;
use crate::tables::{Mapped, Maps, ticks};

/// What is cut out of the packet: more than lies before a checksum that a device is to compute.
const CUT: usize = ethernet::HEADER_LEN + MOST_QUOTED + 2;
/// What is cut out afterwards.
const CUT_AGAIN: usize = 4;

/// What an error says, and where it is sent.
struct Answer<A> {
    error: IcmpError<A>,
    /// Index of the interface that it goes by.
    interface: u32,
}

/// Tells the container that sent the packet that there is no room for its flow: the packet becomes
/// the error, for who is redirected then. `false` where that is not possible or there were too many.
#[inline(never)]
pub(crate) fn refuse<F: Mapped, const L3: usize>(ctx: &TcContext) -> bool
where
    Maps: Tables<F>,
{
    answer::<F, L3>(ctx, |tables, quotation| {
        let bridge = bridge_of::<F>(tables, quotation)?;
        // As the host's own errors do, it comes from the host's address there.
        let source = tables
            .egress_address(bridge)
            .or_else(|| tables.egress_address(tables.interface()))?;
        Some(Answer {
            error: IcmpError::prohibited::<F>(source),
            interface: bridge,
        })
    })
    .is_some()
}

/// Tells who sent the packet how long it may be, as whom it was sent to. `false` as in [`refuse`].
/// The host's own packets, if it is one of those (`OWN`), can have its address on a bridge.
#[inline(never)]
pub(crate) fn refuse_length<F: Mapped, const L3: usize, const OWN: bool>(ctx: &TcContext) -> bool
where
    Maps: Tables<F>,
{
    answer::<F, L3>(ctx, |tables, quotation| {
        let mtu = passing()?.mtu();
        let source = F::network(&Skb::new::<F>(ctx), L3)?.dst;
        // A container's packet is seen at a port of the bridge.
        let bridge = match OWN {
            true => None,
            false => bridge_of::<F>(tables, quotation),
        };
        Some(Answer {
            error: IcmpError::too_big::<F>(mtu as u16, source),
            interface: bridge.unwrap_or(tables.interface()),
        })
    })
    .is_some()
}

/// The bridge that the sender is behind.
#[inline(always)]
fn bridge_of<F: Family>(tables: &Maps, quotation: &Quotation) -> Option<u32>
where
    Maps: Tables<F>,
{
    let bridge = Tables::<F>::subnet(tables, &quotation.sender())?.bridge;
    (bridge != 0).then_some(bridge)
}

/// Puts an error in the packet's place, and says where it goes.
#[inline(always)]
fn answer<F: Mapped, const L3: usize>(
    ctx: &TcContext,
    answer: impl FnOnce(&Maps, &Quotation) -> Option<Answer<F::Address>>,
) -> Option<()>
where
    Maps: Tables<F>,
{
    let (tables, quotation) = (Maps::at(ctx), quotation()?);
    let skb = &mut Skb::new::<F>(ctx);
    icmp_answer::quote::<F, _>(skb, L3, quotation)?;
    let answer = answer(&tables, quotation)?;
    if !may_answer::<F>(&tables) {
        return None;
    }
    become_error::<F, L3>(ctx, &answer.error, quotation)?;
    skb.redirect(answer.interface);
    Some(())
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
fn become_error<F: Family, const L3: usize>(
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
