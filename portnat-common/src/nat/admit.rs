//! Who opens a flow by a published port may be asked first who it is, and how often it has done so.

use crate::address::Address;
use crate::admission::{self, AdmissionKey, LimitKey};
use crate::family::Family;
use crate::tables::Tables;
use crate::verdict::{DropReason, Verdict};

use super::Hook;
use super::opening::{LIMITED, LISTED, Opening};

/// How often a bucket is asked for that another CPU is just taking from.
const TRIES: u32 = 4;

/// Drops what opens a flow and may not. Only [`super::plan`] says that a flow begins, so packets of
/// those that are there never come here.
#[inline(always)]
pub fn admit<F: Family, T: Tables<F>>(
    tables: &T,
    opening: &mut Opening<F::Address>,
) -> Option<Verdict> {
    if opening.wishes(LISTED) {
        let key = AdmissionKey {
            port_id: opening.port_id,
            source: opening.tuple.src,
        };
        if tables.admits(&key) == Some(false) {
            return Some(Verdict::Drop(DropReason::Denied));
        }
    }
    if opening.wishes(LIMITED) && !may_open::<F, T>(tables, opening) {
        return Some(Verdict::Drop(DropReason::Limited));
    }
    None
}

/// What a published port's flags say of a packet that is seen here. The host itself may always come
/// in, as it passes by `FORWARD` and what stands there.
#[inline(always)]
pub(super) const fn asked(hook: Hook, flags: u32) -> u32 {
    if !matches!(hook, Hook::In) {
        return 0;
    }
    let listed = if flags & admission::LISTED != 0 {
        LISTED
    } else {
        0
    };
    let limited = if flags & admission::LIMITED != 0 {
        LIMITED
    } else {
        0
    };
    listed | limited
}

/// Whether the source has not opened too many flows lately; then this is one more.
#[inline(always)]
fn may_open<F: Family, T: Tables<F>>(tables: &T, opening: &Opening<F::Address>) -> bool {
    let Some(limit) = tables.limit(opening.port_id) else {
        return true;
    };
    let source = opening.tuple.src;
    // Of an outsider's IPv6 site any address can be anybody's. Containers share theirs, and
    // neighbours the link's.
    let single = F::is_link_local(source) || tables.subnet(&source).is_some();
    let key = LimitKey {
        port_id: opening.port_id,
        source: if single { source } else { source.site() },
    };
    // Under a claim, or two CPUs would take the same token.
    let claimed = identity(&key);
    let mut tries = 0;
    while !tables.claim(claimed) {
        tries += 1;
        if tries == TRIES {
            return false;
        }
    }
    let full_at = tables.bucket(&key).unwrap_or(0);
    let spent = limit.spend(full_at, tables.now());
    if let Some(full_at) = spent {
        tables.set_bucket(&key, full_at);
    }
    tables.release(claimed);
    spent.is_some()
}

/// What a bucket is claimed by. Another may have the same, which costs who comes second a few tries.
#[inline(always)]
fn identity<A: Address>(key: &LimitKey<A>) -> u64 {
    let sum = key.source.words().iter().fold(3, |sum: u64, word| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*word))
    });
    sum ^ u64::from(key.port_id) << 40
}
