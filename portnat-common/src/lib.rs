//! portnat's NAT: what happens to a packet, as pure functions.
//!
//! This crate knows nobody: no maps, no clock, no helpers, no `unsafe`. It is compiled into the
//! eBPF programs, where [`Packet`] is an skb and [`Tables`] are BPF maps, and into userspace, where
//! both are plain memory. So the code that the kernel runs is the code that the tests run.
//!
//! The way of a packet: [`nat::ingress`] or [`nat::egress`] reads it ([`headers`]), finds or opens
//! its flow ([`flow`], [`conntrack`], [`nat`]) and rewrites it ([`nat`], [`checksum`],
//! [`crc32c`]), or says why
//! it must not go on ([`DropReason`]).
//!
//! Addresses are kept as they lie in the packet (network byte order); ports are numbers (host byte
//! order); time is in ticks of the kernel's jiffies, see [`settings::Ticks`].

#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod admission;
pub mod checksum;
pub mod conntrack;
pub mod crc32c;
pub mod family;
pub mod flow;
pub mod fragment;
pub mod headers;
pub mod icmp_answer;
pub mod mapping;
pub mod nat;
pub mod packet;
pub mod ports;
pub mod published;
pub mod range;
pub mod reserved;
pub mod settings;
pub mod signals;
pub mod subnet;
pub mod tables;
pub mod translate;
pub mod tuple;
pub mod verdict;
pub mod way;
pub mod wire;

pub use address::{Address, Ip, Ip4, Ip6};
pub use admission::{AdmissionKey, Admissions, Limit, LimitKey};
pub use family::{Family, V4, V6};
pub use flow::{Flow, FlowRecord};
pub use fragment::{Datagram, DatagramKey, DatagramRecord, First, Fragments, WaitingKey};
pub use mapping::{Endpoint, MappingKey, Owner, OwnerRecord};
pub use packet::{Bytes, Convertible, Packet};
pub use published::{Published, PublishedKey, Total};
pub use range::RangeKey;
pub use reserved::ReservedRange;
pub use settings::{Lifetimes, Settings, Ticks};
pub use signals::Signals;
pub use subnet::Subnet;
pub use tables::{Queued, Refusal, Table, Tables};
pub use tuple::{Side, Tuple};
pub use verdict::{DropReason, Verdict};
