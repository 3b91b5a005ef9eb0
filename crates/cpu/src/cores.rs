//! The number of threads that a pool has by default.

/// Returns the number of threads that a pool has by default: one per CPU that the process may use, but no more than the
/// machine has fast cores.
///
/// A core is fast if its capacity is at least half of the largest: all but the efficiency cores of a phone. Threads on slower
/// cores would be waited for at the end of every operation. Linux and Android report capacities, macOS the number of its
/// performance cores; elsewhere all cores count as fast.
#[must_use]
pub fn default_threads() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    fast_cores().map_or(usable, |fast| usable.min(fast).max(1))
}

/// Returns the number of fast cores among cores of these capacities; `None` if there are none.
#[cfg(any(target_os = "linux", target_os = "android", test))]
fn count_fast(capacities: &[u32]) -> Option<usize> {
    let largest = *capacities.iter().max()?;
    Some(capacities.iter().filter(|&&capacity| capacity >= largest.div_ceil(2)).count())
}

/// Returns the number of fast cores, if the system tells them apart.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn fast_cores() -> Option<usize> {
    count_fast(&read_capacities(std::path::Path::new("/sys/devices/system/cpu"))?)
}

/// Reads `cpu*/cpu_capacity` below `folder`; `None` unless every core has one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_capacities(folder: &std::path::Path) -> Option<Vec<u32>> {
    let is_core = |name: &str| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok());
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let cores = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_core));
    cores.map(|core| std::fs::read_to_string(core.path().join("cpu_capacity")).ok()?.trim().parse().ok()).collect()
}

/// Returns the number of performance cores.
#[cfg(target_os = "macos")]
fn fast_cores() -> Option<usize> {
    let (mut count, mut size) = (0i32, size_of::<i32>());
    let name = c"hw.perflevel0.physicalcpu";
    // SAFETY: the name ends with a zero, and at most `size` bytes, those of `count`, are written.
    let status =
        unsafe { libc::sysctlbyname(name.as_ptr(), (&raw mut count).cast(), &raw mut size, std::ptr::null_mut(), 0) };
    usize::try_from(count).ok().filter(|&count| status == 0 && count > 0)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn fast_cores() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_efficiency_cores_are_left_out() {
        for (capacities, fast) in [
            (&[1024; 8][..], 8),
            // Cortex-A55 beside A76: 4 and 4.
            (&[414, 414, 414, 414, 1024, 1024, 1024, 1024], 4),
            // One prime core, three or four large ones, and efficiency cores.
            (&[250, 250, 250, 250, 870, 870, 870, 1024], 4),
            (&[325, 325, 325, 828, 828, 828, 828, 1024], 5),
            (&[512, 1024], 2),
            (&[511, 1023], 1),
            (&[0, 0], 2),
        ] {
            assert_eq!(count_fast(capacities), Some(fast), "{capacities:?}");
        }
        assert_eq!(count_fast(&[]), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn capacities_count_only_if_every_core_has_one() {
        let folder = std::env::temp_dir().join(format!("honelm-cores-{}", std::process::id()));
        let write = |core: &str, capacity: &str| {
            std::fs::create_dir_all(folder.join(core)).expect("a folder");
            std::fs::write(folder.join(core).join("cpu_capacity"), capacity).expect("a file");
        };
        write("cpu0", "406\n");
        write("cpu10", "1024\n");
        std::fs::create_dir_all(folder.join("cpufreq")).expect("a folder");
        let mut found = read_capacities(&folder).expect("two capacities");
        found.sort_unstable();
        assert_eq!(found, [406, 1024]);
        std::fs::create_dir_all(folder.join("cpu1")).expect("a folder");
        assert_eq!(read_capacities(&folder), None);
        write("cpu1", "fast");
        assert_eq!(read_capacities(&folder), None);
        std::fs::remove_dir_all(&folder).expect("an empty place");
        assert_eq!(read_capacities(&folder), None);
    }

    #[test]
    fn there_is_a_thread_at_least() {
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        assert!((1..=usable).contains(&default_threads()));
    }
}
