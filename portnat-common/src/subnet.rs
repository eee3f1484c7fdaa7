//! Inside subnets: what userspace tells the datapath about where containers are.

/// A prefix that containers have their addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Subnet {
    /// Index of the bridge that it is behind, or 0 where none is known.
    pub bridge: u32,
    /// Whether what it sends outside is masqueraded: 1 or 0.
    pub masquerade: u32,
}

const _: () = assert!(size_of::<Subnet>() == 8);

impl Subnet {
    /// Whether what it sends outside is masqueraded.
    #[inline(always)]
    #[must_use]
    pub const fn is_masqueraded(&self) -> bool {
        self.masquerade != 0
    }
}
