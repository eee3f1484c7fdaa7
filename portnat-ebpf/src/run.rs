//! From the hook to the NAT and back to a verdict that the kernel understands.

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::info;
use portnat_common::nat::{self, Hook, Next, Opening, Sight};
use portnat_common::wire::ethernet;
use portnat_common::{DropReason, Family, Packet, Tables, Tuple, V4, V6, Verdict};

use crate::across;
use crate::maps::DROPS;
use crate::skb::Skb;
use crate::tables::{Mapped, Maps};

/// The next program's turn: `TCX_NEXT`, and clsact's `TC_ACT_UNSPEC`, which is the same number.
const NEXT: i32 = TC_ACT_UNSPEC;

/// The index of the loopback interface, in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

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

/// Where packets go from the host to itself.
pub(crate) struct Local;

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

impl Place for Local {
    const HOOK: Hook = Hook::Local;
    const L3: usize = ethernet::HEADER_LEN;
}

/// A packet is seen at a place.
#[inline(always)]
pub(crate) fn run<At: Place>(ctx: &TcContext) -> i32 {
    let done = match ethertype(ctx) {
        Some(V4::ETHERTYPE) => process::<V4, At>(ctx),
        Some(V6::ETHERTYPE) => process::<V6, At>(ctx),
        _ => return NEXT,
    };
    match done.0 as u32 {
        Done::REDIRECT => redirect::<At>(ctx, done.value()),
        Done::DROP => {
            drop_for(ctx, done.value());
            TC_ACT_SHOT
        }
        _ => NEXT,
    }
}

/// What became of a packet in one function: an eBPF function returns one register. The lower half
/// says what, the upper half which reason or interface.
#[derive(Clone, Copy)]
pub(crate) struct Done(u64);

impl Done {
    pub(crate) const NEXT: u32 = 0;
    const DROP: u32 = 1;
    const REDIRECT: u32 = 2;
    /// Nothing yet: another function has its turn.
    const ERROR: u32 = 3;
    pub(crate) const UNKNOWN: u32 = 4;
    const CONVERT: u32 = 5;
    /// An ICMP error that the functions of its family do not redirect or drop.
    const NEXT_ERROR: u32 = 6;

    #[inline(always)]
    pub(crate) const fn new(what: u32, value: u32) -> Self {
        Done(what as u64 | (value as u64) << 32)
    }

    #[inline(always)]
    const fn value(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(crate) const fn verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass | Verdict::Translated => Done::new(Done::NEXT, 0),
            Verdict::Redirect(interface) => Done::new(Done::REDIRECT, interface),
            Verdict::Convert => Done::new(Done::CONVERT, 0),
            Verdict::Drop(reason) => Done::new(Done::DROP, reason as u32),
        }
    }

    #[inline(always)]
    pub(crate) const fn option(verdict: Option<Verdict>) -> Self {
        match verdict {
            Some(verdict) => Done::verdict(verdict),
            None => Done::new(Done::UNKNOWN, 0),
        }
    }

    #[inline(always)]
    const fn step(next: Next) -> Self {
        match next {
            Next::Done(verdict) => Done::verdict(verdict),
            Next::Error => Done::new(Done::ERROR, 0),
            Next::Unknown => Done::new(Done::UNKNOWN, 0),
        }
    }

    #[inline(always)]
    pub(crate) const fn is(self, what: u32) -> bool {
        self.0 as u32 == what
    }
}

/// Sends a packet on by an interface. What goes to the host itself comes in by the loopback
/// interface.
#[inline(always)]
fn redirect<At: Place>(ctx: &TcContext, interface: u32) -> i32 {
    // The kernel redirects nothing to a neighbour that has no link header itself, and to the
    // loopback interface comes nothing from where there are none.
    if At::L3 == 0 && Skb::plain(ctx).add_head(ethernet::HEADER_LEN).is_none() {
        drop_for(ctx, DropReason::Unwritable as u32);
        return TC_ACT_SHOT;
    }
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
fn drop_for(ctx: &TcContext, reason: u32) {
    if let Some(counter) = DROPS.get_ptr_mut(reason) {
        // SAFETY: the counter is this CPU's own, and a program is not preempted by itself.
        unsafe { *counter += 1 };
    }
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

/// Each step is a function of its own to the kernel, with a stack of its own.
#[inline(always)]
fn process<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let mut done = flow_of::<F, At>(ctx);
    // What belongs to no flow of its own family may do so to one of both.
    if done.is(Done::NEXT_ERROR) {
        done = across::error::<F, At>(ctx);
    }
    if done.is(Done::CONVERT) {
        done = across::convert::<F, At>(ctx);
    }
    done
}

/// As [`nat::process`], but for what becomes a packet of the other family.
#[inline(always)]
fn flow_of<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let done = established::<F, At>(ctx);
    if done.is(Done::ERROR) {
        let done = error::<F, At>(ctx);
        return if done.is(Done::NEXT) {
            Done::new(Done::NEXT_ERROR, 0)
        } else {
            done
        };
    }
    if !done.is(Done::UNKNOWN) {
        return done;
    }
    let done = across::answer::<F, At>(ctx);
    if !done.is(Done::UNKNOWN) {
        return done;
    }
    let done = half_open::<F, At>(ctx);
    if !done.is(Done::UNKNOWN) {
        return done;
    }
    let done = plan::<F, At>(ctx);
    if !done.is(Done::UNKNOWN) {
        return done;
    }
    let done = make::<F, At>(ctx);
    if !done.is(Done::UNKNOWN) {
        return done;
    }
    // The flow has taken room and pays by making some.
    sweep::<F>(ctx);
    sweep::<F>(ctx);
    finish::<F, At>(ctx)
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
    let Some(opening) = opening::<F>() else {
        return Done::new(Done::UNKNOWN, 0);
    };
    let done = nat::half_open::<F, _, _>(skb, sight::<At>(ctx), tables, opening);
    Done::option(done)
}

#[inline(never)]
fn plan<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    let Some(opening) = opening::<F>() else {
        return Done::new(Done::UNKNOWN, 0);
    };
    let done = nat::plan::<F, _, _>(skb, sight::<At>(ctx), tables, opening);
    Done::option(done)
}

#[inline(never)]
fn make<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::new(Done::UNKNOWN, 0);
    };
    Done::option(nat::make::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
fn finish<F: Mapped, At: Place>(ctx: &TcContext) -> Done {
    let Some(opening) = opening::<F>() else {
        return Done::new(Done::UNKNOWN, 0);
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
