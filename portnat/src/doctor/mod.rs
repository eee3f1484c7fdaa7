//! `portnat doctor`: what of this host keeps published ports from working, what that means, and what
//! mends it.
//!
//! [`Facts`] are gathered once, from the kernel, the firewall's tools and the daemon; [`diagnose`] judges
//! them and asks nobody, so that every judgement is tested on facts that are made up. [`mend`] does what
//! a [`Finding`] says that can be done safely.

mod checks;
mod facts;
mod finding;
mod fix;
mod rules;

pub use checks::diagnose;
pub use facts::{Facts, Where};
pub use finding::{Diagnosis, Finding, Mended, Severity};
pub use fix::{Fix, mend};
