//! The clsact filters of an interface, ours and others'.

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::tc::{TcAttribute, TcMessage};

use super::NetError;
use super::error::answer;

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The lower, the earlier.
    pub priority: u16,
    /// Its kind, as `bpf` or `u32`.
    pub kind: String,
}

/// The filters at the ingress, or else at the egress, of the interface `index`, in the order in which they
/// are asked. An interface that is gone has none.
///
/// # Errors
/// [`NetError::Qdisc`] if the kernel refuses.
pub async fn filters(handle: &Handle, index: u32, ingress: bool) -> Result<Vec<Filter>, NetError> {
    let Ok(link) = i32::try_from(index) else {
        return Ok(Vec::new());
    };
    let request = handle.traffic_filter(link).get();
    let request = match ingress {
        true => request.ingress(),
        false => request.egress(),
    };
    let listed: Vec<TcMessage> = match request.execute().try_collect().await {
        Ok(listed) => listed,
        // Without such a queueing discipline there are no filters.
        Err(error) if super::clsact::is_gone(&error) => return Ok(Vec::new()),
        Err(error) => {
            return Err(NetError::Qdisc {
                index,
                reason: answer(error),
            });
        }
    };
    let mut filters: Vec<Filter> = listed.iter().map(filter).collect();
    filters.sort_by_key(|filter| filter.priority);
    // Each is listed with its priority's head before it.
    filters.dedup();
    Ok(filters)
}

fn filter(message: &TcMessage) -> Filter {
    let kind = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        });
    Filter {
        priority: (message.header.info >> 16) as u16,
        kind: kind.unwrap_or_default(),
    }
}
