//! Docker: what it has, and what of that portnat is to do.
//!
//! [`Client`] asks it, and is the only file that knows how; [`Observed`] is what it answers, and
//! [`Wanted`] what that comes to, as a pure function. [`migrate`] switches a Docker from its own
//! rules to portnat.

mod client;
mod labels;
pub mod migrate;
mod observed;
mod wanted;

pub use client::{Client, ClientError, Event, Moment, Survey};
pub use observed::{Container, Endpoint, Network, Observed, Port};
pub use wanted::{NameError, Named, Wanted};
