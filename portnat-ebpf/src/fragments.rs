//! Datagrams in fragments, and the waiting room for those that come before their first.

use core::hint::black_box;
use core::ptr;

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_INGRESS, BPF_F_INVALIDATE_HASH, BPF_F_RECOMPUTE_CSUM, BPF_NOEXIST,
};
use aya_ebpf::helpers::{
    bpf_clone_redirect, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use portnat_common::fragment::{LONGEST_FRAME, MAX_WAITING};
use portnat_common::wire::ethernet;
use portnat_common::{
    Datagram, DatagramKey, DatagramRecord, DropReason, First, Fragments, Packet, Refusal, Side,
    WaitingKey,
};

use crate::done::Done;
use crate::run::count;
use crate::tables::{EXISTS, Maps};

/// Datagrams in fragments, of both families. The oldest gives way to a new one.
#[map]
static DATAGRAMS: LruHashMap<DatagramKey, DatagramRecord> = LruHashMap::with_max_entries(8192, 0);

/// Fragments that wait, of both families: 9.5 MB. The oldest gives way to a new one.
#[map]
static WAITING: LruHashMap<WaitingKey, Frame> = LruHashMap::with_max_entries(1024, 0);

/// The packet that is on its way.
#[map]
static PASSING: PerCpuArray<Passing> = PerCpuArray::with_max_entries(1, 0);

/// Room for frames: one that is being put away, and a first fragment while others take its place.
#[map]
static FRAMES: PerCpuArray<Frame> = PerCpuArray::with_max_entries(2, 0);

/// [`FRAMES`]: one that is being put away.
const COMING: u32 = 0;
/// [`FRAMES`]: a first fragment. Not the same: at egress, what is released meets the hook at once.
const OWN: u32 = 1;

/// A frame from its link header on.
#[repr(C)]
struct Frame {
    /// How long it is, in bytes.
    length: u32,
    /// Index of the interface that it is at.
    interface: u32,
    bytes: [u8; FRAME_BYTES],
}

/// The kernel wants whole words.
const FRAME_BYTES: usize = LONGEST_FRAME.next_multiple_of(8);

/// A packet that has not met its flow at the first look.
#[repr(C)]
pub(crate) struct Passing {
    /// What it says to others, if it is a first fragment.
    pub(crate) first: First,
    /// What has become of it so far.
    done: Done,
    /// In how many places others may wait for it.
    places: u32,
    /// Whether it is a fragment: 1 or 0.
    fragment: u32,
    /// Index of the interface that it is redirected to.
    interface: u32,
    /// How long a network packet may be in bytes, if it is too long.
    mtu: u32,
}

const _: () = assert!(size_of::<Passing>() == size_of::<First>() + 24);

/// The packet that is on its way.
#[inline(always)]
pub(crate) fn passing() -> Option<&'static mut Passing> {
    let passing = PASSING.get_ptr_mut(0)?;
    // SAFETY: each CPU has its own. What is released at egress meets the hook before this program
    // ends, and writes here; nothing is expected to stay over a release.
    Some(unsafe { &mut *passing })
}

impl Passing {
    /// Says what has become of it.
    #[inline(always)]
    pub(crate) fn park(&mut self, done: Done) {
        // SAFETY: a plain store. Volatile, so that what is read is not what the compiler knows.
        unsafe { (&raw mut self.done).write_volatile(done) }
    }

    /// What has become of it.
    #[inline(always)]
    pub(crate) fn done(&self) -> Done {
        // SAFETY: a plain load of a number.
        unsafe { (&raw const self.done).read_volatile() }
    }

    /// Says by which interface it is to go.
    #[inline(always)]
    pub(crate) fn set_interface(&mut self, interface: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut self.interface).write_volatile(interface) }
    }

    /// By which interface it is to go.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const self.interface).read_volatile() }
    }

    /// Says how long it may be.
    #[inline(always)]
    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut self.mtu).write_volatile(mtu) }
    }

    /// How long it may be.
    #[inline(always)]
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const self.mtu).read_volatile() }
    }

    /// Says whether it is a fragment.
    #[inline(always)]
    pub(crate) fn set_fragment(&mut self, is_fragment: bool) {
        // SAFETY: as above.
        unsafe { (&raw mut self.fragment).write_volatile(is_fragment.into()) }
    }

    /// Whether it is a fragment.
    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        // SAFETY: as above.
        unsafe { (&raw const self.fragment).read_volatile() != 0 }
    }

    /// Says in how many places others may wait.
    #[inline(always)]
    pub(crate) fn set_places(&mut self, places: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut self.places).write_volatile(places) }
    }

    /// In how many places others may wait.
    #[inline(always)]
    pub(crate) fn places(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const self.places).read_volatile() }
    }
}

impl Frame {
    /// Copies the whole packet.
    #[inline(always)]
    fn load(&mut self, skb: *mut __sk_buff) -> Result<(), ()> {
        // SAFETY: the program's context.
        let length = unsafe { (*skb).len };
        self.length = length;
        let length = bounded(length, 0).ok_or(())?;
        let bytes = self.bytes.as_mut_ptr();
        // SAFETY: the context, and as much room as was compared.
        let result = unsafe { bpf_skb_load_bytes(skb.cast(), 0, bytes.cast(), length) };
        if result == 0 { Ok(()) } else { Err(()) }
    }

