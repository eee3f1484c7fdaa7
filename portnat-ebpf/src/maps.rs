//! The maps, and how large they are unless userspace says otherwise.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, Queue};
use portnat_common::icmp_answer::{Allowance, Quotation};
use portnat_common::nat::{self, Opening};
use portnat_common::ports::BITMAP_WORDS;
use portnat_common::subnet::FIRST_OCTETS;
use portnat_common::{
    DropReason, Endpoint, FlowRecord, Ip4, Ip6, MappingKey, OwnerRecord, Published, PublishedKey,
    Queued, Settings, Subnet, Ticks, Total, Tuple,
};

/// The maps of one address family.
macro_rules! family {
    ($address:ty: $flows:ident, $half_tcp:ident, $half_other:ident, $queue:ident, $opening:ident, $containers:ident, $mappings:ident, $owners:ident, $published:ident, $targets:ident, $local:ident, $subnets:ident, $bypass:ident, $egress:ident) => {
        /// Confirmed flows, an entry a direction. Not LRU: an evicted half breaks a connection.
        /// Preallocated, because an insertion must not wait for memory. Userspace sets the size.
        #[map]
        pub(crate) static $flows: HashMap<Tuple<$address>, FlowRecord> =
            HashMap::with_max_entries(2, 0);

        /// Half-open flows of TCP, alike. When it is full the oldest go. Userspace sets the size.
        #[map]
        pub(crate) static $half_tcp: LruHashMap<Tuple<$address>, FlowRecord> =
            LruHashMap::with_max_entries(2, 0);

        /// Half-open flows of other protocols, so that a flood of one leaves the other alone.
        #[map]
        pub(crate) static $half_other: LruHashMap<Tuple<$address>, FlowRecord> =
            LruHashMap::with_max_entries(2, 0);

        /// The confirmed flows in the order in which they are examined. Userspace sets the size.
        #[map]
        pub(crate) static $queue: Queue<Queued<$address>> = Queue::with_max_entries(1, 0);

        /// The flow that this CPU is opening.
        #[map]
        pub(crate) static $opening: PerCpuArray<Opening<$address>> =
            PerCpuArray::with_max_entries(1, 0);

        /// How many confirmed flows to the outside each container has. Nothing is removed: what is
        /// counted somewhere must be found there again.
        #[map]
        pub(crate) static $containers: HashMap<$address, u64> =
            HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

        /// Which port of the outside a container's socket was given. Userspace sets the size.
        #[map]
        pub(crate) static $mappings: LruHashMap<MappingKey<$address>, u32> =
            LruHashMap::with_max_entries(1, 0);

        /// Who has a port of the outside for itself. Userspace sets the size.
        #[map]
        pub(crate) static $owners: LruHashMap<Endpoint<$address>, OwnerRecord> =
            LruHashMap::with_max_entries(1, 0);

        /// Published ports.
        #[map]
        pub(crate) static $published: HashMap<PublishedKey<$address>, Published> =
            HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        /// The same the other way round: by target, where there is just one port for it.
        #[map]
        pub(crate) static $targets: HashMap<PublishedKey<$address>, Published> =
            HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        /// Addresses that mean something to us, and what, see [`portnat_common::address::role`].
        #[map]
        pub(crate) static $local: HashMap<$address, u32> =
            HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        /// Inside subnets.
        #[map]
        pub(crate) static $subnets: LpmTrie<$address, Subnet> =
            LpmTrie::with_max_entries(4096, BPF_F_NO_PREALLOC);

        /// Prefixes that containers are not masqueraded to.
        #[map]
        pub(crate) static $bypass: LpmTrie<$address, u32> =
            LpmTrie::with_max_entries(4096, BPF_F_NO_PREALLOC);

        /// By interface index: the address that masqueraded packets take there; and those that
        /// subnets name, by their numbers.
        #[map]
        pub(crate) static $egress: HashMap<u32, $address> =
            HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);
    };
}

family!(Ip4: FLOWS4, HALF_TCP4, HALF_OTHER4, QUEUE4, OPENING4, CONTAINERS4, MAPPINGS4, OWNERS4, PUBLISHED4, TARGETS4, LOCAL4, SUBNETS4, BYPASS4, EGRESS4);
family!(Ip6: FLOWS6, HALF_TCP6, HALF_OTHER6, QUEUE6, OPENING6, CONTAINERS6, MAPPINGS6, OWNERS6, PUBLISHED6, TARGETS6, LOCAL6, SUBNETS6, BYPASS6, EGRESS6);

/// Which ports are published at all, on whatever address, of either family.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(BITMAP_WORDS, 0);

/// With which octets addresses of inside subnets begin, of both families.
#[map]
pub(crate) static INSIDE: Array<u64> = Array::with_max_entries(FIRST_OCTETS, 0);

/// Which ports masquerade must not lend: those, and what the administrator has reserved.
#[map]
pub(crate) static WITHHELD: Array<u64> = Array::with_max_entries(BITMAP_WORDS, 0);

/// How many ports were lent after so many probes: 0 is the sender's own.
#[map]
pub(crate) static PROBES: PerCpuArray<u64> = PerCpuArray::with_max_entries(nat::PROBES + 1, 0);

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

/// A number of which the verifier shall not know where it came from.
#[map]
pub(crate) static FORGOTTEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What this CPU quotes in an ICMP error.
#[map]
pub(crate) static QUOTATION: PerCpuArray<Quotation> = PerCpuArray::with_max_entries(1, 0);

/// How many ICMP errors this CPU has sent lately.
#[map]
pub(crate) static ALLOWANCE: PerCpuArray<Allowance> = PerCpuArray::with_max_entries(1, 0);

/// What came through published ports, by their ids, in flows that have ended or are half-open.
#[map]
pub(crate) static TOTALS: HashMap<u32, Total> =
    HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// By interface index: until when it takes frames of which the host has made no packets, in ticks.
#[map]
pub(crate) static FRAME_PORTS: HashMap<u32, u64> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// The indices of uplinks and bridges.
#[map]
pub(crate) static GATES: HashMap<u32, u32> = HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);

/// By the index of an uplink: its Ethernet address, in memory order, behind which are zeroes.
#[map]
pub(crate) static UPLINK_ADDRESSES: HashMap<u32, u64> =
    HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// How many frames went to their containers before the host had made packets of them.
#[map]
pub(crate) static ACCELERATED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The flows that a CPU is just about to revive or remove, by their identities. A CPU has one at
/// most.
#[map]
pub(crate) static CLAIMS: HashMap<u64, u32> = HashMap::with_max_entries(8192, 0);

/// When each family's table was last full, in ticks.
#[map]
pub(crate) static FULL: Array<Ticks> = Array::with_max_entries(2, 0);

/// How long each family's queue is: what was put in less what was taken out, the sum over all CPUs.
#[map]
pub(crate) static QUEUED: PerCpuArray<i64> = PerCpuArray::with_max_entries(2, 0);
