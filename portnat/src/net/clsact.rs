//! The clsact queueing discipline, to which programs are attached below Linux 6.6.

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::tc::{TcHandle, TcMessage};

use super::NetError;
use super::error::answer;

/// Removes the clsact queueing discipline of the interface `index`, unless others have filters
/// there. An interface or discipline that is gone is fine.
///
/// # Errors
/// [`NetError::Qdisc`] if the kernel refuses.
pub async fn remove_clsact(handle: &Handle, index: u32) -> Result<(), NetError> {
    let failed = |error| NetError::Qdisc {
        index,
        reason: answer(error),
    };
    let Ok(link) = i32::try_from(index) else {
        return Ok(());
    };
    let filters = || handle.traffic_filter(link).get();
    for request in [filters().ingress(), filters().egress()] {
        let filters: Vec<TcMessage> = match request.execute().try_collect().await {
            Ok(filters) => filters,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        if !filters.is_empty() {
            return Ok(());
        }
    }
    let mut request = handle.qdisc().del(link);
    request.message_mut().header.parent = TcHandle::CLSACT;
    match request.execute().await {
        Err(error) if !is_gone(&error) => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Whether the kernel says that there is no such interface or discipline.
pub(super) fn is_gone(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(answer) = error else {
        return false;
    };
    matches!(
        answer.to_io().raw_os_error(),
        Some(nix::libc::ENODEV | nix::libc::ENOENT | nix::libc::EINVAL)
    )
}
