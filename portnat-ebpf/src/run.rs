//! From the hook to the NAT and back to a verdict that the kernel understands.

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::info;
use portnat_common::nat::{self, Hook, Opening, Sight};
use portnat_common::wire::ethernet;
use portnat_common::{DropReason, Family, Fragments as _, Packet, Tables, Tuple, V4, V6, Verdict};

use crate::across;
use crate::done::Done;
use crate::fragments::passing;
use crate::maps::DROPS;
use crate::place::Place;
use crate::skb::Skb;
use crate::tables::{Mapped, Maps};

/// The next program's turn: `TCX_NEXT`, and clsact's `TC_ACT_UNSPEC`, which is the same number.
const NEXT: i32 = TC_ACT_UNSPEC;

/// The index of the loopback interface, in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// How much of a packet is read at most: a link header, a network header with all its options, an
/// ICMP error's header, and of what it quotes as much again with 8 bytes of transport header.
const HEADERS: usize = 14 + 60 + 8 + 60 + 8;

/// A packet is seen at a place.
#[inline(always)]
pub(crate) fn run<At: Place>(ctx: &TcContext) -> i32 {
    let done = match ethertype(ctx) {
        Some(V4::ETHERTYPE) => process::<V4, At>(ctx),
        Some(V6::ETHERTYPE) => process::<V6, At>(ctx),
        _ => return NEXT,
    };
    match done.0 as u32 {
        Done::REDIRECT => redirect::<At>(ctx),
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
    let interface = passing().map_or(0, |passing| passing.interface());
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
fn drop_for(ctx: &TcContext, reason: u32) {
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

/// As [`nat::process`], each step a function of its own to the kernel, with a stack of its own; and
/// what belongs to flows of both families.
#[inline(always)]
fn process<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let done = established::<F, At>(ctx);
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
        passing.park(fragment::<F, At>(ctx));
    }
    if passing.done().is(Done::ERROR) {
        passing.park(error::<F, At>(ctx));
        // What is about no flow of its own family may be about one of both.
        if passing.done().is(Done::NEXT) {
            passing.park(across::error::<F, At>(ctx));
        }
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(across::answer::<F, At>(ctx));
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(half_open::<F, At>(ctx));
        if !passing.done().is(Done::UNKNOWN) {
            confirm::<F>(ctx);
        }
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(plan::<F, At>(ctx));
    }
    if At::HOOK == Hook::Outside && passing.done().is(Done::UNKNOWN) {
        passing.park(map::<F>(ctx));
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(make::<F, At>(ctx));
        if passing.done().is(Done::UNKNOWN) {
            passing.park(search::<F, At>(ctx));
        }
        if passing.done().is(Done::UNKNOWN) {
            passing.park(complete::<F, At>(ctx));
        }
        // The flow has taken room and pays by making some; or there was none, and then all the more.
        sweep::<F>(ctx);
        sweep::<F>(ctx);
    }
    if passing.done().is(Done::UNKNOWN) {
        passing.park(finish::<F, At>(ctx));
    }
    if passing.done().is(Done::CONVERT) {
        passing.park(across::convert::<F, At>(ctx));
    }
    if passing.is_fragment() {
        settle(ctx);
        if passing.places() != 0 {
            release(ctx);
        }
    }
    passing.done()
}

#[inline(never)]
fn established<F: Family, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let mut packet = Skb::with_headers::<F>(ctx, HEADERS);
    Done::step(nat::established::<F, _, _>(
        &mut packet,
        sight::<At>(ctx),
        &Maps::at(ctx),
    ))
}

#[inline(never)]
fn fragment<F: Family, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(passing) = passing() else {
        return Done::plain(Done::UNKNOWN);
    };
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    let next = nat::fragment::<F, _, _>(skb, sight::<At>(ctx), tables, &mut passing.first);
    Done::step(next)
}

