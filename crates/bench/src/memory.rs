/// Returns the peak resident memory of this process in bytes, including mapped files; `None` on platforms other than Linux.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Returns the resident memory of this process in bytes, including mapped files; `None` on platforms other than Linux.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// Returns the value of a line of the system's report about this process.
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_grows_with_used_memory() {
        let before = super::peak_memory_bytes().expect("known on Linux");
        let block = vec![1u8; 64 << 20];
        std::hint::black_box(&block);
        let after = super::peak_memory_bytes().expect("known on Linux");
        assert!(after >= 64 << 20 && after >= before);
    }
}
