//! Where programs are attached.

use aya_ebpf::programs::TcContext;
use portnat_common::nat::Hook;
use portnat_common::wire::ethernet;
use portnat_common::{DropReason, Tables};

use crate::answer;
use crate::tables::{Mapped, Maps};

/// Where a program is attached. A type, so that each program is compiled for its own place.
pub(crate) trait Place {
    /// The hook.
    const HOOK: Hook;
    /// Where the network header lies, in bytes.
    const L3: usize;
    /// Whether packets of known flows may go out from here at once.
    const SENDS: bool = false;

    /// Puts an ICMP error in the place of a packet that is dropped for this reason, and says where it
    /// is to go; or does nothing and returns `false`.
    fn answer<F: Mapped>(ctx: &TcContext, reason: u32) -> bool
    where
        Maps: Tables<F>;
}

/// Where packets come in; their network header lies at `L3`.
pub(crate) struct In<const L3: usize>;

/// Where packets come in by a bridge's port.
pub(crate) struct Port;

/// Where packets go out by an uplink.
pub(crate) struct Outside<const L3: usize>;

/// Where packets go from the host to itself.
pub(crate) struct Local;

/// Where packets go out by a bridge.
pub(crate) struct Inside<const L3: usize>;

impl<const AT: usize> Place for In<AT> {
    const HOOK: Hook = Hook::In;
    const L3: usize = AT;

    #[inline(always)]
    fn answer<F: Mapped>(ctx: &TcContext, reason: u32) -> bool
    where
        Maps: Tables<F>,
    {
        reason == DropReason::TooBig as u32 && answer::refuse_length::<F, AT, false>(ctx)
    }
}

impl Place for Port {
    const HOOK: Hook = Hook::In;
    const L3: usize = ethernet::HEADER_LEN;
    const SENDS: bool = true;

    #[inline(always)]
    fn answer<F: Mapped>(ctx: &TcContext, reason: u32) -> bool
    where
        Maps: Tables<F>,
    {
        reason == DropReason::TooBig as u32
            && answer::refuse_length::<F, { ethernet::HEADER_LEN }, false>(ctx)
    }
}

impl<const AT: usize> Place for Outside<AT> {
    const HOOK: Hook = Hook::Outside;
    const L3: usize = AT;

    #[inline(always)]
    fn answer<F: Mapped>(ctx: &TcContext, reason: u32) -> bool
    where
        Maps: Tables<F>,
    {
        is_refusal(reason) && answer::refuse::<F, AT>(ctx)
    }
}

impl<const AT: usize> Place for Inside<AT> {
    const HOOK: Hook = Hook::Inside;
    const L3: usize = AT;

    #[inline(always)]
    fn answer<F: Mapped>(_ctx: &TcContext, _reason: u32) -> bool
    where
        Maps: Tables<F>,
    {
        false
    }
}

impl Place for Local {
    const HOOK: Hook = Hook::Local;
    const L3: usize = ethernet::HEADER_LEN;

    #[inline(always)]
    fn answer<F: Mapped>(ctx: &TcContext, reason: u32) -> bool
    where
        Maps: Tables<F>,
    {
        reason == DropReason::TooBig as u32
            && answer::refuse_length::<F, { ethernet::HEADER_LEN }, true>(ctx)
    }
}

/// Whether this is the number of a reason that [`DropReason::is_refusal`], which takes the reason.
#[inline(always)]
fn is_refusal(reason: u32) -> bool {
    DropReason::ALL
        .iter()
        .any(|known| *known as u32 == reason && known.is_refusal())
}
