//! The datapath as userspace holds it: the only room that knows aya.
//!
//! [`Datapath::load`] brings programs and maps into the kernel, [`Datapath::apply`] makes tables
//! and attachments what the model wants, [`Datapath::flows`] and [`Datapath::drops`] read what the
//! programs have counted; a [`FlowReader`] reads flows from another thread. Dropping it detaches
//! everything.

mod admission;
mod attach;
mod error;
mod flows;
mod load;
mod messages;
mod pod;
mod reader;
mod tables;

pub use attach::{AttachMode, Hook};
pub use error::DatapathError;
pub use flows::{FlowTable, Flows, PortTotals, add_living};
pub use load::{Datapath, LoadOptions, UdpMapping};
pub use reader::FlowReader;
pub use tables::Attached;
