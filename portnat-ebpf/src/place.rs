//! Where programs are attached.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::programs::TcContext;
use portnat_common::Tables;
use portnat_common::nat::Hook;
use portnat_common::wire::ethernet;

use crate::answer;
use crate::tables::{Mapped, Maps};

/// Where a program is attached. A type, so that each program is compiled for its own place.
pub(crate) trait Place {
    /// The hook.
    const HOOK: Hook;
    /// Where the network header lies, in bytes.
    const L3: usize;

    /// What becomes of a packet whose flow was refused.
    fn refuse<F: Mapped>(_ctx: &TcContext) -> i32
    where
        Maps: Tables<F>,
    {
        TC_ACT_SHOT
    }
}

/// Where packets come in; their network header lies at `L3`.
pub(crate) struct In<const L3: usize>;

/// Where packets go out by an uplink.
pub(crate) struct Outside<const L3: usize>;

/// Where packets go from the host to itself.
pub(crate) struct Local;

/// Where packets go out by a bridge.
pub(crate) struct Inside<const L3: usize>;

impl<const AT: usize> Place for In<AT> {
    const HOOK: Hook = Hook::In;
    const L3: usize = AT;
}

impl<const AT: usize> Place for Outside<AT> {
    const HOOK: Hook = Hook::Outside;
    const L3: usize = AT;

    #[inline(always)]
    fn refuse<F: Mapped>(ctx: &TcContext) -> i32
    where
        Maps: Tables<F>,
    {
        answer::refuse::<F, AT>(ctx)
    }
}

impl<const AT: usize> Place for Inside<AT> {
    const HOOK: Hook = Hook::Inside;
    const L3: usize = AT;
}

impl Place for Local {
    const HOOK: Hook = Hook::Local;
    const L3: usize = ethernet::HEADER_LEN;
}
