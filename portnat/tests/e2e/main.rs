//! portnat as a whole: the real binary, in the host of a lab, between a client and containers.
//!
//! Each test has a lab of its own and touches nothing of the machine's network, so all of them run
//! in parallel. They need root, br_netfilter, `nft` and `tcpdump`, and a kernel that has all of which
//! portnat makes use (6.17); `cargo xtask vm` runs some of them on older ones.
//!
//! - [`matrix`]: what must work whatever else the host does, once for each combination.
//! - [`addresses`], [`uplinks`], [`tun`]: what the host looks like, and how that changes.
//! - [`masquerade`], [`bypass`], [`traffic`]: what passes and what does not, and as whom. [`refusal`]: who is told of it.
//! - [`ranges`]: many ports at once, and ports of both families.
//! - [`mapping`]: from which port a container's UDP socket is seen.
//! - [`localhost`]: ports for the host itself. [`ipv6`]: the other family. [`ipv6_to_ipv4`]: from one
//!   to the other.
//! - [`fast_path`], [`xdp`]: established flows go past the host's stack.
//! - [`sctp`]: a protocol that is spoken by hand. [`sctp_sockets`]: by kernels that can.
//! - [`reserve`]: whose a port is, told by [`tenant`]s of the host.
//! - [`icmp`]: errors about what was translated. [`flood`]: from addresses that nobody has.
//! - [`flows`]: flows are told and ended. [`control`]: the socket by which that is asked for.
//! - [`publish`]: ports are published and unpublished meanwhile. [`reload`]: the config
//!   file, and that it is read anew.
//! - [`fragments`]: datagrams in fragments, of which some do not come.
//! - [`lifecycle`]: what is left behind, which is nothing. [`survival`]: unless it is to go on. [`demo`]: the same of the demo.
//! - [`service`]: what a service manager hears. [`privileges`]: what the daemon may do.
//! - [`admission`]: who may come in. [`networks`]: who reaches containers by their own addresses.
//! - [`doctor`]: what keeps ports from working is found and told.
//! - [`docker`]: a real Docker's containers are served. [`beside_docker`]: Docker's own rules go on. [`bad_input`]: what is refused, and in which words.
//!
//! Underneath, [`daemon`] runs the binary, [`picture`] compares a namespace before and after,
//! [`firewall`] is what else a host may have,
//! [`pieces`] cuts datagrams, and [`support`] has what everybody needs.

mod addresses;
mod admission;
mod bad_input;
mod beside_docker;
mod bypass;
mod compose;
mod control;
mod daemon;
mod demo;
mod docker;
mod doctor;
mod fast_path;
mod firewall;
mod flood;
mod flows;
mod fragments;
mod icmp;
mod ipv6;
mod ipv6_to_ipv4;
mod lifecycle;
mod localhost;
mod mapping;
mod masquerade;
mod matrix;
mod networks;
mod patience;
mod picture;
mod pieces;
mod privileges;
mod publish;
mod ranges;
mod refusal;
mod reload;
mod reserve;
mod sctp;
mod sctp_sockets;
mod service;
mod support;
mod survival;
mod tags;
mod tenant;
mod traffic;
mod tun;
mod uplinks;
mod xdp;

#[path = "../../../portnat-common/tests/nat/support/packet.rs"]
#[expect(dead_code, reason = "some of it only the tests of the NAT need")]
mod packet;
