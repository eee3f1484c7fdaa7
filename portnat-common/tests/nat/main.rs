//! The NAT over plain memory: named packets one by one, and what holds for any.

mod errors;
mod fixtures;
mod properties;
mod support;
