//! Fragments, in any order (RFC 4787 REQ-14): a first one goes the way of a whole packet, and then
//! its datagram's entry tells the others its ports. Those that come before it wait for it.

use crate::family::{Family, Fragment, Network};
use crate::fragment::{
    Datagram, DatagramKey, Fate, First, Fragments, LIFETIME, MAX_WAITING, Told, WaitingKey,
};
use crate::headers::{Transport, Untranslatable};
use crate::packet::Packet;
use crate::settings::Ticks;
use crate::tables::{Refusal, Tables};
use crate::verdict::{DropReason, Verdict};
use crate::wire::protocol;

use super::{Hook, Next, Sight, meet};

/// How many places to wait are tried: one is taken only where another CPU was faster.
const TRIES: u32 = 4;

/// A fragment of a confirmed flow gets its translation, or waits for its datagram's first. Others go
/// on as whole packets do. `first` is written, for [`settle`], and for who has to know the ports of a
/// later one.
#[inline(always)]
pub fn fragment<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    sight: Sight,
    tables: &T,
    first: &mut First,
) -> Next {
    first.lifetime = Ticks(0);
    first.told = 0;
    let Some(mut network) = F::network(packet, sight.l3) else {
        return Next::Unknown;
    };
    let Some(settings) = tables.settings() else {
        return Next::Unknown;
    };
    if network.fragment == Fragment::Whole || !sight.forwarded {
        return Next::Unknown;
    }
    let late = network.fragment == Fragment::Later;
    let concerned = concerns::<F, T>(tables, sight.hook, &network);
    if late && !(concerned && may_have_ports::<F>(network.protocol)) {
        return Next::Unknown;
    }
    first.waiting.datagram = DatagramKey::of::<F>(&network, sight.hook.side());
    first.waiting.l3 = sight.l3 as u32;
    first.now = tables.now();
    let lifetime = Ticks(LIFETIME * settings.hz.0);
    let mut transport = if late {
        let told = match learn(packet, tables, first, lifetime) {
            Ok(told) => told,
            Err(verdict) => return Next::Done(verdict),
        };
        match told.fate {
            Fate::Follow => {}
            Fate::NoPorts => return Next::Unknown,
            Fate::Dropped => return Next::Done(Verdict::Drop(DropReason::Fragment)),
        }
        network.protocol = told.protocol;
        first.told = told.pack();
        Transport::elsewhere(told.src_port, told.dst_port)
    } else {
        let read = Transport::read::<F, P>(packet, &network);
        first.told = told(network.protocol, read.as_ref().ok());
        if concerned {
            first.lifetime = lifetime;
        }
        match read {
            Ok(transport) => transport,
            Err(Untranslatable::Error) => return Next::Error,
            Err(_) => return Next::Unknown,
        }
    };
    transport.forget(packet, &mut network.protocol);
    meet::<F, P, T, false>(packet, sight, tables, settings, &network, &transport)
}

/// Makes known what the first fragment of a datagram says that [`fragment`] saw, if it saw one and
/// now that it has gone its way or been dropped: its flow must be there before others look for it.
/// Returns in how many places others may wait for it, which are to be released; 0 if there are none.
#[inline(always)]
pub fn settle<T: Fragments>(tables: &T, first: &mut First, dropped: bool) -> u32 {
    if first.lifetime == Ticks(0) {
        return 0;
    }
    let told = match Told::unpack(first.told) {
        Some(told) if dropped => {
            let fate = Fate::Dropped;
            Told { fate, ..told }.pack()
        }
        _ => first.told,
    };
    let datagram = match current(tables, first, first.lifetime) {
        Some(datagram) => datagram,
        None => {
            let key = &first.waiting.datagram;
            let known = Datagram::new(told, first.now);
            if tables.insert_datagram(key, &known).is_ok() {
                return 0;
            }
            // Another fragment has come at the same time, on another CPU.
            let Some(datagram) = tables.datagram(key) else {
                return 0;
            };
            datagram
        }
    };
    datagram.told.set(told);
    synchronise(tables, &mut first.waiting, datagram);
    first.waiting.index = 0;
    match datagram.waiting.get() as u32 {
        0 => 1,
        count => count,
    }
}

