//! The memory that the allocator holds.

/// Returns freed memory to the system. Without this, the GNU allocator keeps what a large model used, because the memory stands in
/// the heap of a thread that has ended, or between allocations that still live. Does nothing with other allocators.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "a call into the C library")]
    // SAFETY: `malloc_trim` has no preconditions and may run beside other calls of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
