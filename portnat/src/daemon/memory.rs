//! What starting took is given back.

/// Gives back to the kernel what the allocator keeps for later. Loading programs takes much that is
/// never needed again: the kernel's own types, and each program's instructions before they are its.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: glibc takes its own locks; the call touches nothing that is in use.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
