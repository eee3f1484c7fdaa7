//! Flows as one thing each, as pure functions: the two directions joined, what of it is told, and
//! which ones somebody means.

mod filter;
mod joined;
mod listed;
mod transport;

pub use filter::{EndFilter, FilterError, FlowFilter, PortFilter};
pub use joined::{Half, JoinedFlow, Traffic};
pub use listed::{Ends, FlowList, ListedFlow};
pub use transport::{Transport, TransportError};
