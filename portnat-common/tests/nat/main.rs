//! The NAT over plain memory: named packets one by one, and what holds for any.

mod accelerate;
mod across;
mod admission;
mod answers;
mod between;
mod bystanders;
mod carrier;
mod errors;
mod fast;
mod fixtures;
mod fragments;
mod hairpin;
mod half_open;
mod interleavings;
mod limits;
mod local;
mod mappings;
mod model;
mod own;
mod ports;
mod properties;
mod races;
mod ranges;
mod sctp;
mod support;
mod v6;
