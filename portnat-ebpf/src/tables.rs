//! The maps as [`Tables`].

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_jiffies64};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::TcContext;
use portnat_common::nat::Opening;
use portnat_common::ports::bitmap_position;
use portnat_common::subnet::octet_position;
use portnat_common::wire::protocol;
use portnat_common::{
    Endpoint, Family, Flow, FlowRecord, Ip4, Ip6, MappingKey, Owner, OwnerRecord, Published,
    PublishedKey, Queued, Refusal, Settings, Subnet, Table, Tables, Ticks, Tuple, V4, V6,
};

use crate::counts::{NONE, add, add_to_total, count_queued};
use crate::maps::{
    BYPASS4, BYPASS6, CLAIMS, CONTAINERS4, CONTAINERS6, EGRESS4, EGRESS6, FLOWS4, FLOWS6,
    FRAME_PORTS, FULL, GATES, HALF_OTHER4, HALF_OTHER6, HALF_TCP4, HALF_TCP6, INSIDE, LOCAL4,
    LOCAL6, MAPPINGS4, MAPPINGS6, OPENING4, OPENING6, OWNERS4, OWNERS6, PORTS, PROBES, PUBLISHED4,
    PUBLISHED6, QUEUE4, QUEUE6, SETTINGS, SUBNETS4, SUBNETS6, TARGETS4, TARGETS6, WITHHELD,
};
use crate::ranges::Ranged as _;
use crate::{across, socket};

/// -EEXIST
pub(crate) const EXISTS: i32 = -17;

/// Why the kernel has not inserted an entry.
#[inline(always)]
const fn refusal(error: i32) -> Refusal {
    match error {
        EXISTS => Refusal::Exists,
        _ => Refusal::Full,
    }
}

/// Insertions are of keys that are not there.
pub(crate) const NEW: u64 = BPF_NOEXIST as u64;

/// The maps as seen from a hook on one interface.
pub(crate) struct Maps {
    pub(crate) skb: *mut __sk_buff,
    pub(crate) interface: u32,
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

/// Whether a port is published on any address.
#[inline(always)]
pub(crate) fn is_published(protocol: u8, port: u16) -> bool {
    let (word, bit) = bitmap_position(protocol, port);
    PORTS.get(word).is_some_and(|bits| bits & bit != 0)
}

/// A family whose maps these are.
pub(crate) trait Mapped: Family {
    /// Where this CPU's opening lies.
    fn opening() -> Option<*mut Opening<Self::Address>>;

