//! The NAT over plain memory: named packets one by one, and what holds for any.

mod across;
mod errors;
mod fixtures;
mod hairpin;
mod half_open;
mod interleavings;
mod local;
mod properties;
mod races;
mod sctp;
mod support;
mod v6;
