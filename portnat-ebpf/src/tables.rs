//! The maps as [`Tables`].

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_jiffies64};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::TcContext;
use portnat_common::ports::bitmap_position;
use portnat_common::{
    Flow, FlowRecord, Ip4, Ip6, Published, PublishedKey, Refusal, Scratch, Settings, Subnet,
    Tables, Ticks, Tuple, V4, V6,
};

use crate::maps::{
    EGRESS4, EGRESS6, FLOWS4, FLOWS6, LOCAL4, LOCAL6, PORTS, PUBLISHED4, PUBLISHED6, SCRATCH,
    SETTINGS, SUBNETS4, SUBNETS6, TARGETS4, TARGETS6,
};
use crate::socket;

/// -EEXIST
const EXISTS: i32 = -17;

/// The maps as seen from a hook on one interface.
pub(crate) struct Maps {
    skb: *mut __sk_buff,
    interface: u32,
}

impl Maps {
    /// As seen from the interface that the packet is at.
    #[inline(always)]
    pub(crate) fn at(ctx: &TcContext) -> Self {
        let skb = ctx.skb.skb;
        // SAFETY: it is this program's context.
        let interface = unsafe { (*skb).ifindex };
        Maps { skb, interface }
    }
}

/// The time.
#[inline(always)]
pub(crate) fn ticks() -> Ticks {
    // SAFETY: the helper has no requirements; the JIT makes it a load.
    Ticks(unsafe { bpf_jiffies64() })
}

macro_rules! family {
    ($family:ty, $address:ty: $flows:ident, $published:ident, $targets:ident, $local:ident, $subnets:ident, $egress:ident) => {
        impl Tables<$family> for Maps {
            #[inline(always)]
            fn settings(&self) -> Option<&Settings> {
                SETTINGS.get(0)
            }

            #[inline(always)]
            fn flow(&self, key: &Tuple<$address>) -> Option<&Flow> {
                let record = $flows.get_ptr(key)?;
                // SAFETY: a record and a flow differ in their cells only, which are transparent.
                // An entry that is removed meanwhile stays readable: the map is preallocated.
                Some(unsafe { &*record.cast::<Flow>() })
            }

            #[inline(always)]
            fn scratch(&self, room: Scratch) -> Option<&mut Flow> {
                let record = SCRATCH.get_ptr_mut(room as u32)?;
                // SAFETY: each CPU has its own, and a program is not interrupted by another of
                // ours: all run with bottom halves off.
                Some(unsafe { &mut *record.cast::<Flow>() })
            }

            #[inline(always)]
            fn insert_flow(&self, key: &Tuple<$address>, flow: &Flow) -> Result<(), Refusal> {
                // SAFETY: as above.
                let record = unsafe { &*ptr::from_ref(flow).cast::<FlowRecord>() };
                match $flows.insert(key, record, u64::from(BPF_NOEXIST)) {
                    Ok(()) => Ok(()),
                    Err(EXISTS) => Err(Refusal::Exists),
                    Err(_) => Err(Refusal::Full),
                }
            }

            #[inline(always)]
            fn remove_flow(&self, key: &Tuple<$address>) {
                // It may be gone already: another CPU can have removed it.
                let _ = $flows.remove(key);
            }

            #[inline(always)]
            fn published(&self, key: &PublishedKey<$address>) -> Option<&Published> {
                // SAFETY: userspace replaces entries and never changes one in place; the memory of one
                // that is removed meanwhile is not given back before this program ends (RCU).
                unsafe { $published.get(key) }
            }

            #[inline(always)]
            fn published_back(&self, key: &PublishedKey<$address>) -> Option<&Published> {
                // SAFETY: as for `published`.
                unsafe { $targets.get(key) }
            }

            #[inline(always)]
            fn is_in_use(&self, tuple: &Tuple<$address>) -> bool {
                socket::takes(self.skb, tuple)
            }

            #[inline(always)]
            fn port_is_published(&self, protocol: u8, port: u16) -> bool {
                let Some((word, bit)) = bitmap_position(protocol, port) else {
                    return false;
                };
                PORTS.get(word).is_some_and(|bits| bits & bit != 0)
            }

            #[inline(always)]
            fn is_local(&self, address: &$address) -> bool {
                $local.get_ptr(address).is_some()
            }

            #[inline(always)]
            fn subnet(&self, address: &$address) -> Option<&Subnet> {
                $subnets.get(Key::new(8 * size_of::<$address>() as u32, *address))
            }

            #[inline(always)]
            fn interface(&self) -> u32 {
                self.interface
            }

            #[inline(always)]
            fn egress_address(&self) -> Option<$address> {
                // SAFETY: as for `published`.
                unsafe { $egress.get(self.interface) }.copied()
            }

            #[inline(always)]
            fn now(&self) -> Ticks {
                ticks()
            }

            #[inline(always)]
            fn random(&self) -> u32 {
                // SAFETY: the helper has no requirements.
                unsafe { bpf_get_prandom_u32() }
            }
        }
    };
}

family!(V4, Ip4: FLOWS4, PUBLISHED4, TARGETS4, LOCAL4, SUBNETS4, EGRESS4);
family!(V6, Ip6: FLOWS6, PUBLISHED6, TARGETS6, LOCAL6, SUBNETS6, EGRESS6);