/// Lets the others follow a first fragment that has gone its way.
#[inline(never)]
fn settle(ctx: &TcContext) {
    if let Some(passing) = passing() {
        let dropped = passing.done().is(Done::DROP);
        let places = nat::settle(&Maps::at(ctx), &mut passing.first, dropped);
        passing.set_places(places);
    }
}

/// Releases those that wait for it.
#[inline(never)]
fn release(ctx: &TcContext) {
    let Some(passing) = passing() else {
        return;
    };
    // What is released at egress meets the hook at once, and parks a verdict of its own.
    let (done, interface) = (passing.done(), passing.interface());
    let (maps, mut packet) = (Maps::at(ctx), Skb::new::<V4>(ctx));
    let released = maps.release_waiting(&passing.first.waiting, passing.places(), &mut packet);
    passing.set_interface(interface);
    passing.park(match released {
        Some(()) => done,
        None => Done::verdict(Verdict::Drop(DropReason::Fragment)),
    });
}

#[inline(never)]
fn error<F: Family, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    Done::verdict(nat::error::<F, _, _>(skb, sight::<At>(ctx), tables))
}

#[inline(never)]
fn half_open<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    let (Some(opening), Some(passing)) = (opening::<F>(), passing()) else {
        return Done::plain(Done::UNKNOWN);
    };
    let first = &passing.first;
    let done = nat::half_open::<F, _, _>(skb, sight::<At>(ctx), tables, first, opening);
    Done::option(done)
}

/// Not where the flow is found: each way to there would be walked to the end of this.
#[inline(never)]
fn confirm<F: Mapped>(ctx: &TcContext)
where
    Maps: Tables<F>,
{
    if let Some(opening) = opening::<F>() {
        nat::confirm::<F, _>(&Maps::at(ctx), opening);
    }
}

#[inline(never)]
fn plan<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    let done = nat::plan::<F, _, _>(skb, sight::<At>(ctx), tables, opening);
    Done::option(done)
}

#[inline(never)]
fn map<F: Mapped>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::map::<F, _>(&Maps::at(ctx), opening))
}

#[inline(never)]
fn make<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::make::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
fn search<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::search::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
fn complete<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::complete::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
fn finish<F: Mapped, At: Place>(ctx: &TcContext) -> Done {
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    let skb = &mut Skb::new::<F>(ctx);
    Done::verdict(nat::finish::<F, _>(skb, sight::<At>(ctx), opening))
}

/// The flow that this CPU is opening.
#[inline(always)]
fn opening<'a, F: Mapped>() -> Option<&'a mut Opening<F::Address>> {
    // SAFETY: each CPU has its own, programs run with bottom halves off, and each of the functions
    // above asks once. What lies there was written as such, and all zeroes are one too.
    F::opening().map(|opening| unsafe { &mut *opening })
}

/// Examines one flow, whether its time is over. `false` if there is none to examine.
#[inline(never)]
pub(crate) fn sweep<F: Family>(ctx: &TcContext) -> bool
where
    Maps: Tables<F>,
{
    nat::sweep::<F, _>(&Maps::at(ctx))
}

/// Ends the flow whose key the packet is. `false` if there is none.
#[inline(never)]
pub(crate) fn end<F: Family>(ctx: &TcContext) -> bool
where
    Maps: Tables<F>,
{
    let skb = Skb::with_headers::<F>(ctx, HEADERS);
    let at = ethernet::HEADER_LEN;
    let Some([src, dst]) = skb.read::<[F::Address; 2]>(at) else {
        return false;
    };
    let rest = skb.read(at + 2 * size_of::<F::Address>()).unwrap_or(0);
    let key = Tuple::unpack(src, dst, rest);
    nat::end::<F, _>(&Maps::at(ctx), &key)
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

/// What the kernel knows of the packet.
#[inline(always)]
fn metadata(ctx: &TcContext) -> &__sk_buff {
    // SAFETY: it is this program's context. The verifier turns each access to one of its fields
    // into one to the kernel's own structure.
    unsafe { &*ctx.skb.skb }
}
