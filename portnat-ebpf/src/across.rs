//! Flows between IPv6 clients and IPv4 targets, each step a function of its own to the kernel.
//!
//! Both families are asked for at the same hooks: where packets come in, and where they go from the
//! host to itself. Elsewhere the functions are nothing.

use aya_ebpf::programs::TcContext;
use portnat_common::address::{is_mapped, map, unmap};
use portnat_common::nat::{self, Hook};
use portnat_common::{Address, Family, Ip4, Ip6, Table, Tables, Tuple, V4, V6, Verdict};

use crate::done::Done;
use crate::place::Place;
use crate::run::sight;
use crate::skb::Skb;
use crate::tables::Maps;

/// Whether IPv6's tables have this key.
#[inline(always)]
pub(crate) fn is_mapped_there(maps: &Maps, tuple: &Tuple<Ip4>) -> bool {
    let (src, dst) = (Ip6::narrow(&map(tuple.src)), Ip6::narrow(&map(tuple.dst)));
    has::<V6>(maps, &Tuple::unpack(src, dst, tuple.pack()))
}

/// Whether IPv4's tables have this key; one without IPv4 addresses they do not.
#[inline(always)]
pub(crate) fn is_unmapped_there(maps: &Maps, tuple: &Tuple<Ip6>) -> bool {
    let (src, dst) = (tuple.src.widen(), tuple.dst.widen());
    is_mapped(&dst) && has::<V4>(maps, &Tuple::unpack(unmap(&src), unmap(&dst), tuple.pack()))
}

#[inline(always)]
fn has<F: Family>(maps: &Maps, key: &Tuple<F::Address>) -> bool
where
    Maps: Tables<F>,
{
    maps.flow(Table::Confirmed, key).is_some() || maps.flow(Table::HalfOpen, key).is_some()
}

/// An IPv4 packet that may answer an IPv6 client.
#[inline(always)]
pub(crate) fn answer<F: Family, At: Place>(ctx: &TcContext) -> Done {
    if F::ETHERTYPE == V4::ETHERTYPE && matches!(At::HOOK, Hook::In) {
        return answer_v4::<At>(ctx);
    }
    Done::plain(Done::UNKNOWN)
}

/// An ICMP error that may be about a packet of such a flow.
#[inline(always)]
pub(crate) fn error<F: Family, At: Place>(ctx: &TcContext) -> Done {
    if !matches!(At::HOOK, Hook::In | Hook::Local) {
        return Done::plain(Done::NEXT);
    }
    if F::ETHERTYPE == V4::ETHERTYPE {
        error_v4::<At>(ctx)
    } else {
        error_v6::<At>(ctx)
    }
}

/// A packet of such a flow becomes one of the other family.
#[inline(always)]
pub(crate) fn convert<F: Family, At: Place>(ctx: &TcContext) -> Done {
    if !matches!(At::HOOK, Hook::In | Hook::Local) {
        return Done::plain(Done::NEXT);
    }
    if F::ETHERTYPE == V4::ETHERTYPE {
        convert_v4::<At>(ctx)
    } else {
        convert_v6::<At>(ctx)
    }
}

#[inline(never)]
fn answer_v4<At: Place>(ctx: &TcContext) -> Done {
    let (skb, tables) = (&Skb::plain(ctx), &Maps::at(ctx));
    Done::option(nat::answer(skb, sight::<At>(ctx), tables))
}

#[inline(never)]
fn error_v4<At: Place>(ctx: &TcContext) -> Done {
    let (skb, tables) = (&mut Skb::plain(ctx), &Maps::at(ctx));
    let verdict = nat::error_v4(skb, sight::<At>(ctx), tables);
    Done::verdict(verdict.unwrap_or(Verdict::Pass))
}

#[inline(never)]
fn error_v6<At: Place>(ctx: &TcContext) -> Done {
    let (skb, tables) = (&mut Skb::plain(ctx), &Maps::at(ctx));
    let verdict = nat::error_v6(skb, sight::<At>(ctx), tables);
    Done::verdict(verdict.unwrap_or(Verdict::Pass))
}

#[inline(never)]
fn convert_v4<At: Place>(ctx: &TcContext) -> Done {
    let (skb, tables) = (&mut Skb::plain(ctx), &Maps::at(ctx));
    Done::verdict(nat::convert_v4(skb, sight::<At>(ctx), tables))
}

#[inline(never)]
fn convert_v6<At: Place>(ctx: &TcContext) -> Done {
    let (skb, tables) = (&mut Skb::plain(ctx), &Maps::at(ctx));
    Done::verdict(nat::convert_v6(skb, sight::<At>(ctx), tables))
}
