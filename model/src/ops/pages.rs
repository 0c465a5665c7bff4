//! Large pages of memory, for what products go through in strides: with small ones the processor looks up where each row
//! lies as often as it reads it.

#![expect(unsafe_code, reason = "the system is told about memory by its address")]

/// Asks for large pages for the memory of a buffer, as far as nothing has been written there yet. Where the system has
/// none, nothing changes but the speed.
pub(super) fn ask_for_large<T>(buffer: &mut Vec<T>) {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        const LARGE: usize = 2 << 20;
        let range = buffer.as_mut_ptr_range();
        let end = range.start as usize + buffer.capacity() * size_of::<T>();
        let start = (range.start as usize).next_multiple_of(LARGE);
        if end >= start + LARGE {
            // SAFETY: the memory belongs to the buffer alone, and its contents stay what they are.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    let _ = buffer;
}
