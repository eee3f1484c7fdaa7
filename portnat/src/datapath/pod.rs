//! Our map types as plain data for aya.

/// A map's key or value. aya wants its own marker trait for both, and `portnat-common`, which
/// defines the types, knows nobody.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: used for the types of `portnat-common`'s map layouts and for integers only. All of them
// are `repr(C)` or `repr(transparent)`, and their sizes are asserted there to be the sums of their
// fields' sizes, so that no byte is uninitialised. Bytes that come from the kernel were written by
// the same types; the one enum among them, `Side`, is only ever written as such.
unsafe impl<T: Copy + 'static> aya::Pod for Plain<T> {}
