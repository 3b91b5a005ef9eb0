//! The memory of this process.

/// Returns the peak resident memory of this process in bytes, including mapped files; `None` on platforms other than Linux.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    line_bytes("/proc/self/status", "VmHWM:")
}

/// Returns the resident memory of this process in bytes, including mapped files; `None` on platforms other than Linux.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    line_bytes("/proc/self/status", "VmRSS:")
}

/// Returns the main memory in bytes that programs can still take; `None` on platforms other than Linux.
pub(crate) fn available_bytes() -> Option<u64> {
    line_bytes("/proc/meminfo", "MemAvailable:")
}

/// Returns the value of a line of one of the system's reports.
fn line_bytes(file: &str, name: &str) -> Option<u64> {
    let report = std::fs::read_to_string(file).ok()?;
    let line = report.lines().find_map(|l| l.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The peak resident memory of this process without that of probes.
#[derive(Debug, Default)]
pub struct PeakMemory {
    most: Option<u64>,
    /// `true` if the system's peak includes a probe.
    has_probe: bool,
}

impl PeakMemory {
    /// Returns the peak so far in bytes; `None` on platforms other than Linux.
    pub fn bytes(&mut self) -> Option<u64> {
        // Where the system's peak cannot be reset, the memory of the moment has to do.
        let now = if self.has_probe { memory_bytes() } else { peak_memory_bytes() };
        self.most = self.most.max(now);
        self.most
    }

    /// Runs a probe whose memory is not counted.
    pub fn without<T>(&mut self, probe: impl FnOnce() -> T) -> T {
        self.bytes();
        let found = probe();
        // Resets the peak to the current memory (proc_pid_clear_refs(5)).
        self.has_probe = std::fs::write("/proc/self/clear_refs", "5").is_err();
        found
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_grows_with_used_memory_but_not_with_probes() {
        let use_memory = |bytes: usize| {
            std::hint::black_box(&vec![1u8; bytes]);
        };
        let mut memory = PeakMemory::default();
        let before = memory.bytes().expect("known on Linux");
        memory.without(|| use_memory(512 << 20));
        assert!(memory.bytes().expect("known") < before + (256 << 20));
        use_memory(64 << 20);
        let after = peak_memory_bytes().expect("known on Linux");
        assert!(after >= 64 << 20);
    }
}
