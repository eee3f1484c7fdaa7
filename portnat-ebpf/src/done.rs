//! What has become of a packet, as one register.

use core::hint::black_box;

use portnat_common::Verdict;
use portnat_common::nat::Next;

/// What became of a packet in one function: an eBPF function returns one register. The lower half
/// says what, the upper half which reason or interface.
#[derive(Clone, Copy)]
pub(crate) struct Done(pub(crate) u64);

impl Done {
    pub(crate) const NEXT: u32 = 0;
    pub(crate) const DROP: u32 = 1;
    pub(crate) const REDIRECT: u32 = 2;
    /// Nothing yet: another function has its turn.
    pub(crate) const ERROR: u32 = 3;
    pub(crate) const UNKNOWN: u32 = 4;
    pub(crate) const FRAGMENT: u32 = 5;
    /// It waits.
    pub(crate) const HELD: u32 = 6;
    /// It is to become a packet of the other address family.
    pub(crate) const CONVERT: u32 = 7;
    /// It goes to who is behind an interface.
    pub(crate) const DELIVER: u32 = 8;
    /// It goes out by an interface.
    pub(crate) const SEND: u32 = 9;
    /// It goes on through the stack, translated.
    pub(crate) const TRANSLATED: u32 = 10;

    #[inline(always)]
    pub(crate) const fn new(what: u32, value: u32) -> Self {
        Done(what as u64 | (value as u64) << 32)
    }

    /// Without a value. Opaque to the compiler, which would else take any register for the value that
    /// is not there, also one that holds a pointer: the verifier does not forgive that.
    #[inline(always)]
    pub(crate) fn plain(what: u32) -> Self {
        Done(black_box(u64::from(what)))
    }

    #[inline(always)]
    pub(crate) const fn value(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(crate) fn verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Done::plain(Done::NEXT),
            Verdict::Translated => Done::plain(Done::TRANSLATED),
            Verdict::Redirect => Done::plain(Done::REDIRECT),
            Verdict::Held => Done::plain(Done::HELD),
            Verdict::Convert => Done::plain(Done::CONVERT),
            Verdict::Deliver => Done::plain(Done::DELIVER),
            Verdict::Send => Done::plain(Done::SEND),
            Verdict::Drop(reason) => Done::new(Done::DROP, reason as u32),
        }
    }

    #[inline(always)]
    pub(crate) fn option(verdict: Option<Verdict>) -> Self {
        match verdict {
            Some(verdict) => Done::verdict(verdict),
            None => Done::plain(Done::UNKNOWN),
        }
    }

    #[inline(always)]
    pub(crate) fn step(next: Next) -> Self {
        match next {
            Next::Done(verdict) => Done::verdict(verdict),
            Next::Error => Done::plain(Done::ERROR),
            Next::Fragment => Done::plain(Done::FRAGMENT),
            Next::Unknown => Done::plain(Done::UNKNOWN),
        }
    }

    #[inline(always)]
    pub(crate) const fn is(self, what: u32) -> bool {
        self.0 as u32 == what
    }
}
