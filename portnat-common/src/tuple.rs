//! The key of a flow's direction.

/// The hook at which a tuple is seen. The same addresses and ports can mean two things: a
/// container's packet to another container is untouched at ingress, and at egress it may be the
/// middle of a translated flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Where packets come in; destinations are rewritten here.
    #[default]
    Ingress = 0,
    /// Where packets go out; sources are rewritten here.
    Egress = 1,
}

impl Side {
    /// Where the answers are seen.
    #[inline(always)]
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Ingress => Side::Egress,
            Side::Egress => Side::Ingress,
        }
    }
}

/// Who talks to whom, as seen at a hook before translation. Laid out without implicit padding:
/// the kernel hashes every byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, or the identifier of an ICMP query.
    pub src_port: u16,
    /// Destination port, or the identifier of the answer to an ICMP query.
    pub dst_port: u16,
    /// Transport protocol number.
    pub protocol: u8,
    /// The hook.
    pub side: Side,
    /// The zone, so that the same addresses can be used twice behind one host; there is one, 0.
    pub zone: u16,
}

const _: () = assert!(size_of::<Tuple<crate::Ip4>>() == 16);
const _: () = assert!(size_of::<Tuple<crate::Ip6>>() == 40);

impl<A: Copy> Tuple<A> {
    /// All but the addresses.
    #[inline(always)]
    #[must_use]
    pub const fn pack(&self) -> u64 {
        self.src_port as u64
            | (self.dst_port as u64) << 16
            | (self.protocol as u64) << 32
            | (self.side as u64) << 40
            | (self.zone as u64) << 48
    }

    /// What [`Tuple::pack`] has packed, with its addresses.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(src: A, dst: A, packed: u64) -> Self {
        Tuple {
            src,
            dst,
            src_port: packed as u16,
            dst_port: (packed >> 16) as u16,
            protocol: (packed >> 32) as u8,
            side: if (packed >> 40) as u8 == Side::Ingress as u8 {
                Side::Ingress
            } else {
                Side::Egress
            },
            zone: (packed >> 48) as u16,
        }
    }

    /// The tuple of the answers, as seen at this same hook.
    #[inline(always)]
    #[must_use]
    pub fn answer(&self) -> Self {
        Tuple {
            side: self.side,
            ..self.reverse()
        }
    }

    /// The tuple of the answers, as seen at the other hook.
    #[inline(always)]
    #[must_use]
    pub fn reverse(&self) -> Self {
        Tuple {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
            side: self.side.other(),
            zone: self.zone,
        }
    }
}
