//! The skb as a [`Packet`].

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::{
    bpf_check_mtu, bpf_csum_update, bpf_l4_csum_replace, bpf_skb_change_head, bpf_skb_change_proto,
    bpf_skb_change_tail, bpf_skb_pull_data, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use bytemuck::{AnyBitPattern, NoUninit};
use portnat_common::checksum::Sum;
use portnat_common::settings::IPV6_CHECKSUM_FLAG;
use portnat_common::wire::ethernet;
use portnat_common::{Convertible, Family, Packet};

use crate::fragments::passing;
use crate::maps::{FORGOTTEN, SETTINGS};

/// The kernel's `GSO_BY_FRAGS`: there is no one size of segments.
const GSO_BY_FRAGS: u32 = 0xffff;

/// Whether the kernel has `bpf_check_mtu`, as it has since Linux 5.12; set by userspace.
#[unsafe(no_mangle)]
static KNOWS_MTU: u8 = 0;

/// An skb whose headers are read and written in place.
///
/// The pointers into the packet are taken afresh at each access: helpers that may move the data
/// invalidate them, and the verifier insists.
pub(crate) struct Skb {
    skb: *mut __sk_buff,
    /// What the checksum helper is told about a pseudo header.
    pseudo_header: u64,
}

impl Skb {
    /// The skb of `ctx`, of which no checksum will be changed; or to become one of the other family:
    /// then the addresses' difference does not cancel out that in the checksum, as it does in IPv6
    /// otherwise, and is to be taken from what a device has summed.
    #[inline(always)]
    pub(crate) fn plain(ctx: &TcContext) -> Self {
        Skb {
            skb: ctx.skb.skb,
            pseudo_header: u64::from(BPF_F_PSEUDO_HDR),
        }
    }

    /// The skb of `ctx`, a packet of family `F`.
    #[inline(always)]
    pub(crate) fn new<F: Family>(ctx: &TcContext) -> Self {
        let mut pseudo_header = u64::from(BPF_F_PSEUDO_HDR);
        // Without its flag an IPv6 packet whose sum the device has computed (CHECKSUM_COMPLETE)
        // ends with a wrong one.
        if F::HEADER_CHECKSUM.is_none()
            && let Some(settings) = SETTINGS.get(0)
        {
            pseudo_header |= u64::from(settings.ipv6_checksum_flag);
        }
        Skb {
            skb: ctx.skb.skb,
            pseudo_header,
        }
    }

    /// As [`Skb::new`], and the first `len` bytes can be read in place, if there are as many.
    #[inline(always)]
    pub(crate) fn with_headers<F: Family>(ctx: &TcContext, len: usize) -> Self {
        let skb = Self::new::<F>(ctx);
        let len = if skb.len() < len { skb.len() } else { len };
        if skb.start() + len > skb.end() && !skb.is_cut_by_fragments() {
            // Some drivers leave headers in fragments. A failure shows at the first read.
            // SAFETY: `skb` is this program's context.
            unsafe { bpf_skb_pull_data(skb.skb, len as u32) };
        }
        skb
    }

    /// Puts `len` zeroes in front of a packet that has no link header.
    #[inline(always)]
    pub(crate) fn add_head(&mut self, len: usize) -> Option<()> {
        // SAFETY: `skb` is this program's context.
        let changed = unsafe { bpf_skb_change_head(self.skb, len as u32, 0) };
        (changed == 0).then_some(())
    }

    /// Whether this is a bundle of SCTP packets of which each lies in a fragment of its own, behind
    /// one common header: pulled bytes would be missing in the fragment that they come from, and
    /// what leaves would be cut in the wrong places.
    #[inline(always)]
    fn is_cut_by_fragments(&self) -> bool {
        // SAFETY: `skb` is this program's context, which the verifier lets us read.
        unsafe { (*self.skb).gso_size == GSO_BY_FRAGS }
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: `skb` is this program's context, which the verifier lets us read.
        unsafe { (*self.skb).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.skb).data_end as usize }
    }

    /// Where `T` lies at `offset`, if it lies within what can be read in place.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.start() + offset;
        if start + size_of::<T>() > self.end() {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Convertible for Skb {
    #[inline(always)]
    fn change_family(&mut self, l3: usize, ethertype: u16) -> Option<()> {
        let protocol = ethertype.to_be();
        // SAFETY: `skb` is this program's context. The helper moves what is before the network
        // header, and keeps offloads in step; it refuses those that it does not know.
        let changed = unsafe { bpf_skb_change_proto(self.skb, protocol, 0) };
        if changed != 0 {
            return None;
        }
        if l3 == 0 {
            return Some(());
        }
        self.write(ethernet::ETHERTYPE, protocol)
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Option<()> {
        // SAFETY: `skb` is this program's context.
        let changed = unsafe { bpf_skb_change_tail(self.skb, len as u32, 0) };
        (changed == 0).then_some(())
    }

    #[inline(always)]
    fn store<T: NoUninit>(&mut self, offset: usize, value: &T) -> Option<()> {
        // What a device has summed (CHECKSUM_COMPLETE) is to stay the sum of what is there.
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
        let from = ptr::from_ref(value).cast();
        // SAFETY: `skb` is this program's context, and `value` has so many bytes.
        let stored = unsafe {
            bpf_skb_store_bytes(self.skb, offset as u32, from, size_of::<T>() as u32, flags)
        };
        (stored == 0).then_some(())
    }
}

/// Whether the kernel takes `BPF_F_IPV6`; it refuses flags that it does not know.
#[inline(always)]
pub(crate) fn knows_ipv6_flag(ctx: &TcContext) -> bool {
    let flags = u64::from(BPF_F_PSEUDO_HDR | IPV6_CHECKSUM_FLAG);
    // SAFETY: the program's context; a difference of 0 changes nothing.
    unsafe { bpf_l4_csum_replace(ctx.skb.skb, 0, 0, 0, flags) == 0 }
}

impl Packet for Skb {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: `skb` is this program's context, which the verifier lets us read.
        unsafe { (*self.skb).len as usize }
    }

    #[inline(always)]
    fn read<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has compared the bounds. Network headers lie at multiples of 4 plus 2
        // (NET_IP_ALIGN) or wherever the driver put them; a BPF load takes any address where the
        // kernel says so, and an unaligned read would be compiled to loads of single bytes.
        Some(unsafe { *pointer })
    }

    #[inline(always)]
    fn write<T: NoUninit>(&mut self, offset: usize, value: T) -> Option<()> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: as for `read`; the verifier adds a prologue that makes the headers our own.
        unsafe { *pointer = value };
        Some(())
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        let Some(slot) = FORGOTTEN.get_ptr_mut(0) else {
            return 0;
        };
        // SAFETY: each CPU has its own slot, and nothing else of ours runs in between. What comes
        // out of a map is any number to the verifier.
        unsafe {
            slot.write_volatile(value);
            slot.read_volatile()
        }
    }

    #[inline(always)]
    fn redirect(&mut self, interface: u32) {
        if let Some(passing) = passing() {
            passing.set_interface(interface);
        }
    }

    #[inline(always)]
    fn segment(&self) -> usize {
        // SAFETY: `skb` is this program's context, which the verifier lets us read.
        unsafe { (*self.skb).gso_size as usize }
    }

    #[inline(always)]
    fn mtu(&self, interface: u32) -> Option<usize> {
        // SAFETY: a static of our own. Userspace sets it in the object before it is loaded, which
        // the compiler does not know and the verifier does: it does not look at dead branches.
        if unsafe { (&raw const KNOWS_MTU).read_volatile() } == 0 {
            return None;
        }
        if self.is_cut_by_fragments() {
            return None;
        }
        let mut mtu = 0;
        // SAFETY: `skb` is this program's context. What fits and what does not is told the same
        // MTU; there is none where there is no such interface.
        let result = unsafe { bpf_check_mtu(self.skb.cast(), interface, &mut mtu, 0, 0) };
        (result >= 0).then_some(mtu as usize)
    }

    #[inline(always)]
    fn changed_by(&mut self, difference: Sum) {
        // SAFETY: `skb` is this program's context. What no device has summed is refused, as it may.
        unsafe { bpf_csum_update(self.skb, difference.raw()) };
    }

    #[inline(always)]
    fn take_at_most(&mut self, mtu: usize) {
        if let Some(passing) = passing() {
            passing.set_mtu(mtu as u32);
        }
    }

    #[inline(always)]
    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo: Sum,
        covered: Sum,
        optional: bool,
    ) -> Option<()> {
        let flags = if optional {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        let replace = |difference: Sum, flags: u64| {
            if difference.is_zero() {
                return Some(());
            }
            // SAFETY: `skb` is this program's context; the helper compares the offset itself.
            // A size of 0 says that `to` is a difference.
            let result = unsafe {
                bpf_l4_csum_replace(self.skb, offset as u32, 0, difference.raw().into(), flags)
            };
            (result == 0).then_some(())
        };
        replace(pseudo, flags | self.pseudo_header)?;
        replace(covered, flags)
    }
}
