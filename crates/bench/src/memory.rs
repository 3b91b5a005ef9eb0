/// The largest resident memory that this process ever had, in bytes, mapped files included; `None` where the
/// platform does not say (anything but Linux for now): never 0 in place of a figure.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn grows_with_what_is_touched() {
        let before = super::peak_memory_bytes().expect("Linux says");
        let block = vec![1u8; 64 << 20];
        std::hint::black_box(&block);
        let after = super::peak_memory_bytes().expect("Linux says");
        assert!(after >= 64 << 20 && after >= before);
    }
}
