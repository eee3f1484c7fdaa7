//! Where one peer is measured: a lab of its own, the same for all.
//!
//! Not one host for all, one after the other: what iptables-legacy has once hooked into a namespace
//! stays there until its end, and all after it would pay for it.

use std::net::Ipv4Addr;
use std::process::Child;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net};
use nix::libc;
use portnat::lab::{Container, Lab, Namespace, probe};

use crate::daemon::Daemon;
use crate::peers::{self, Peer};
use crate::plan::End;

/// The published port, of TCP and of UDP alike, and the container's.
pub(crate) const PUBLISHED: u16 = 8080;
pub(crate) const INSIDE: u16 = 80;

/// Clients behind the client, and what containers ask for (RFC 5737, for documentation).
pub(crate) const CLIENTS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24);

/// A container's interface in a lab.
pub(crate) const CONTAINER_LINK: &str = "eth0";

/// A lab with a peer at work in its host.
pub(crate) struct Ground {
    pub(crate) peer: Peer,
    pub(crate) lab: Lab,
    /// portnat.
    pub(crate) daemon: Option<Daemon>,
    /// Docker's proxies.
    pub(crate) processes: Vec<Child>,
}

/// What a peer has to be ready for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// How many flows at once; 0 leaves the limits as they are by default.
    pub(crate) flows: u32,
}

impl Ground {
    pub(crate) fn new(peer: Peer, needs: Needs) -> Result<Self> {
        let lab = Lab::builder().client_routes_via_host(true).build()?;
        let clients = IpNet::from(CLIENTS);
        lab.host.links().add_route(clients, Lab::CLIENT.into())?;
        // By the way of XDP, frames reach a veth's other end only where that has NAPI.
        for (namespace, link) in [
            (&lab.client, Lab::UPLINK),
            (&lab.host, Lab::UPLINK),
            (&lab.host, lab.containers[0].port.as_str()),
            (&lab.containers[0].namespace, CONTAINER_LINK),
        ] {
            set_gro(namespace, link)?;
        }
        let mut ground = Self {
            peer,
            lab,
            daemon: None,
            processes: Vec::new(),
        };
        peers::set_up(&mut ground, needs)?;
        // Neighbours are known before anybody counts.
        let (inside, client) = (&ground.container().namespace, &ground.lab.client);
        probe::ping(inside, Lab::CLIENT, 1, 1)
            .context("the container does not reach the client")?;
        probe::ping(client, Lab::HOST, 1, 1).context("the client does not reach the host")?;
        Ok(ground)
    }

    pub(crate) fn container(&self) -> &Container {
        &self.lab.containers[0]
    }

    /// Whom clients ask.
    pub(crate) fn service(&self) -> (Ipv4Addr, u16) {
        if self.peer.translates() {
            (Lab::HOST, PUBLISHED)
        } else {
            (self.container().address, INSIDE)
        }
    }

    /// Whom remote ends see when the container asks them.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        if self.peer.translates() {
            Lab::HOST
        } else {
            self.container().address
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Neither fails but on one that has ended and was waited for.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The first of the clients behind the client, and how the next ones differ.
pub(crate) fn clients(port: u16, address_step: u32, port_step: u32) -> End {
    End {
        address: u32::from(CLIENTS.network()) + 1,
        port: port.into(),
        address_step,
        port_step,
    }
}

/// Switches generic receive offload on, and with it a veth's NAPI.
fn set_gro(namespace: &Namespace, link: &str) -> Result<()> {
    /// `struct ethtool_value` of linux/ethtool.h.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    /// `ETHTOOL_SGRO`.
    const SET_GRO: u32 = 0x2c;
    let mut value = Value {
        command: SET_GRO,
        data: 1,
    };
    // SAFETY: all of it may be 0.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(link.as_bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = namespace.run(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    // SAFETY: the request is what SIOCETHTOOL takes, and outlives the call, as what it points to.
    let done = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCETHTOOL,
            &raw mut request,
        )
    };
    nix::errno::Errno::result(done)?;
    Ok(())
}
