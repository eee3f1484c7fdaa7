//! From the hook to the NAT and back to a verdict that the kernel understands.

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::info;
use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::ethernet;
use portnat_common::{DropReason, Family, Packet, Tables, V4, V6};

use crate::across;
use crate::done::Done;
use crate::fragments::passing;
use crate::maps::{DROPS, SETTINGS};
use crate::place::Place;
use crate::skb::Skb;
use crate::steps;
use crate::tables::{Mapped, Maps};

/// The next program's turn: `TCX_NEXT`, and clsact's `TC_ACT_UNSPEC`, which is the same number.
pub(crate) const NEXT: i32 = TC_ACT_UNSPEC;

/// The index of the loopback interface, in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// A packet is seen at a place.
#[inline(always)]
pub(crate) fn run<At: Place>(ctx: &TcContext) -> i32 {
    let done = match ethertype(ctx) {
        Some(V4::ETHERTYPE) => process::<V4, At>(ctx),
        Some(V6::ETHERTYPE) => process::<V6, At>(ctx),
        _ => return of_no_family::<At>(ctx),
    };
    match done.0 as u32 {
        // SAFETY: the helper has no requirements.
        Done::DELIVER => unsafe { bpf_redirect_peer(way_out(), 0) as i32 },
        // SAFETY: nor has this one.
        Done::SEND => unsafe { bpf_redirect(way_out(), 0) as i32 },
        Done::REDIRECT => redirect::<At>(ctx),
        Done::TRANSLATED if At::HOOK == Hook::In => {
            mark(ctx);
            NEXT
        }
        // TCX knows no verdict for what was taken and not dropped.
        Done::HELD => TC_ACT_SHOT,
        Done::DROP => {
            drop_for(ctx, done.value());
            let is_answered = match ethertype(ctx) {
                Some(V4::ETHERTYPE) => At::answer::<V4>(ctx, done.value()),
                Some(V6::ETHERTYPE) => At::answer::<V6>(ctx, done.value()),
                _ => false,
            };
            if is_answered {
                redirect::<At>(ctx)
            } else {
                TC_ACT_SHOT
            }
        }
        _ => NEXT,
    }
}

/// Marks a packet for the rules of the stack that it goes to.
#[inline(always)]
fn mark(ctx: &TcContext) {
    let Some(settings) = SETTINGS.get(0) else {
        return;
    };
    if settings.mark_mask != 0 {
        // SAFETY: the program's context, of which programs may write this.
        unsafe { (*ctx.skb.skb).mark = (*ctx.skb.skb).mark & !settings.mark_mask | settings.mark };
    }
}

/// The interface that a packet was told to go by.
#[inline(always)]
pub(crate) fn way_out() -> u32 {
    passing().map_or(0, |passing| passing.interface())
}

/// Sends a packet on by an interface. What goes to the host itself comes in by the loopback
/// interface.
#[inline(always)]
fn redirect<At: Place>(ctx: &TcContext) -> i32 {
    // The kernel redirects nothing to a neighbour that has no link header itself, and to the
    // loopback interface comes nothing from where there are none.
    if At::L3 == 0 && Skb::plain(ctx).add_head(ethernet::HEADER_LEN).is_none() {
        drop_for(ctx, DropReason::Unwritable as u32);
        return TC_ACT_SHOT;
    }
    let interface = way_out();
    let action = if interface == LOOPBACK {
        // Addressed to the interface, or the stack takes it for somebody else's.
        let mut skb = Skb::plain(ctx);
        if skb.write(0, [0_u32; 3]).is_none() {
            drop_for(ctx, DropReason::Unwritable as u32);
            return TC_ACT_SHOT;
        }
        // SAFETY: the helper has no requirements.
        unsafe { bpf_redirect(interface, u64::from(BPF_F_INGRESS)) }
    } else {
        // SAFETY: without parameters the helper asks the routing table itself.
        unsafe { bpf_redirect_neigh(interface, ptr::null_mut(), 0, 0) }
    };
    action as i32
}

/// Counts a drop.
#[inline(always)]
pub(crate) fn count(reason: u32) {
    if let Some(counter) = DROPS.get_ptr_mut(reason) {
        // SAFETY: the counter is this CPU's own, and a program is not preempted by itself.
        unsafe { *counter += 1 };
    }
}

/// Counts a drop and says so.
#[inline(always)]
pub(crate) fn drop_for(ctx: &TcContext, reason: u32) {
    count(reason);
    // Costs nothing unless `--trace` sets the level: the verifier removes the dead branch.
    info!(
        ctx,
        "dropped {} bytes at interface {}: {}",
        ctx.len(),
        metadata(ctx).ifindex,
        DropReason::ALL
            .get(reason as usize)
            .map_or("", |reason| reason.name())
    );
}

