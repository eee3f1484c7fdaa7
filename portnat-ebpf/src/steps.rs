//! What becomes of a packet, step by step: each is a function of its own to the kernel, with a stack of
//! its own, and what many ways lead to is walked once.

use aya_ebpf::programs::TcContext;
use portnat_common::nat::{self, Opening};
use portnat_common::wire::ethernet;
use portnat_common::{DropReason, Family, Fragments as _, Packet, Tables, Tuple, V4, V6, Verdict};

use crate::done::Done;
use crate::fragments::passing;
use crate::place::Place;
use crate::run::{ethertype, sight};
use crate::skb::Skb;
use crate::tables::{Mapped, Maps};

/// How much of a packet is read at most: a link header, a network header with all its options, an
/// ICMP error's header, and of what it quotes as much again with 8 bytes of transport header.
const HEADERS: usize = 14 + 60 + 8 + 60 + 8;

/// A packet leaves for a container: the way that it has taken is learnt.
#[inline(always)]
pub(crate) fn arrive<At: Place>(ctx: &TcContext) {
    match ethertype(ctx) {
        Some(V4::ETHERTYPE) => arrive_as::<V4, At>(ctx),
        Some(V6::ETHERTYPE) => arrive_as::<V6, At>(ctx),
        _ => {}
    }
}

#[inline(never)]
fn arrive_as<F: Family, At: Place>(ctx: &TcContext)
where
    Maps: Tables<F>,
{
    let packet = Skb::with_headers::<F>(ctx, HEADERS);
    let _ = nat::arrive_inside::<F, _, _>(&packet, sight::<At>(ctx), &Maps::at(ctx));
}

#[inline(never)]
pub(crate) fn established<F: Family, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let packet = &mut Skb::with_headers::<F>(ctx, HEADERS);
    let (sight, tables) = (sight::<At>(ctx), &Maps::at(ctx));
    Done::step(if At::SENDS {
        nat::established_at_port::<F, _, _>(packet, sight, tables)
    } else {
        nat::established::<F, _, _>(packet, sight, tables)
    })
}

#[inline(never)]
pub(crate) fn fragment<F: Family, At: Place>(ctx: &TcContext) -> Done
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
pub(crate) fn settle(ctx: &TcContext) {
    if let Some(passing) = passing() {
        let dropped = passing.done().is(Done::DROP);
        let places = nat::settle(&Maps::at(ctx), &mut passing.first, dropped);
        passing.set_places(places);
    }
}

/// Releases those that wait for it.
#[inline(never)]
pub(crate) fn release(ctx: &TcContext) {
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
pub(crate) fn error<F: Family, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let (skb, tables) = (&mut Skb::new::<F>(ctx), &Maps::at(ctx));
    Done::verdict(nat::error::<F, _, _>(skb, sight::<At>(ctx), tables))
}

#[inline(never)]
pub(crate) fn half_open<F: Mapped, At: Place>(ctx: &TcContext) -> Done
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
pub(crate) fn confirm<F: Mapped>(ctx: &TcContext)
where
    Maps: Tables<F>,
{
    if let Some(opening) = opening::<F>() {
        nat::confirm::<F, _>(&Maps::at(ctx), opening);
    }
}

#[inline(never)]
pub(crate) fn plan<F: Mapped, At: Place>(ctx: &TcContext) -> Done
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
pub(crate) fn admit<F: Mapped>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::admit::<F, _>(&Maps::at(ctx), opening))
}

#[inline(never)]
pub(crate) fn map<F: Mapped>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::map::<F, _>(&Maps::at(ctx), opening))
}

#[inline(never)]
pub(crate) fn make<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::make::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
pub(crate) fn search<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::search::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
pub(crate) fn complete<F: Mapped, At: Place>(ctx: &TcContext) -> Done
where
    Maps: Tables<F>,
{
    let Some(opening) = opening::<F>() else {
        return Done::plain(Done::UNKNOWN);
    };
    Done::option(nat::complete::<F, _>(At::HOOK, &Maps::at(ctx), opening))
}

#[inline(never)]
pub(crate) fn finish<F: Mapped, At: Place>(ctx: &TcContext) -> Done {
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
