//! What the datapath is told at start: life times and the ports that masquerade may use.

use bytemuck::{Pod, Zeroable};

use crate::ports::PortPool;

/// Time in ticks of the kernel's `jiffies`.
///
/// Jiffies because reading them is one load, and because the kernel floor is below
/// `bpf_ktime_get_coarse_ns` (5.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ticks(pub u64);

impl Ticks {
    /// How much time has passed since `earlier`; zero if `earlier` is ahead of us, as another
    /// CPU's clock can be by a tick.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Ticks) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }
}

/// How long a flow lives without a packet, by its state, in ticks; in the order of the numbers of
/// [`crate::conntrack::State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Lifetimes {
    /// TCP before both sides have acknowledged.
    pub tcp_opening: Ticks,
    /// TCP established (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: Ticks,
    /// TCP after a FIN or RST (RFC 5382 REQ-5, RFC 7857 section 2: at least 4 min).
    pub tcp_closing: Ticks,
    /// SCTP before both sides were heard beyond INIT and INIT ACK.
    pub sctp_opening: Ticks,
    /// SCTP with an association. No RFC says how long; as TCP.
    pub sctp_established: Ticks,
    /// SCTP after an ABORT or SHUTDOWN COMPLETE.
    pub sctp_closing: Ticks,
    /// UDP without an answer (RFC 4787 REQ-5: at least 2 min).
    pub udp_unanswered: Ticks,
    /// UDP once answered (RFC 4787 REQ-5: 5 min recommended).
    pub udp_answered: Ticks,
    /// UDP to a published port, until the client speaks again after an answer. The port stays
    /// published without it, so REQ-5 does not ask for more.
    pub udp_half_open: Ticks,
    /// ICMP queries (RFC 5508 REQ-2: at least 60 s).
    pub icmp: Ticks,
}

impl Lifetimes {
    /// The life times that the RFCs ask for, with `hz` ticks a second.
    #[must_use]
    pub const fn standard(hz: u64) -> Self {
        Lifetimes {
            tcp_opening: Ticks(60 * hz),
            tcp_established: Ticks(8000 * hz),
            tcp_closing: Ticks(240 * hz),
            sctp_opening: Ticks(60 * hz),
            sctp_established: Ticks(8000 * hz),
            sctp_closing: Ticks(60 * hz),
            udp_unanswered: Ticks(120 * hz),
            udp_answered: Ticks(300 * hz),
            udp_half_open: Ticks(30 * hz),
            icmp: Ticks(60 * hz),
        }
    }
}

/// The datapath's settings: the one entry of their map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Ticks a second (the kernel's `CONFIG_HZ`).
    pub hz: Ticks,
    /// How long flows live.
    pub lifetimes: Lifetimes,
    /// The source ports that masquerade chooses from.
    pub pool: PortPool,
    /// What the checksum helper wants to be told about IPv6: `BPF_F_IPV6`, or 0 on kernels that do
    /// not know it (before 6.16, commit ead7f9b8de65, and its backports).
    pub ipv6_checksum_flag: u32,
    /// How many flows to the outside each container may have at once.
    pub flows_per_container: u64,
    /// Whether a container's UDP socket has one port outside for all remote ends (RFC 4787 REQ-1): 1
    /// or 0.
    pub udp_mapping: u32,
    /// Whether packets of established flows go past the stack: 1 or 0.
    pub fast: u32,
    /// What the bits of [`Settings::mark_mask`] are made in the mark of packets that are translated
    /// where they come in.
    pub mark: u32,
    /// Those bits.
    pub mark_mask: u32,
}

/// How many flows of each family a run of the program `sweep_flows` examines.
pub const SWEPT_AT_ONCE: u32 = 16;

/// `BPF_F_IPV6`, which aya's bindings do not have yet.
pub const IPV6_CHECKSUM_FLAG: u32 = 1 << 7;

const _: () = assert!(size_of::<Settings>() == 120);

impl Settings {
    /// Standard life times, no limit for a container, and the ports outside `local_ports`, the host's
    /// `net.ipv4.ip_local_port_range`.
    #[must_use]
    pub const fn new(hz: u64, local_ports: (u16, u16)) -> Self {
        Settings {
            hz: Ticks(hz),
            lifetimes: Lifetimes::standard(hz),
            pool: PortPool::outside(local_ports),
            ipv6_checksum_flag: 0,
            flows_per_container: u64::MAX,
            udp_mapping: 1,
            fast: 0,
            mark: 0,
            mark_mask: 0,
        }
    }
}