    /// Makes the packet this frame. A sum that the device has computed covers the packet from the
    /// network header, at `l3`, on.
    #[inline(always)]
    fn store(&self, skb: *mut __sk_buff, l3: u32) -> Result<(), ()> {
        let rest = bounded(self.length, LINK).ok_or(())?;
        let (hash, sum) = (
            u64::from(BPF_F_INVALIDATE_HASH),
            u64::from(BPF_F_RECOMPUTE_CSUM),
        );
        let link = if l3 == 0 { hash | sum } else { hash };
        let bytes = self.bytes.as_ptr();
        // SAFETY: the context, and as many bytes as were compared.
        let result = unsafe {
            bpf_skb_change_tail(skb, LINK + rest, 0)
                | bpf_skb_store_bytes(skb, 0, bytes.cast(), LINK, link)
                | bpf_skb_store_bytes(skb, LINK, bytes.add(LINK as usize).cast(), rest, hash | sum)
        };
        if result == 0 { Ok(()) } else { Err(()) }
    }
}

/// Length in bytes of Ethernet's header.
const LINK: u32 = ethernet::HEADER_LEN as u32;

/// How long a frame is without its first `without` bytes, if it is longer and has a place here. In a
/// form that the compiler leaves as it is, so that the verifier sees the bounds of what is used.
#[inline(always)]
fn bounded(length: u32, without: u32) -> Option<u32> {
    let below = black_box(u64::from(length).wrapping_sub(u64::from(without) + 1));
    if below >= LONGEST_FRAME as u64 - u64::from(without) {
        return None;
    }
    Some(below as u32 + 1)
}

impl Fragments for Maps {
    #[inline(always)]
    fn datagram(&self, key: &DatagramKey) -> Option<&Datagram> {
        let record = DATAGRAMS.get_ptr(key)?;
        // SAFETY: a record and an entry differ in their cells only, which are transparent. The
        // memory of one that has given way stays readable, and may be another's: the worst is that a
        // fragment of either is lost.
        Some(unsafe { &*record.cast::<Datagram>() })
    }

    #[inline(always)]
    fn insert_datagram(&self, key: &DatagramKey, datagram: &Datagram) -> Result<(), Refusal> {
        // SAFETY: as above.
        let record = unsafe { &*ptr::from_ref(datagram).cast::<DatagramRecord>() };
        match DATAGRAMS.insert(key, record, u64::from(BPF_NOEXIST)) {
            Ok(()) => Ok(()),
            Err(EXISTS) => Err(Refusal::Exists),
            Err(_) => Err(Refusal::Full),
        }
    }

    #[inline(always)]
    fn remove_datagram(&self, key: &DatagramKey) {
        let _ = DATAGRAMS.remove(key);
    }

    #[inline(always)]
    fn hold<P: Packet>(&self, place: &WaitingKey, _packet: &P) -> Result<(), Refusal> {
        let frame = FRAMES.get_ptr_mut(COMING).ok_or(Refusal::Full)?;
        // SAFETY: each CPU has its own, and nothing else of ours runs in between.
        let frame = unsafe { &mut *frame };
        frame.interface = self.interface;
        frame.load(self.skb).map_err(|()| Refusal::Full)?;
        match WAITING.insert(place, &*frame, u64::from(BPF_NOEXIST)) {
            Ok(()) => Ok(()),
            Err(EXISTS) => Err(Refusal::Exists),
            Err(_) => Err(Refusal::Full),
        }
    }

    /// The kernel looks for the place with its bucket locked, also where there is nothing: this is
    /// what lets one CPU see what another has written before.
    #[inline(always)]
    fn take_back(&self, place: &WaitingKey) -> bool {
        WAITING.remove(place).is_ok()
    }

    #[inline(always)]
    fn release_waiting<P: Packet>(
        &self,
        place: &WaitingKey,
        places: u32,
        packet: &mut P,
    ) -> Option<()> {
        let own = FRAMES.get_ptr_mut(OWN)?;
        // SAFETY: each CPU has its own, and what runs in between does not release anything.
        let own = unsafe { &mut *own };
        own.load(self.skb).ok()?;
        // On the stack: what is released at egress meets the hook at once, and writes to `PASSING`.
        let place = &mut { *place };
        // Before Linux 6.8 the verifier takes a loop only where its way back is a jump. The compiler
        // makes it one if what a round begins with is opaque to it and nothing is left for its end.
        let mut next = 0;
        loop {
            let index: u64 = black_box(next);
            if index >= MAX_WAITING.into() {
                break;
            }
            next = black_box(index + 1);
            place.index = index as u32;
            // Forgotten, or each round would begin with as many states as there were rounds before.
            if !self.release_one(place) && index >= packet.forget(places.into()) {
                break;
            }
        }
        own.store(self.skb, place.l3).ok()
    }
}

impl Maps {
    /// Makes the packet the one that waits at `place` and sends it to its hook anew; returns whether
    /// there was one.
    #[inline(always)]
    fn release_one(&self, place: &WaitingKey) -> bool {
        let Some(frame) = WAITING.get_ptr(place) else {
            return false;
        };
        // SAFETY: should it give way meanwhile, its memory stays readable, and it is not ours to
        // remove any more.
        let frame = unsafe { &*frame };
        let interface = frame.interface;
        let stored = frame.store(self.skb, place.l3);
        if !self.take_back(place) {
            // It has given way, or went its way by itself.
            return true;
        }
        let direction = match place.datagram.side {
            Side::Ingress => u64::from(BPF_F_INGRESS),
            Side::Egress => 0,
        };
        match stored {
            // SAFETY: the context.
            Ok(()) => drop(unsafe { bpf_clone_redirect(self.skb, interface, direction) }),
            Err(()) => count(DropReason::Fragment as u32),
        }
        true
    }
}
