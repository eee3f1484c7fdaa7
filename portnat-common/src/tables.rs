//! What the NAT asks of the world: tables, a clock and dice.

use crate::address::{Ip4, role};
use crate::admission::Admissions;
use crate::family::Family;
use crate::flow::{Flow, FlowRecord};
use crate::fragment::Fragments;
use crate::mapping::{Endpoint, MappingKey, Owner, OwnerRecord};
use crate::published::{Published, PublishedKey};
use crate::settings::{Settings, Ticks};
use crate::subnet::Subnet;
use crate::tuple::Tuple;

/// By which kind of interface packets come to the host's stack.
pub mod gate {
    /// An uplink: they are outsiders'.
    pub const UPLINK: u32 = 1;
    /// A bridge, or what stands in for one: they are containers'.
    pub const BRIDGE: u32 = 2;
}

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is one with this key.
    Exists,
    /// There is no room.
    Full,
}

/// Which table a flow is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Flows that somebody inside has opened, and those that both ends have confirmed. Nothing
    /// is evicted from it.
    Confirmed,
    /// Flows that an outsider has opened and not confirmed. When it is full the oldest go.
    HalfOpen,
}

/// A flow in the queue in which flows are examined: who it is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Queued<A> {
    /// [`Flow::opened`]. Another under the same key is another flow.
    pub opened: Ticks,
    /// The key of its original direction.
    pub original: Tuple<A>,
}

/// The tables of one address family, the clock and the dice.
pub trait Tables<F: Family>: Fragments + Admissions<F> {
    /// The settings; `None` only before userspace has written them.
    fn settings(&self) -> Option<&Settings>;

    /// The flow entry under `key`.
    fn flow(&self, table: Table, key: &Tuple<F::Address>) -> Option<&Flow>;

    /// Inserts an entry under a key that has none: this is how ports are reserved.
    ///
    /// # Errors
    /// Nothing is changed if there is such an entry, or no room.
    fn insert_flow(
        &self,
        table: Table,
        key: &Tuple<F::Address>,
        flow: &FlowRecord,
    ) -> Result<(), Refusal>;

    /// Removes the entry under `key`, if there is one.
    fn remove_flow(&self, table: Table, key: &Tuple<F::Address>);

    /// When there was last no room for a flow that its opener had confirmed; the beginning of time if
    /// never.
    fn full_since(&self) -> Ticks;

    /// There is no room for one now.
    fn set_full(&self, now: Ticks);

    /// Takes the right to remove or revive the confirmed flow of this identity. `false` if somebody
    /// has it. Between a claim and its release nothing may be waited for.
    fn claim(&self, identity: u64) -> bool;

    /// Gives that right back.
    fn release(&self, identity: u64);

    /// Puts a confirmed flow at the end of the queue in which flows are examined.
    fn queue(&self, entry: &Queued<F::Address>);

    /// Takes the first of that queue.
    fn next_queued(&self) -> Option<Queued<F::Address>>;

    /// How many confirmed flows of this container are counted; `None` where there is no room to
    /// count more containers.
    fn flows_of(&self, container: &F::Address) -> Option<u64>;

    /// Counts one more flow of a container of which [`Tables::flows_of`] has told the number, or one
    /// less.
    fn count_flow(&self, container: &F::Address, change: i64);

    /// The port outside that a socket was given; the port's owner says whether it still has it.
    fn mapping(&self, key: &MappingKey<F::Address>) -> Option<u16>;

    /// Gives a socket a port outside, in place of an earlier one.
    fn set_mapping(&self, key: &MappingKey<F::Address>, port: u16);

    /// Who has a port outside for itself.
    fn owner(&self, outside: &Endpoint<F::Address>) -> Option<&Owner>;

    /// Gives a port to somebody.
    ///
    /// # Errors
    /// Nothing is changed if it has an owner, or there is no room.
    fn insert_owner(
        &self,
        outside: &Endpoint<F::Address>,
        owner: &OwnerRecord,
    ) -> Result<(), Refusal>;

    /// Takes a port from whoever has it.
    fn remove_owner(&self, outside: &Endpoint<F::Address>);

    /// Adds to what has come through a published port: numbers of packets and bytes, wrapping.
    fn add_to_total(&self, port_id: u32, inbound: bool, packets: u64, bytes: u64);

    /// The port that is published by itself under `key`.
    fn published(&self, key: &PublishedKey<F::Address>) -> Option<&Published>;

