//! What the NAT asks of the world: tables, a clock and dice.

use crate::family::Family;
use crate::flow::Flow;
use crate::published::{Published, PublishedKey};
use crate::settings::{Settings, Ticks};
use crate::subnet::Subnet;
use crate::tuple::Tuple;

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is one with this key.
    Exists,
    /// There is no room.
    Full,
}

/// Room for what is too large for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Scratch {
    /// An entry that is being made.
    Entry = 0,
    /// What becomes of a packet that begins a flow.
    Outcome = 1,
}

impl Scratch {
    /// How many there are.
    pub const COUNT: u32 = 2;
}

/// The tables of one address family, the clock and the dice.
pub trait Tables<F: Family> {
    /// The settings; `None` only before userspace has written them.
    fn settings(&self) -> Option<&Settings>;

    /// The flow entry under `key`.
    fn flow(&self, key: &Tuple<F::Address>) -> Option<&Flow>;

    /// Room for an entry, with anything in it; each to be asked for once a packet. The stack of an
    /// eBPF function has none.
    #[expect(
        clippy::mut_from_ref,
        reason = "each CPU has its own, and each packet asks once"
    )]
    fn scratch(&self, room: Scratch) -> Option<&mut Flow>;

    /// Inserts an entry under a key that has none: this is how ports are reserved.
    ///
    /// # Errors
    /// Nothing is changed if there is such an entry, or no room.
    fn insert_flow(&self, key: &Tuple<F::Address>, flow: &Flow) -> Result<(), Refusal>;

    /// Removes the entry under `key`, if there is one.
    fn remove_flow(&self, key: &Tuple<F::Address>);

    /// The published port under `key`.
    fn published(&self, key: &PublishedKey<F::Address>) -> Option<&Published>;

    /// The published port that leads to a target, if there is just one: `key` is the target's
    /// address and port, and what comes back has the host's as its target.
    fn published_back(&self, key: &PublishedKey<F::Address>) -> Option<&Published>;

    /// Whether a socket of the host would take a packet with this tuple.
    fn is_in_use(&self, tuple: &Tuple<F::Address>) -> bool;

    /// Whether this port is published on any address; costs no hash look-up.
    fn port_is_published(&self, protocol: u8, port: u16) -> bool;

    /// Whether `address` is one of the host's own.
    fn is_local(&self, address: &F::Address) -> bool;

    /// The inside subnet that `address` lies in.
    fn subnet(&self, address: &F::Address) -> Option<&Subnet>;

    /// Index of the interface of this hook.
    fn interface(&self) -> u32;

    /// The address that masqueraded packets take at the interface of this hook.
    fn egress_address(&self) -> Option<F::Address>;

    /// The time.
    fn now(&self) -> Ticks;

    /// A number that nobody can guess (RFC 6056).
    fn random(&self) -> u32;
}
