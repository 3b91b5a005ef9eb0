//! Facts that the platform reports about this machine.

use std::fs;

/// Returns the value of the line `name: value` of a file.
fn line(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// Returns the size of the main memory in bytes, if the platform reports it.
#[must_use]
pub fn machine_memory() -> Option<u64> {
    let kibibytes: u64 = line("/proc/meminfo", "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Returns the CPU's name, if the platform reports it.
pub(crate) fn cpu_name() -> Option<String> {
    line("/proc/cpuinfo", "model name")
}

/// Returns the operating system and the architecture: `Debian GNU/Linux 12 (linux, x86_64)`.
pub(crate) fn operating_system() -> String {
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"'));
    name.map_or_else(|| format!("{os}, {architecture}"), |name| format!("{name} ({os}, {architecture})"))
}
