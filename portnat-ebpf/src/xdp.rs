//! Frames that come in by an uplink, before the host has made packets of them (XDP).

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use bytemuck::{AnyBitPattern, NoUninit};
use portnat_common::checksum::Sum;
use portnat_common::nat::{self, Glance, Hook, Sight};
use portnat_common::packet::update_in_place;
use portnat_common::wire::ethernet;
use portnat_common::{Family, Flow, Packet, Settings, Ticks, Tuple, V4, V6};

use crate::done::Done;
use crate::fragments::passing;
use crate::maps::{ACCELERATED, SETTINGS, UPLINK_ADDRESSES};
use crate::run::{count, way_out};
use crate::tables::{Mapped, is_published, ticks};

/// A frame comes in.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let frame = Frame { xdp: ctx.ctx };
    // A tag of a VLAN is another type.
    let done = match frame.read(ethernet::ETHERTYPE).map(u16::from_be) {
        Some(V4::ETHERTYPE) => accelerate::<V4>(ctx),
        Some(V6::ETHERTYPE) => accelerate::<V6>(ctx),
        _ => return xdp_action::XDP_PASS,
    };
    match done.0 as u32 {
        Done::DELIVER => {
            if let Some(counter) = ACCELERATED.get_ptr_mut(0) {
                // SAFETY: the counter is this CPU's own, and nothing else of ours runs in between.
                unsafe { *counter += 1 };
            }
            // SAFETY: the helper has no requirements.
            unsafe { bpf_redirect(way_out(), 0) as u32 }
        }
        Done::DROP => {
            count(done.value());
            xdp_action::XDP_DROP
        }
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(never)]
fn accelerate<F: Mapped>(ctx: &XdpContext) -> Done {
    let mut frame = Frame { xdp: ctx.ctx };
    let sight = Sight {
        hook: Hook::In,
        l3: ethernet::HEADER_LEN,
        forwarded: true,
    };
    let tables = Around { xdp: ctx.ctx };
    Done::option(nat::accelerate::<F, _, _>(&mut frame, sight, &tables))
}

/// A frame whose headers are read and written in place. Of one in several buffers that is the first.
struct Frame {
    xdp: *mut xdp_md,
}

impl Frame {
    /// Where `T` lies at `offset`, if it lies within what can be read in place.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // SAFETY: `xdp` is this program's context, which the verifier lets us read.
        let (start, end) = unsafe { ((*self.xdp).data as usize, (*self.xdp).data_end as usize) };
        let start = start + offset;
        if start + size_of::<T>() > end {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: `xdp` is this program's context.
        unsafe { bpf_xdp_get_buff_len(self.xdp) as usize }
    }

    #[inline(always)]
    fn read<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has compared the bounds; BPF loads from any address, see `Skb::read`.
        Some(unsafe { *pointer })
    }

    #[inline(always)]
    fn write<T: NoUninit>(&mut self, offset: usize, value: T) -> Option<()> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: as for `read`; a frame is the driver's and ours alone.
        unsafe { *pointer = value };
        Some(())
    }

    #[inline(always)]
    fn redirect(&mut self, interface: u32) {
        if let Some(passing) = passing() {
            passing.set_interface(interface);
        }
    }

    /// Frames are no longer than their way has learnt.
    #[inline(always)]
    fn mtu(&self, _interface: u32) -> Option<usize> {
        None
    }

    /// Nothing was put together yet.
    #[inline(always)]
    fn segment(&self) -> usize {
        0
    }

    /// None is dropped for its length.
    #[inline(always)]
    fn take_at_most(&mut self, _mtu: usize) {}

    /// What a device has summed does not come along with a frame.
    #[inline(always)]
    fn changed_by(&mut self, _difference: Sum) {}

    #[inline(always)]
    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo: Sum,
        covered: Sum,
        optional: bool,
    ) -> Option<()> {
        update_in_place(self, offset, pseudo.join(covered), optional)
    }
}

/// What is known where a frame comes in.
struct Around {
    xdp: *mut xdp_md,
}

impl<F: Mapped> Glance<F> for Around {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn port_is_published(&self, protocol: u8, port: u16) -> bool {
        is_published(protocol, port)
    }

    #[inline(always)]
    fn confirmed(&self, key: &Tuple<F::Address>) -> Option<&Flow> {
        F::confirmed(key)
    }

    #[inline(always)]
    fn is_for_us(&self) -> bool {
        let frame = Frame { xdp: self.xdp };
        let interface = Glance::<F>::interface(self);
        let (Some(first), Some(rest)) = (frame.read::<u32>(0), frame.read::<u16>(4)) else {
            return false;
        };
        let destination = u64::from(first) | u64::from(rest) << 32;
        // SAFETY: a value that is replaced is replaced whole; what is removed meanwhile is not given
        // back before this program ends (RCU).
        unsafe { UPLINK_ADDRESSES.get(interface) }.is_some_and(|own| *own == destination)
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: `xdp` is this program's context, which the verifier lets us read.
        unsafe { (*self.xdp).ingress_ifindex }
    }

    #[inline(always)]
    fn now(&self) -> Ticks {
        ticks()
    }
}
