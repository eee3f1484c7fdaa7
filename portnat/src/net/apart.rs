//! A bridge's ports are kept from each other.

use rtnetlink::{Handle, LinkBridgePort};

use super::NetError;
use super::error::answer;

/// Has a bridge pass nothing from this port of its to others that are kept apart (Linux 4.18), or pass it
/// again. The bridge's own address is not concerned. A port that is gone is fine.
///
/// # Errors
/// [`NetError::Apart`] if the kernel refuses.
pub async fn keep_apart(handle: &Handle, index: u32, apart: bool) -> Result<(), NetError> {
    let port = LinkBridgePort::new(index).isolated(apart).build();
    match handle.link().set_port(port).execute().await {
        Err(error) if !super::clsact::is_gone(&error) => Err(NetError::Apart {
            index,
            reason: answer(error),
        }),
        _ => Ok(()),
    }
}