/// As [`portnat_common::nat::process`], each step a function of its own to the kernel, with a stack of
/// its own; and what belongs to flows of both families.
#[inline(always)]
fn process<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    // What comes in by a port is numbered in any case.
    if !At::SENDS
        && nat::is_bystander::<F, _, _>(&Skb::plain(ctx), sight::<At>(ctx), &Maps::at(ctx))
    {
        return Done::plain(Done::NEXT);
    }
    let done = steps::established::<F, At>(ctx);
    let wants_more = [Done::FRAGMENT, Done::ERROR, Done::UNKNOWN, Done::CONVERT];
    if !wants_more.iter().any(|more| done.is(*more)) {
        return done;
    }
    // By way of memory, of which the verifier knows nothing: what follows is walked once, and not
    // once for each way to it.
    let Some(passing) = passing() else {
        return Done::plain(Done::NEXT);
    };
    passing.park(done);
    passing.set_places(0);
    let is_fragment = done.is(Done::FRAGMENT);
    passing.set_fragment(is_fragment);
    if is_fragment {
        passing.park(steps::fragment::<F, At>(ctx));
    }
    if passing.done().is(Done::ERROR) {
        passing.park(steps::error::<F, At>(ctx));
        // What is about no flow of its own family may be about one of both.
        if passing.done().is(Done::NEXT) {
            passing.park(across::error::<F, At>(ctx));
        }
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(across::answer::<F, At>(ctx));
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(steps::half_open::<F, At>(ctx));
        if !passing.done().is(Done::UNKNOWN) {
            steps::confirm::<F>(ctx);
        }
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(steps::plan::<F, At>(ctx));
    }
    if At::HOOK == Hook::In && passing.done().is(Done::UNKNOWN) {
        passing.park(steps::admit::<F>(ctx));
    }
    if At::HOOK == Hook::Outside && passing.done().is(Done::UNKNOWN) {
        passing.park(steps::map::<F>(ctx));
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(steps::make::<F, At>(ctx));
        if passing.done().is(Done::UNKNOWN) {
            passing.park(steps::search::<F, At>(ctx));
        }
        if passing.done().is(Done::UNKNOWN) {
            passing.park(steps::complete::<F, At>(ctx));
        }
        // The flow has taken room and pays by making some; or there was none, and then all the more.
        steps::sweep::<F>(ctx);
        steps::sweep::<F>(ctx);
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(steps::finish::<F, At>(ctx));
    }
    if passing.done().is(Done::CONVERT) {
        passing.park(across::convert::<F, At>(ctx));
    }
    if passing.is_fragment() {
        steps::settle(ctx);
        if passing.places() != 0 {
            steps::release(ctx);
        }
    }
    passing.done()
}

/// How the packet is seen here.
#[inline(always)]
pub(crate) fn sight<At: Place>(ctx: &TcContext) -> Sight {
    Sight {
        hook: At::HOOK,
        l3: At::L3,
        // What the host sends itself came in nowhere.
        forwarded: matches!(At::HOOK, Hook::In | Hook::Local) || metadata(ctx).ingress_ifindex != 0,
    }
}

/// What the packet is, in host byte order, if it belongs to this interface: a VLAN tag lies in the
/// skb's metadata, and the VLAN's own interface has its own hooks. VLAN 0 is a mere priority, and
/// the kernel gives its packets to the interface itself (IEEE 802.1Q section 6.9).
#[inline(always)]
pub(crate) fn ethertype(ctx: &TcContext) -> Option<u16> {
    let skb = metadata(ctx);
    let ours = skb.vlan_present == 0 || skb.vlan_tci & 0x0fff == 0;
    ours.then_some(u16::from_be(skb.protocol as u16))
}

/// What is neither IPv4 nor IPv6 to us is not ours, but for what would be by the time that the stack has it.
#[inline(always)]
fn of_no_family<At: Place>(ctx: &TcContext) -> i32 {
    if At::HOOK == Hook::In && At::L3 != 0 && is_disguised(ctx) {
        drop_for(ctx, DropReason::Disguised as u32);
        return TC_ACT_SHOT;
    }
    NEXT
}

/// Whether a packet has two tags of VLAN 0 or more. The stack takes one after the other off behind us, and
/// gives what is below to the interface itself (`__netif_receive_skb_core`). Nobody sends such packets who
/// does not want to get past somebody.
#[inline(always)]
pub(crate) fn is_disguised(ctx: &TcContext) -> bool {
    const TAGS: [u16; 2] = [0x8100, 0x88a8];
    let skb = metadata(ctx);
    let protocol = u16::from_be(skb.protocol as u16);
    if skb.vlan_present == 0 || skb.vlan_tci & 0x0fff != 0 || !TAGS.contains(&protocol) {
        return false;
    }
    // The inner one lies where an untagged packet's network header does.
    let inner: Option<[u8; 2]> = Skb::plain(ctx).read(ethernet::HEADER_LEN);
    inner.is_none_or(|tag| u16::from_be_bytes(tag) & 0x0fff == 0)
}

/// What the kernel knows of the packet.
#[inline(always)]
fn metadata(ctx: &TcContext) -> &__sk_buff {
    // SAFETY: it is this program's context. The verifier turns each access to one of its fields
    // into one to the kernel's own structure.
    unsafe { &*ctx.skb.skb }
}
