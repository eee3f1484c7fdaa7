//! The maps, and how large they are unless userspace says otherwise.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use portnat_common::ports::BITMAP_WORDS;
use portnat_common::{
    DropReason, FlowRecord, Ip4, Ip6, Published, PublishedKey, Scratch, Settings, Subnet, Tuple,
};

/// The maps of one address family.
macro_rules! family {
    ($address:ty: $flows:ident, $published:ident, $targets:ident, $local:ident, $subnets:ident, $egress:ident) => {
        /// Flows, an entry a direction. Not LRU: an evicted half breaks a connection. Preallocated,
        /// because an insertion must not wait for memory. Userspace sets the size.
        #[map]
        pub(crate) static $flows: HashMap<Tuple<$address>, FlowRecord> =
            HashMap::with_max_entries(2, 0);

        /// Published ports.
        #[map]
        pub(crate) static $published: HashMap<PublishedKey<$address>, Published> =
            HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        /// The same the other way round: by target, where there is just one port for it.
        #[map]
        pub(crate) static $targets: HashMap<PublishedKey<$address>, Published> =
            HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        /// The host's own addresses.
        #[map]
        pub(crate) static $local: HashMap<$address, u32> =
            HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

        /// Inside subnets.
        #[map]
        pub(crate) static $subnets: LpmTrie<$address, Subnet> =
            LpmTrie::with_max_entries(4096, BPF_F_NO_PREALLOC);

        /// By interface index: the address that masqueraded packets take there.
        #[map]
        pub(crate) static $egress: HashMap<u32, $address> =
            HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);
    };
}

family!(Ip4: FLOWS4, PUBLISHED4, TARGETS4, LOCAL4, SUBNETS4, EGRESS4);
family!(Ip6: FLOWS6, PUBLISHED6, TARGETS6, LOCAL6, SUBNETS6, EGRESS6);

/// Which ports are published at all, on whatever address, of either family.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(BITMAP_WORDS, 0);

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

/// Room for what is too large for the stack.
#[map]
pub(crate) static SCRATCH: PerCpuArray<FlowRecord> =
    PerCpuArray::with_max_entries(Scratch::COUNT, 0);

/// A number of which the verifier shall not know where it came from.
#[map]
pub(crate) static FORGOTTEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