    /// The confirmed flow under a key.
    fn confirmed(key: &Tuple<Self::Address>) -> Option<&'static Flow>;
}

macro_rules! family {
    ($family:ty, $address:ty, $number:literal, $across:ident: $flows:ident, $half_tcp:ident, $half_other:ident, $queue:ident, $opening:ident, $containers:ident, $mappings:ident, $owners:ident, $published:ident, $targets:ident, $local:ident, $subnets:ident, $bypass:ident, $egress:ident) => {
        impl Mapped for $family {
            #[inline(always)]
            fn opening() -> Option<*mut Opening<$address>> {
                $opening.get_ptr_mut(0)
            }

            #[inline(always)]
            fn confirmed(key: &Tuple<$address>) -> Option<&'static Flow> {
                // SAFETY: a record and a flow differ in their cells only, which are transparent.
                // An entry that is removed meanwhile stays readable: the maps are preallocated.
                Some(unsafe { &*$flows.get_ptr(key)?.cast::<Flow>() })
            }
        }

        impl Tables<$family> for Maps {
            #[inline(always)]
            fn settings(&self) -> Option<&Settings> {
                SETTINGS.get(0)
            }

            #[inline(always)]
            fn flow(&self, table: Table, key: &Tuple<$address>) -> Option<&Flow> {
                let record = match table {
                    Table::Confirmed => return <$family>::confirmed(key),
                    Table::HalfOpen if key.protocol == protocol::TCP => $half_tcp.get_ptr(key)?,
                    Table::HalfOpen => $half_other.get_ptr(key)?,
                };
                // SAFETY: as in `confirmed`.
                Some(unsafe { &*record.cast::<Flow>() })
            }

            #[inline(always)]
            fn insert_flow(
                &self,
                table: Table,
                key: &Tuple<$address>,
                record: &FlowRecord,
            ) -> Result<(), Refusal> {
                let inserted = match table {
                    Table::Confirmed => $flows.insert(key, record, NEW),
                    Table::HalfOpen if key.protocol == protocol::TCP => {
                        $half_tcp.insert(key, record, NEW)
                    }
                    Table::HalfOpen => $half_other.insert(key, record, NEW),
                };
                inserted.map_err(refusal)
            }

            #[inline(always)]
            fn remove_flow(&self, table: Table, key: &Tuple<$address>) {
                // It may be gone already: a half-open one can have been evicted.
                let _ = match table {
                    Table::Confirmed => $flows.remove(key),
                    Table::HalfOpen if key.protocol == protocol::TCP => $half_tcp.remove(key),
                    Table::HalfOpen => $half_other.remove(key),
                };
            }

            #[inline(always)]
            fn full_since(&self) -> Ticks {
                FULL.get($number).copied().unwrap_or_default()
            }

            #[inline(always)]
            fn set_full(&self, now: Ticks) {
                if let Some(since) = FULL.get_ptr_mut($number) {
                    // SAFETY: whole words, of which any CPU's is as good.
                    unsafe { since.write_volatile(now) };
                }
            }

            #[inline(always)]
            fn claim(&self, identity: u64) -> bool {
                CLAIMS.insert(identity, 0, NEW).is_ok()
            }

            #[inline(always)]
            fn release(&self, identity: u64) {
                // It is there: nobody else removes it.
                let _ = CLAIMS.remove(identity);
            }

            #[inline(always)]
            fn queue(&self, entry: &Queued<$address>) {
                // It holds as many as there can be flows.
                if $queue.push(entry, 0).is_ok() {
                    count_queued($number, 1);
                }
            }

            #[inline(always)]
            fn next_queued(&self) -> Option<Queued<$address>> {
                // An error is another CPU's lock, below Linux 6.16; there is another time.
                let entry = $queue.pop().ok()??;
                count_queued($number, -1);
                Some(entry)
            }

            #[inline(always)]
            fn flows_of(&self, container: &$address) -> Option<u64> {
                let counter = match $containers.get_ptr(container) {
                    Some(counter) => counter,
                    None => {
                        // Another CPU may be faster, which is as well.
                        let none: &u64 = &NONE;
                        let _ = $containers.insert(container, none, NEW);
                        $containers.get_ptr(container)?
                    }
                };
                // SAFETY: the entry is never removed; a whole word.
                Some(unsafe { counter.read_volatile() })
            }

            #[inline(always)]
            fn count_flow(&self, container: &$address, change: i64) {
                if let Some(counter) = $containers.get_ptr_mut(container) {
                    // SAFETY: as above, and other CPUs add to it as we do.
                    unsafe { add(counter, change as u64) };
                }
            }

            #[inline(always)]
            fn mapping(&self, key: &MappingKey<$address>) -> Option<u16> {
                let port = $mappings.get_ptr(key)?;
                // SAFETY: a whole word.
                Some(unsafe { port.read_volatile() } as u16)
            }

            #[inline(always)]
            fn set_mapping(&self, key: &MappingKey<$address>, port: u16) {
                // Without it the next flow gets another port.
                let _ = $mappings.insert(key, u32::from(port), 0);
            }

            #[inline(always)]
            fn owner(&self, outside: &Endpoint<$address>) -> Option<&Owner> {
                let record = $owners.get_ptr(outside)?;
                // SAFETY: as for flows: only the cell's type differs, and what is removed stays
                // readable.
                Some(unsafe { &*record.cast::<Owner>() })
            }

            #[inline(always)]
            fn insert_owner(
                &self,
                outside: &Endpoint<$address>,
                owner: &OwnerRecord,
            ) -> Result<(), Refusal> {
                $owners.insert(outside, owner, NEW).map_err(refusal)
            }

            #[inline(always)]
            fn remove_owner(&self, outside: &Endpoint<$address>) {
                // It can have been evicted.
                let _ = $owners.remove(outside);
            }

            #[inline(always)]
            fn add_to_total(&self, port_id: u32, inbound: bool, packets: u64, bytes: u64) {
                add_to_total(port_id, inbound, packets, bytes);
            }

            #[inline(always)]
            fn published(&self, key: &PublishedKey<$address>) -> Option<&Published> {
                // SAFETY: userspace replaces entries and never changes one in place; the memory of one
                // that is removed meanwhile is not given back before this program ends (RCU).
                unsafe { $published.get(key) }
            }

            #[inline(always)]
            fn published_range(&self, key: &PublishedKey<$address>) -> Option<&Published> {
                <$address>::range(key)
            }

            #[inline(always)]
            fn published_back(&self, key: &PublishedKey<$address>) -> Option<&Published> {
                // SAFETY: as for `published`.
                unsafe { $targets.get(key) }.or_else(|| <$address>::range_back(key))
            }

            #[inline(always)]
            fn is_in_use(&self, tuple: &Tuple<$address>) -> bool {
                socket::takes(self.skb, tuple) || across::$across(self, tuple)
            }

            #[inline(always)]
            fn is_across(&self, tuple: &Tuple<$address>) -> bool {
                across::$across(self, tuple)
            }

            #[inline(always)]
            fn bridge_v4(&self, target: Ip4) -> Option<(u32, Ip4)> {
                let bridge = Tables::<V4>::subnet(self, &target)?.bridge;
                Some((bridge, Tables::<V4>::egress_address(self, bridge)?))
            }

            #[inline(always)]
            fn port_is_published(&self, protocol: u8, port: u16) -> bool {
                is_published(protocol, port)
            }

            #[inline(always)]
            fn port_is_withheld(&self, protocol: u8, port: u16) -> bool {
                let (word, bit) = bitmap_position(protocol, port);
                WITHHELD.get(word).is_some_and(|bits| bits & bit != 0)
            }

            #[inline(always)]
            fn came_in(&self) -> u32 {
                // SAFETY: the program's context, which the verifier lets us read.
                unsafe { (*self.skb).ingress_ifindex }
            }

            #[inline(always)]
            fn is_tagged(&self) -> bool {
                // SAFETY: as above.
                unsafe { (*self.skb).vlan_present != 0 }
            }

            #[inline(always)]
            fn number(&self, port: u32) {
                // SAFETY: as above, and programs may write this.
                unsafe { (*self.skb).tc_index = port };
            }

            #[inline(always)]
            fn numbered(&self) -> u32 {
                // SAFETY: as above.
                unsafe { (*self.skb).tc_index }
            }

            #[inline(always)]
            fn is_for_us(&self) -> bool {
                // SAFETY: as above. PACKET_HOST.
                unsafe { (*self.skb).pkt_type == 0 }
            }

            #[inline(always)]
            fn takes_frames_until(&self, interface: u32) -> Ticks {
                // SAFETY: as for `published`; a value that is replaced is replaced whole.
                let until = unsafe { FRAME_PORTS.get(interface) };
                Ticks(until.copied().unwrap_or_default())
            }

            #[inline(always)]
            fn count_probes(&self, probes: u32) {
                if let Some(counter) = PROBES.get_ptr_mut(probes) {
                    // SAFETY: each CPU has its own, and nothing else of ours runs in between.
                    unsafe { *counter += 1 };
                }
            }

            #[inline(always)]
            fn roles(&self, address: &$address) -> u32 {
                // SAFETY: as for `published`; a value that is replaced is replaced whole.
                unsafe { $local.get(address) }.copied().unwrap_or_default()
            }

            #[inline(always)]
            fn may_be_inside(&self, address: &$address) -> bool {
                let (word, bit) = octet_position(address);
                INSIDE.get(word).is_some_and(|bits| bits & bit != 0)
            }

            #[inline(always)]
            fn subnet(&self, address: &$address) -> Option<&Subnet> {
                if !Tables::<$family>::may_be_inside(self, address) {
                    return None;
                }
                $subnets.get(Key::new(8 * size_of::<$address>() as u32, *address))
            }

            #[inline(always)]
            fn is_bypassed(&self, address: &$address) -> bool {
                let key = Key::new(8 * size_of::<$address>() as u32, *address);
                $bypass.get(key).is_some()
            }

            #[inline(always)]
            fn interface(&self) -> u32 {
                self.interface
            }

            #[inline(always)]
            fn gate(&self, interface: u32) -> Option<u32> {
                // SAFETY: as for `published`.
                unsafe { GATES.get(interface) }.copied()
            }

            #[inline(always)]
            fn egress_address(&self, interface: u32) -> Option<$address> {
                // SAFETY: as for `published`.
                unsafe { $egress.get(interface) }.copied()
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

family!(V4, Ip4, 0, is_mapped_there: FLOWS4, HALF_TCP4, HALF_OTHER4, QUEUE4, OPENING4, CONTAINERS4, MAPPINGS4, OWNERS4, PUBLISHED4, TARGETS4, LOCAL4, SUBNETS4, BYPASS4, EGRESS4);
family!(V6, Ip6, 1, is_unmapped_there: FLOWS6, HALF_TCP6, HALF_OTHER6, QUEUE6, OPENING6, CONTAINERS6, MAPPINGS6, OWNERS6, PUBLISHED6, TARGETS6, LOCAL6, SUBNETS6, BYPASS6, EGRESS6);
