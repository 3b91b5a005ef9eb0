//! The energy of this machine's processors, as Linux reports it (RAPL).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of the counters.
const FOLDER: &str = "sys/class/powercap";

/// Counters of energy of all processors and, where it has its own, of memory. A counter is that of all that runs on a
/// processor, idle power included.
#[derive(Debug)]
pub struct Energy {
    counters: Vec<Counter>,
    /// The energy since the counters were found in microjoules.
    sum: u64,
}

/// A counter of microjoules, which begins again after its range.
#[derive(Debug)]
struct Counter {
    file: PathBuf,
    range: u64,
    last: u64,
}

impl Energy {
    /// Finds the counters of this machine.
    ///
    /// # Errors
    /// The reason why there are none, for people.
    pub fn of_machine() -> Result<Self, String> {
        Self::below(Path::new("/"))
    }

    /// Finds the counters below a root folder.
    ///
    /// # Errors
    /// As [`Energy::of_machine`].
    pub fn below(root: &Path) -> Result<Self, String> {
        let folder = root.join(FOLDER);
        let mut counters: Vec<Counter> = Vec::new();
        for zone in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Other folders, such as `intel-rapl-mmio:0`, are further views of the same counters.
            if !zone.file_name().to_string_lossy().starts_with("intel-rapl:") {
                continue;
            }
            let name = fs::read_to_string(zone.path().join("name")).unwrap_or_default();
            if !(name.starts_with("package") || name.trim() == "dram") {
                continue;
            }
            // A zone that cannot be read would be missing in every sum.
            let file = zone.path().join("energy_uj");
            let range = number(&zone.path().join("max_energy_range_uj"))?;
            let last = number(&file)?;
            counters.push(Counter { file, range, last });
        }
        match counters.is_empty() {
            true => Err(format!("no energy counters (RAPL) in /{FOLDER}")),
            false => Ok(Self { counters, sum: 0 }),
        }
    }

    /// Returns the energy in microjoules since the counters were found; `None` if a counter cannot be read. It must be called
    /// at least once in each round of a counter, which takes a minute or more.
    pub fn microjoules(&mut self) -> Option<u64> {
        for counter in &mut self.counters {
            let now = number(&counter.file).ok()?;
            let begun_again = if now < counter.last { counter.range } else { 0 };
            self.sum += (now + begun_again).saturating_sub(counter.last);
            counter.last = now;
        }
        Some(self.sum)
    }

    /// Returns the energy in joules; see [`Energy::microjoules`].
    pub fn joules(&mut self) -> Option<f64> {
        self.microjoules().map(|energy| energy as f64 / 1e6)
    }
}

/// Reads a whole number.
fn number(file: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(file).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => format!("{}: only the administrator can read it", file.display()),
        _ => format!("{}: {error}", file.display()),
    })?;
    text.trim().parse().map_err(|_| format!("{}: found {:?}, expected a whole number", file.display(), text.trim()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Writes a zone as Linux lays it out.
    fn zone(root: &Path, zone: &str, name: &str, energy: &str) {
        let zone = root.join(FOLDER).join(zone);
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "1000000000\n").unwrap();
        fs::write(zone.join("energy_uj"), energy).unwrap();
    }

    #[test]
    fn energy_is_summed_over_zones_and_survives_a_counter_that_begins_again() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "999000000");
        zone(root.path(), "intel-rapl:0:0", "dram", "0");
        zone(root.path(), "intel-rapl:0:1", "core", "5");
        zone(root.path(), "intel-rapl-mmio:0", "package-0", "5");
        let mut energy = Energy::below(root.path()).unwrap();
        assert_eq!(energy.joules(), Some(0.0));
        zone(root.path(), "intel-rapl:0", "package-0", "1000000");
        zone(root.path(), "intel-rapl:0:0", "dram", "4000000");
        assert_eq!(energy.joules(), Some(6.0));
        fs::remove_file(root.path().join(FOLDER).join("intel-rapl:0/energy_uj")).unwrap();
        assert_eq!(energy.joules(), None, "a counter that went away");
    }

    #[test]
    fn the_reason_is_told_where_there_is_no_energy() {
        let root = tempfile::tempdir().unwrap();
        assert!(Energy::below(root.path()).unwrap_err().contains("no energy counters"));
        zone(root.path(), "intel-rapl:0", "package-0", "7 J");
        assert!(Energy::below(root.path()).unwrap_err().contains("found \"7 J\", expected a whole number"));
    }
}
