//! The maps, and how large they are unless userspace says otherwise.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use portnat_common::ports::BITMAP_WORDS;
use portnat_common::{
    DropReason, FlowRecord, Ip4, Published, PublishedKey, Settings, Subnet, Tuple,
};

/// Flows of IPv4, an entry a direction. Not LRU: an evicted half breaks a connection. Preallocated,
/// because an insertion must not wait for memory. Userspace sets the size.
#[map]
pub(crate) static FLOWS4: HashMap<Tuple<Ip4>, FlowRecord> = HashMap::with_max_entries(2, 0);

/// Published ports of IPv4.
#[map]
pub(crate) static PUBLISHED4: HashMap<PublishedKey<Ip4>, Published> =
    HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Which ports are published at all, on whatever address, of either family.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(BITMAP_WORDS, 0);

/// The host's own IPv4 addresses.
#[map]
pub(crate) static LOCAL4: HashMap<Ip4, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Inside subnets of IPv4.
#[map]
pub(crate) static SUBNETS4: LpmTrie<Ip4, Subnet> =
    LpmTrie::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// By interface index: the IPv4 address that masqueraded packets take there.
#[map]
pub(crate) static EGRESS4: HashMap<u32, Ip4> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// The settings: one entry.
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Dropped packets by reason.
#[map]
pub(crate) static DROPS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(DropReason::ALL.len() as u32, 0);

/// Where the `clock` program leaves the time in ticks.
#[map]
pub(crate) static CLOCK: Array<u64> = Array::with_max_entries(1, 0);