    /// The range that the port under `key` is published in. Costs more than [`Tables::published`].
    fn published_range(&self, key: &PublishedKey<F::Address>) -> Option<&Published>;

    /// The published port that leads to a target, the first of several, one by itself before a
    /// range: `key` is the target's address and port, and what comes back has the host's as its
    /// target.
    fn published_back(&self, key: &PublishedKey<F::Address>) -> Option<&Published>;

    /// Whether a socket of the host would take a packet with this tuple, or a flow that
    /// [`Tables::is_across`] knows.
    fn is_in_use(&self, tuple: &Tuple<F::Address>) -> bool;

    /// Whether a packet with this tuple belongs to a flow in the other family's tables. One with
    /// IPv4 addresses may be the answer from the target of an IPv6 client.
    fn is_across(&self, tuple: &Tuple<F::Address>) -> bool;

    /// The bridge that an IPv4 target is behind, and the bridge's IPv4 address.
    fn bridge_v4(&self, target: Ip4) -> Option<(u32, Ip4)>;

    /// Whether this port is published on any address; costs no hash look-up.
    fn port_is_published(&self, protocol: u8, port: u16) -> bool;

    /// Whether masquerade must not lend this port: it is published, or reserved by the
    /// administrator.
    fn port_is_withheld(&self, protocol: u8, port: u16) -> bool;

    /// The interface that the packet came in by, in the namespace and at the device where it was last
    /// received; 0 if the host made it itself.
    fn came_in(&self) -> u32;

    /// Whether the packet has a VLAN tag, as a mere priority.
    fn is_tagged(&self) -> bool;

    /// Numbers the packet by the bridge's port that it comes in by ([`crate::way::port_number`]), for
    /// where it comes out of the stack.
    fn number(&self, port: u32);

    /// That number; 0 if it has none.
    fn numbered(&self) -> u32;

    /// Whether the packet's link header names this host: a promiscuous interface shows others' too.
    fn is_for_us(&self) -> bool;

    /// Until when the interface with this index takes frames of which the host has made no packets
    /// (XDP); 0 if it never did.
    fn takes_frames_until(&self, interface: u32) -> Ticks;

    /// Counts a port that was lent, by how many of the pool were tried for it.
    fn count_probes(&self, probes: u32);

    /// What `address` is to us, see [`role`].
    fn roles(&self, address: &F::Address) -> u32;

    /// Whether `address` is one of the host's own.
    #[inline(always)]
    fn is_local(&self, address: &F::Address) -> bool {
        self.roles(address) & role::HOST != 0
    }

    /// Whether packets to `address` can be ours: it is the host's, or ports are published on it.
    #[inline(always)]
    fn is_addressed(&self, address: &F::Address) -> bool {
        self.roles(address) & (role::HOST | role::PUBLISHED) != 0
    }

    /// Whether a published port leads to `address`.
    #[inline(always)]
    fn is_target(&self, address: &F::Address) -> bool {
        self.roles(address) & role::TARGET != 0
    }

    /// The inside subnet that `address` lies in.
    fn subnet(&self, address: &F::Address) -> Option<&Subnet>;

    /// Whether [`Tables::subnet`] may know `address`; costs no look-up.
    #[inline(always)]
    fn may_be_inside(&self, address: &F::Address) -> bool {
        self.subnet(address).is_some()
    }

    /// Whether what containers send to `address` is not masqueraded. Only asked about subnets that say
    /// there are such addresses ([`Subnet::bypasses`]).
    fn is_bypassed(&self, address: &F::Address) -> bool;

    /// Index of the interface of this hook.
    fn interface(&self) -> u32;

    /// Whether packets come to the host's stack by the interface with this index and leave it there: whether
    /// it is an uplink or a bridge, and no bridge's port.
    #[inline(always)]
    fn is_gate(&self, interface: u32) -> bool {
        self.gate(interface).is_some()
    }

    /// What kind of such an interface it is: [`gate::UPLINK`] or [`gate::BRIDGE`].
    fn gate(&self, interface: u32) -> Option<u32>;

    /// The address that masqueraded packets take at the interface with this index; or that one which a
    /// subnet names ([`Subnet::named_address`]).
    fn egress_address(&self, interface: u32) -> Option<F::Address>;

    /// The time.
    fn now(&self) -> Ticks;

    /// A number that nobody can guess (RFC 6056).
    fn random(&self) -> u32;
}
