//! What becomes of a packet.

use core::fmt;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours: not a byte was touched, the next program and the stack see it as it came.
    Pass,
    /// Rewritten; the next program and the stack see the translated packet.
    Translated,
    /// Rewritten at both ends, and to go by the interface with this index, past the stack.
    Redirect(u32),
    /// Of a flow between an IPv6 client and an IPv4 target, counted and not rewritten yet: that is
    /// [`crate::nat::convert_v6`]'s and [`crate::nat::convert_v4`]'s.
    Convert,
    /// Must not go on. The packet may be altered by half and is never seen by anybody.
    Drop(DropReason),
}

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
    /// A fragment of what would be translated; its parts cannot be told apart yet.
    Fragment = 3, "fragment";
    /// A protocol that cannot be translated, from a masqueraded subnet: its source must not leak.
    UnsupportedProtocol = 4, "unsupported-protocol";
    /// An answer (TCP reset or SYN-ACK, SCTP INIT ACK or ABORT, echo reply) from a masqueraded subnet that belongs to no
    /// flow; it opens none, and its source must not leak.
    NoFlow = 5, "no-flow";
    /// The kernel could not give us the packet's headers to write to.
    Unwritable = 6, "unwritable";
    /// Headers that lie about their lengths, from a masqueraded subnet.
    Malformed = 7, "malformed";
    /// An outsider asked for a masqueraded container by the container's own address.
    DirectAccess = 8, "direct-access";
    /// An earlier flow with the same tuple is just ending; the sender tries again.
    FlowEnding = 9, "flow-ending";
    /// A packet that cannot become one of the other address family: it has extension headers or
    /// options, or the kernel does not convert it.
    Untranslatable = 10, "untranslatable";
    /// An IPv6 client's or its IPv4 target's packet whose hops are used up.
    HopLimit = 11, "hop-limit";
    /// UDP without a checksum, which IPv6 must have (RFC 7915 section 4.5).
    NoChecksum = 12, "no-checksum";
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
