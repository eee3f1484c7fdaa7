//! Who may come in by published ports: the maps, and the maps as [`Admissions`].

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie, LruHashMap};
use portnat_common::{AdmissionKey, Admissions, Ip4, Ip6, Limit, LimitKey, V4, V6};

use crate::tables::Maps;

/// How many flows sources may open by published ports, by the ports' ids.
#[map]
static LIMITS: HashMap<u32, Limit> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

macro_rules! family {
    ($family:ty, $address:ty: $admissions:ident, $buckets:ident) => {
        /// What the lists of published ports say of prefixes: 1 lets in, 0 keeps out.
        #[map]
        static $admissions: LpmTrie<AdmissionKey<$address>, u32> =
            LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);

        /// When sources' buckets will be full again.
        #[map]
        static $buckets: LruHashMap<LimitKey<$address>, u64> =
            LruHashMap::with_max_entries(32_768, 0);

        impl Admissions<$family> for Maps {
            #[inline(always)]
            fn admits(&self, key: &AdmissionKey<$address>) -> Option<bool> {
                let bits = 8 * size_of::<AdmissionKey<$address>>() as u32;
                $admissions.get(Key::new(bits, *key)).map(|word| *word != 0)
            }

            #[inline(always)]
            fn limit(&self, port_id: u32) -> Option<&Limit> {
                // SAFETY: as for published ports: entries are replaced and never changed in place.
                unsafe { LIMITS.get(port_id) }
            }

            #[inline(always)]
            fn bucket(&self, key: &LimitKey<$address>) -> Option<u64> {
                let full_at = $buckets.get_ptr(key)?;
                // SAFETY: a whole word. Should it give way in this moment it can be another's, which is
                // no more than having been forgotten.
                Some(unsafe { full_at.read_volatile() })
            }

            #[inline(always)]
            fn set_bucket(&self, key: &LimitKey<$address>, full_at: u64) {
                // Fails for want of memory only; then this flow was not counted.
                let _ = $buckets.insert(key, full_at, 0);
            }
        }
    };
}

family!(V4, Ip4: ADMISSIONS4, BUCKETS4);
family!(V6, Ip6: ADMISSIONS6, BUCKETS6);
