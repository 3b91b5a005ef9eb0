//! The energy of this machine, as Linux reports it for processors with counters (RAPL).
//!
//! A counter is that of a whole processor: of all that runs on it, idle power included. While several answers are written, its energy
//! is divided equally among them. Where no counter can be read, energy is unknown.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use honelm::bench::Energy;

/// The counters of a machine, and the answers that are being written.
#[derive(Debug)]
pub struct Meter(Mutex<State>);

#[derive(Debug)]
struct State {
    /// `None` where nothing can be read.
    energy: Option<Energy>,
    /// The energy at the last call in microjoules.
    last: u64,
    answers: usize,
    /// The energy that an answer would have used that was there from the start, in microjoules.
    share: f64,
    /// The number of times that the energy could not be read.
    failures: u64,
}

/// The energy of an answer from its begin on.
#[derive(Debug)]
pub struct Reading<'a> {
    meter: &'a Meter,
    /// The share and the number of failures at the begin; `None` where nothing can be read, and once it ended.
    begin: Option<(f64, u64)>,
}

/// Begins to read the energy of an answer of this machine.
#[must_use]
pub fn begin() -> Reading<'static> {
    static METER: OnceLock<Meter> = OnceLock::new();
    METER.get_or_init(|| Meter::below(Path::new("/"))).begin()
}

impl Meter {
    /// Finds the counters of processors and of their memory below a root folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let energy = Energy::below(root).ok();
        Self(Mutex::new(State { energy, last: 0, answers: 0, share: 0.0, failures: 0 }))
    }

    /// Begins to read the energy of an answer.
    #[must_use]
    pub fn begin(&self) -> Reading<'_> {
        let mut state = self.state();
        let begin = state.energy.is_some().then(|| {
            state.advance();
            state.answers += 1;
            (state.share, state.failures)
        });
        drop(state);
        Reading { meter: self, begin }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Divides the energy since the last call among the answers.
    fn advance(&mut self) {
        let Some(now) = self.energy.as_mut().and_then(Energy::microjoules) else {
            self.failures += 1;
            return;
        };
        if self.answers > 0 {
            self.share += (now - self.last) as f64 / self.answers as f64;
        }
        self.last = now;
    }
}

impl Reading<'_> {
    /// Returns the energy since the begin in joules; `None` where it cannot be read.
    #[must_use]
    pub fn joules(mut self) -> Option<f64> {
        self.end()
    }

    fn end(&mut self) -> Option<f64> {
        let (share, failures) = self.begin.take()?;
        let mut state = self.meter.state();
        state.advance();
        state.answers -= 1;
        (state.failures == failures).then(|| (state.share - share) / 1e6)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    const FOLDER: &str = "sys/class/powercap";

    /// Writes a zone as Linux lays it out.
    fn zone(folder: &Path, zone: &str, name: &str, energy: &str) {
        let zone = folder.join(FOLDER).join(zone);
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "1000000000\n").unwrap();
        fs::write(zone.join("energy_uj"), energy).unwrap();
    }

    #[test]
    fn energy_is_divided_among_answers_and_survives_a_counter_that_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let set = |energy: &str| zone(folder.path(), "intel-rapl:0", "package-0", energy);
        set("999000000");
        zone(folder.path(), "intel-rapl:0:0", "dram", "0");
        zone(folder.path(), "intel-rapl:0:1", "core", "5");
        zone(folder.path(), "intel-rapl-mmio:0", "package-0", "5");
        let meter = Meter::below(folder.path());
        let first = meter.begin();
        set("1000000");
        let second = meter.begin();
        zone(folder.path(), "intel-rapl:0:0", "dram", "4000000");
        assert_eq!(second.joules(), Some(2.0));
        set("2000000");
        // 2 J alone, half of 4 J, 1 J alone.
        assert_eq!(first.joules(), Some(5.0));
        drop(meter.begin());
        assert_eq!(meter.state().answers, 0);
    }

    #[test]
    fn energy_that_cannot_be_read_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Meter::below(folder.path()).begin().joules(), None, "no counter");
        assert_eq!(Meter::below(&folder.path().join("none")).begin().joules(), None, "no folder");
        zone(folder.path(), "intel-rapl:0", "package-0", "7");
        let meter = Meter::below(folder.path());
        let reading = meter.begin();
        fs::remove_file(folder.path().join(FOLDER).join("intel-rapl:0/energy_uj")).unwrap();
        assert_eq!(reading.joules(), None, "a counter that went away");
        assert_eq!(Meter::below(folder.path()).begin().joules(), None, "a zone without its counter");
    }
}
