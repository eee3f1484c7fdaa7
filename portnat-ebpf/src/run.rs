//! From the hook to the NAT and back to a verdict that the kernel understands.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::info;
use portnat_common::nat::{self, Hook, Next, Opening, Sight};
use portnat_common::wire::ethernet;
use portnat_common::{DropReason, Family, Packet, Tables, Tuple, V4, V6, Verdict};

use crate::maps::DROPS;
use crate::skb::Skb;
use crate::tables::{Mapped, Maps};

/// The next program's turn: `TCX_NEXT`, and clsact's `TC_ACT_UNSPEC`, which is the same number.
const NEXT: i32 = TC_ACT_UNSPEC;

/// How much of a packet is read at most: a link header, a network header with all its options, an
/// ICMP error's header, and of what it quotes as much again with 8 bytes of transport header.
const HEADERS: usize = 14 + 60 + 8 + 60 + 8;

/// Where a program is attached. A type, so that each program is compiled for its own place.
pub(crate) trait Place {
    /// The hook.
    const HOOK: Hook;
    /// Where the network header lies, in bytes.
    const L3: usize;
}

/// Where packets come in; their network header lies at `L3`.
pub(crate) struct In<const L3: usize>;

/// Where packets go out by an uplink.
pub(crate) struct Outside<const L3: usize>;

/// Where packets go out by a bridge.
pub(crate) struct Inside<const L3: usize>;

impl<const AT: usize> Place for In<AT> {
    const HOOK: Hook = Hook::In;
    const L3: usize = AT;
}

impl<const AT: usize> Place for Outside<AT> {
    const HOOK: Hook = Hook::Outside;
    const L3: usize = AT;
}

impl<const AT: usize> Place for Inside<AT> {
    const HOOK: Hook = Hook::Inside;
    const L3: usize = AT;
}

/// A packet is seen at a place.
#[inline(always)]
pub(crate) fn run<At: Place>(ctx: &TcContext) -> i32 {
    let verdict = match ethertype(ctx) {
        Some(V4::ETHERTYPE) => process::<V4, At>(ctx),
        Some(V6::ETHERTYPE) => process::<V6, At>(ctx),
        _ => return NEXT,
    };
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

/// As [`nat::process`], each step a function of its own to the kernel, with a stack of its own.
#[inline(always)]
fn process<F: Mapped, At: Place>(ctx: &TcContext) -> Verdict
where
    Maps: Tables<F>,
{
    match established::<F, At>(ctx) {
        Next::Done(verdict) => return verdict,
        Next::Error => return error::<F, At>(ctx),
        Next::Unknown => {}
    }
    if let Some(verdict) = half_open::<F, At>(ctx) {
        return verdict;
    }
    if let Some(verdict) = plan::<F, At>(ctx) {
        return verdict;
    }
    if let Some(verdict) = make::<F, At>(ctx) {
        return verdict;
    }
    // The flow has taken room and pays by making some.
    sweep::<F>(ctx);
    sweep::<F>(ctx);
    finish::<F, At>(ctx)
}

// An eBPF function returns one register.
const _: () = assert!(size_of::<Next>() == 4 && size_of::<Option<Verdict>>() == 4);

#[inline(never)]
fn established<F: Family, At: Place>(ctx: &TcContext) -> Next
where
    Maps: Tables<F>,
{
    let mut packet = Skb::with_headers::<F>(ctx, HEADERS);
    nat::established::<F, _, _>(&mut packet, sight::<At>(ctx), &Maps::at(ctx))
}

#[inline(never)]
fn error<F: Family, At: Place>(ctx: &TcContext) -> Verdict
where
    Maps: Tables<F>,
{
    nat::error::<F, _, _>(&mut Skb::new::<F>(ctx), sight::<At>(ctx), &Maps::at(ctx))
}

#[inline(never)]
fn half_open<F: Mapped, At: Place>(ctx: &TcContext) -> Option<Verdict>
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    nat::half_open::<F, _, _>(skb, sight::<At>(ctx), tables, opening::<F>()?)
}

#[inline(never)]
fn plan<F: Mapped, At: Place>(ctx: &TcContext) -> Option<Verdict>
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    nat::plan::<F, _, _>(skb, sight::<At>(ctx), tables, opening::<F>()?)
}

#[inline(never)]
fn make<F: Mapped, At: Place>(ctx: &TcContext) -> Option<Verdict>
where
    Maps: Tables<F>,
{
    nat::make::<F, _>(At::HOOK, &Maps::at(ctx), opening::<F>()?)
}

#[inline(never)]
fn finish<F: Mapped, At: Place>(ctx: &TcContext) -> Verdict {
    let Some(opening) = opening::<F>() else {
        return Verdict::Pass;
    };
    nat::finish::<F, _>(&mut Skb::new::<F>(ctx), sight::<At>(ctx), opening)
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
fn sight<At: Place>(ctx: &TcContext) -> Sight {
    Sight {
        hook: At::HOOK,
        l3: At::L3,
        // What the host sends itself came in nowhere.
        forwarded: matches!(At::HOOK, Hook::In) || metadata(ctx).ingress_ifindex != 0,
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

/// Counts a drop.
#[inline(always)]
fn count(reason: DropReason) {
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: the counter is this CPU's own, and a program is not preempted by itself.
        unsafe { *counter += 1 };
    }
}
