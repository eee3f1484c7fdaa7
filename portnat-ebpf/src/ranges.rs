//! Published ranges of ports, in tries: a few entries each, see [`portnat_common::range`].

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LpmTrie;
use aya_ebpf::maps::lpm_trie::Key;
use portnat_common::{Address, Ip4, Ip6, Published, PublishedKey, RangeKey};

/// An address whose family has tables of ranges.
pub(crate) trait Ranged: Address {
    /// The range that a port of the host is in.
    fn range(key: &PublishedKey<Self>) -> Option<&'static Published>;

    /// The range that leads to a target's port.
    fn range_back(key: &PublishedKey<Self>) -> Option<&'static Published>;
}

macro_rules! family {
    ($address:ty: $ranges:ident, $targets:ident) => {
        /// Published ranges.
        #[map]
        static $ranges: LpmTrie<RangeKey<$address>, Published> =
            LpmTrie::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        /// The same the other way round: by target, where there is just one port for it.
        #[map]
        static $targets: LpmTrie<RangeKey<$address>, Published> =
            LpmTrie::with_max_entries(131_072, BPF_F_NO_PREALLOC);

        impl Ranged for $address {
            #[inline(always)]
            fn range(key: &PublishedKey<Self>) -> Option<&'static Published> {
                $ranges.get(Key::new(RangeKey::<Self>::BITS, RangeKey::of(key)))
            }

            #[inline(always)]
            fn range_back(key: &PublishedKey<Self>) -> Option<&'static Published> {
                $targets.get(Key::new(RangeKey::<Self>::BITS, RangeKey::of(key)))
            }
        }
    };
}

family!(Ip4: RANGES4, TARGET_RANGES4);
family!(Ip6: RANGES6, TARGET_RANGES6);
