//! What becomes of a packet.

use core::fmt;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours: not a byte was touched, the next program and the stack see it as it came.
    Pass,
    /// Rewritten; the next program and the stack see the translated packet.
    Translated,
    /// Rewritten at both ends, and to go past the stack by the interface that its carrier was told
    /// ([`crate::Packet::redirect`]).
    Redirect,
    /// Rewritten, and to go past the stack to who is behind the interface that its carrier was told.
    Deliver,
    /// To go past the stack by the interface that its carrier was told, where it is translated.
    Send,
    /// A fragment that waits for its datagram's first: it has been copied, and the copy will come.
    Held,
    /// Of a flow between an IPv6 client and an IPv4 target, counted and not rewritten yet: that is
    /// [`crate::nat::convert_v6`]'s and [`crate::nat::convert_v4`]'s.
    Convert,
    /// Must not go on. The packet may be altered by half and is never seen by anybody.
    Drop(DropReason),
}

// An eBPF function returns one register, all of which is defined: the compiler would take whatever is
// there for what a verdict lacks, also a pointer, which the verifier does not forgive.
const _: () = assert!(size_of::<Option<Verdict>>() == 4);

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a packet was dropped; also the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The reason's name in logs and metrics.
            #[inline(always)]
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }
        }
    };
}

drop_reasons! {
    /// The flow table is full: new flows are refused, none is evicted (RFC 6888 REQ-11).
    FlowTableFull = 0, "flow-table-full";
    /// No free source port towards this remote endpoint after all probes.
    PortsExhausted = 1, "ports-exhausted";
    /// A masqueraded subnet's packet leaves by an interface that has no address to lend.
    NoEgressAddress = 2, "no-egress-address";
    /// A fragment whose datagram's first was dropped or told no ports, or that could not wait for it
    /// (too many do, or it is too long).
    Fragment = 3, "fragment";
    /// A protocol that cannot be translated, from a masqueraded subnet: its source must not leak.
    UnsupportedProtocol = 4, "unsupported-protocol";
    /// An answer (TCP reset or SYN-ACK, SCTP INIT ACK or ABORT, echo reply) from a masqueraded subnet
    /// that belongs to no flow; it opens none, and its source must not leak.
    NoFlow = 5, "no-flow";
    /// The kernel could not give us the packet's headers to write to.
    Unwritable = 6, "unwritable";
    /// Headers that lie about their lengths, from a masqueraded subnet.
    Malformed = 7, "malformed";
    /// An outsider asked for a masqueraded container by the container's own address.
    DirectAccess = 8, "direct-access";
    /// An earlier flow with the same tuple is just ending; the sender tries again.
    FlowEnding = 9, "flow-ending";
    /// The host's own advice to a container to go to a published port's target directly.
    Redirect = 10, "redirect";
    /// It came in by an uplink and asks for a published port with the address of a container.
    InsideSource = 11, "inside-source";
    /// A container has as many flows as one may have (RFC 6888 REQ-4).
    ContainerLimit = 12, "container-limit";
    /// A packet that cannot become one of the other address family: it has extension headers or
    /// options, or the kernel does not convert it.
    Untranslatable = 13, "untranslatable";
    /// An IPv6 client's or its IPv4 target's packet whose hops are used up.
    HopLimit = 14, "hop-limit";
    /// UDP without a checksum, which IPv6 must have (RFC 7915 section 4.5).
    NoChecksum = 15, "no-checksum";
    /// It does not fit in the link that it is redirected to; its sender is told what does.
    TooBig = 16, "too-big";
    /// Who asks for a published port is on its deny list, or not on its allow list.
    Denied = 17, "denied";
    /// Who asks for a published port has opened as many flows as a source may for now.
    Limited = 18, "limited";
    /// A container asked for one of another bridge by that one's own address; or somebody wanted to get out of
    /// an internal network, or into one.
    Isolated = 19, "isolated";
    /// It came in from elsewhere and asks for a published port at one of the host's loopback addresses.
    Loopback = 20, "loopback";
    /// It has several tags of VLAN 0, which would hide from us what the host makes of it.
    Disguised = 21, "disguised";
}

impl DropReason {
    /// Whether a container's packet was dropped for want of room for its flow: it is told (RFC 5508
    /// REQ-8).
    #[inline(always)]
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            DropReason::FlowTableFull | DropReason::PortsExhausted | DropReason::ContainerLimit
        )
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_index_of_its_counter() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{reason}");
        }
    }
}
