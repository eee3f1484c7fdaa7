//! A real Docker, in the host of a lab, whose containers portnat serves instead of iptables and its proxy.
//!
//! [`ground`] runs it. `cargo xtask test e2e` unpacks two of them from Debian's packages and tells where
//! they are; a test whose Docker is not there says so and passes.
//!
//! - [`serving`]: what Docker publishes is published, and its networks are as it says.
//! - [`access`]: by which addresses, and for whom.
//! - [`experiment`]: who reaches what, beside what Docker itself makes of it.
//! - [`migrate`]: from Docker's own rules to portnat, and back.
//! - [`names`]: containers that are told by their names.
//! - [`between`]: from one network to another.
//! - [`internal`]: networks that lead nowhere.
//! - [`restarts`]: of containers, of Docker and of portnat; [`orders`]: in every order.

mod access;
mod between;
mod experiment;
mod ground;
mod internal;
mod migrate;
mod names;
mod orders;
mod restarts;
mod serving;
