//! What the system's allocator keeps of freed memory.

/// Gives freed memory back to the system. glibc keeps it in an arena for each thread; of tiles, decoded by many threads and freed by
/// another, that is tens of megabytes which nobody uses. It takes milliseconds: not for the window's thread.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it may be called by any thread at any time, and touches nothing that is in use.
        #[expect(unsafe_code, reason = "a function of the C library that no safe crate offers")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