/// Of two CPUs that do this for one datagram the second sees all that the first wrote before: either
/// the one that puts a fragment away sees that the first has come, or the one that has the first sees
/// what was put away.
#[inline(always)]
fn synchronise<T: Fragments>(tables: &T, place: &mut WaitingKey, datagram: &Datagram) {
    place.begun = datagram.begun;
    place.index = MAX_WAITING;
    // Nothing ever waits there.
    tables.take_back(place);
}

/// What the first fragment has told; else this one waits for it, or is dropped.
#[inline(always)]
fn learn<P: Packet, T: Fragments>(
    packet: &P,
    tables: &T,
    first: &mut First,
    lifetime: Ticks,
) -> Result<Told, Verdict> {
    const REFUSED: Verdict = Verdict::Drop(DropReason::Fragment);
    let datagram = match current(tables, first, lifetime) {
        Some(datagram) => datagram,
        None => {
            let key = &first.waiting.datagram;
            // If it is there by now, another CPU was faster.
            let _ = tables.insert_datagram(key, &Datagram::new(0, first.now));
            tables.datagram(key).ok_or(REFUSED)?
        }
    };
    if let Some(told) = Told::unpack(datagram.told.get()) {
        return Ok(told);
    }
    let place = &mut first.waiting;
    place.begun = datagram.begun;
    place.index = datagram.waiting.get() as u32;
    let mut tries = 0;
    loop {
        if place.index >= MAX_WAITING || tries == TRIES {
            return Err(REFUSED);
        }
        match tables.hold(place, packet) {
            Ok(()) => break,
            Err(Refusal::Full) => return Err(REFUSED),
            Err(Refusal::Exists) => place.index += 1,
        }
        tries += 1;
    }
    let index = place.index;
    datagram.waiting.set(u64::from(index) + 1);
    synchronise(tables, place, datagram);
    place.index = index;
    match Told::unpack(datagram.told.get()) {
        // It came meanwhile, and may have looked for those that wait too early to see this one.
        Some(told) if tables.take_back(place) => Ok(told),
        _ => Err(Verdict::Held),
    }
}

/// The entry of a fragment's datagram. One that is older than `lifetime` is another datagram's.
#[inline(always)]
fn current<'t, T: Fragments>(
    tables: &'t T,
    fragment: &First,
    lifetime: Ticks,
) -> Option<&'t Datagram> {
    let key = &fragment.waiting.datagram;
    let datagram = tables.datagram(key)?;
    if fragment.now.since(datagram.begun) > lifetime {
        tables.remove_datagram(key);
        return None;
    }
    Some(datagram)
}

/// What a first fragment tells the others, by its transport header.
#[inline(always)]
fn told(protocol: u8, transport: Option<&Transport>) -> u64 {
    let (src_port, dst_port, fate) = match transport {
        Some(transport) => (transport.src_port, transport.dst_port, Fate::Follow),
        None => (0, 0, Fate::NoPorts),
    };
    let told = Told {
        src_port,
        dst_port,
        protocol,
        fate,
    };
    told.pack()
}

/// Whether a packet between these two can be ours, whatever its ports: only then they matter.
#[inline(always)]
fn concerns<F: Family, T: Tables<F>>(
    tables: &T,
    hook: Hook,
    network: &Network<F::Address>,
) -> bool {
    let is_loopback = |address| F::stays_on_link(address) && !F::is_link_local(address);
    match hook {
        Hook::Local => true,
        _ if is_loopback(network.src) || is_loopback(network.dst) => false,
        Hook::In => tables.is_addressed(&network.dst),
        Hook::Outside | Hook::Inside => {
            tables.subnet(&network.src).is_some() || tables.is_target(&network.src)
        }
    }
}

/// Whether a later fragment that names this protocol can be of a datagram that has ports.
#[inline(always)]
fn may_have_ports<F: Family>(protocol: u8) -> bool {
    protocol == protocol::TCP
        || protocol == protocol::UDP
        || protocol == F::ICMP
        || F::hides_transport(protocol)
}
