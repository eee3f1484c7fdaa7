//! The datapath as userspace holds it: the only room that knows aya.
//!
//! [`Datapath::load`] brings programs and maps into the kernel, [`Datapath::apply`] makes tables
//! and attachments what the model wants, [`Datapath::flows`] and [`Datapath::drops`] read what the
//! programs have counted; a [`FlowReader`] reads flows from another thread. Dropping it detaches
//! everything.
//!
//! With [`Keep`] maps, links and programs are pinned below [`Pins`], so that they outlive the process
//! and the next one goes on with them, see [`Datapath::take_over`].

mod admission;
mod attach;
mod bind_hook;
mod error;
mod fill;
mod flows;
mod hooks;
mod keep;
mod left;
mod load;
mod messages;
mod migrate;
mod pins;
mod pod;
mod reader;
mod rest;
mod run;
mod tables;
mod xdp;

pub use attach::{AttachMode, Hook};
pub use bind_hook::BindHook;
pub use error::DatapathError;
pub use flows::{FlowTable, Flows, PortTotals, add_living};
pub use hooks::{FILTER_PRIORITY, is_ours, programs_at};
pub use keep::{Adopted, Keep, Leftovers};
pub use left::LeftPort;
pub use load::{Datapath, LoadOptions, UdpMapping};
pub use pins::{LAYOUT, Pins};
pub use reader::FlowReader;
pub use tables::Attached;
pub use xdp::XdpMode;
