//! The choice of a level for each unit: the least predicted loss in a number of bytes.

use super::units::{Levels, Unit, bytes_of};

/// The largest number of sizes that are told apart.
const CELLS: u64 = 20_000;

/// The least loss for every size: a multiple-choice knapsack by dynamic programming.
///
/// Sizes are counted in steps above the smallest file. Where the steps are coarser than the differences between encodings,
/// sizes are rounded up, and bytes that are left over are spent afterwards.
#[derive(Debug)]
pub(super) struct Knapsack<'u> {
    units: &'u [Unit],
    /// The bytes of the smallest file's tensors.
    least: u64,
    step: u64,
    /// The loss of every level. // [units][levels]
    losses: Vec<Vec<f64>>,
    /// The least loss of all units in at most so many steps.
    best: Vec<f64>,
    /// The level of each unit that gives it. // [units][steps]
    picks: Vec<Vec<u8>>,
}

impl<'u> Knapsack<'u> {
    /// Solves for all sizes up to `most` bytes. The loss of unit `u` is its predicted loss times `weights[u]`.
    pub(super) fn new(units: &'u [Unit], weights: &[f64], most: u64) -> Self {
        let smallest = |unit: &Unit| unit.levels.iter().map(|l| l.bytes).min().unwrap_or(0);
        let least = units.iter().map(smallest).sum::<u64>();
        let largest = units.iter().map(|unit| unit.levels.iter().map(|l| l.bytes).max().unwrap_or(0)).sum::<u64>();
        let room = most.min(largest).saturating_sub(least);
        let extras = units.iter().flat_map(|unit| unit.levels.iter().map(|level| level.bytes - smallest(unit)));
        let divisor = extras.fold(0, gcd).max(1);
        let step = divisor * room.div_ceil(divisor * CELLS).max(1);
        let cells = (room / step) as usize + 1;
        let losses: Vec<Vec<f64>> =
            units.iter().zip(weights).map(|(unit, w)| unit.levels.iter().map(|l| l.kl * w).collect()).collect();
        let mut best = vec![0f64; cells];
        let mut picks = Vec::with_capacity(units.len());
        for (unit, losses) in units.iter().zip(&losses) {
            let (mut next, mut picked) = (vec![f64::INFINITY; cells], vec![0u8; cells]);
            for (at, (level, loss)) in unit.levels.iter().zip(losses).enumerate() {
                let extra = (level.bytes - smallest(unit)).div_ceil(step) as usize;
                for c in extra..cells {
                    let total = best[c - extra] + loss;
                    if total < next[c] {
                        next[c] = total;
                        picked[c] = at as u8;
                    }
                }
            }
            best = next;
            picks.push(picked);
        }
        Self { units, least, step, losses, best, picks }
    }

    /// Returns the best levels in at most `bytes`; `None` if the smallest file has more.
    pub(super) fn levels(&self, bytes: u64) -> Option<Levels> {
        let room = bytes.checked_sub(self.least)?;
        let mut cell = ((room / self.step) as usize).min(self.best.len() - 1);
        let mut levels = vec![0; self.units.len()];
        for (u, unit) in self.units.iter().enumerate().rev() {
            levels[u] = usize::from(self.picks[u][cell]);
            let smallest = unit.levels.iter().map(|l| l.bytes).min().unwrap_or(0);
            cell -= (unit.levels[levels[u]].bytes - smallest).div_ceil(self.step) as usize;
        }
        self.spend(&mut levels, bytes);
        Some(levels)
    }

    /// Returns points of the frontier: sizes in bytes, ascending, with the least loss.
    pub(super) fn frontier(&self, points: usize) -> Vec<(u64, f64)> {
        let last = self.best.len() - 1;
        let cells = (0..points).map(|i| i * last / (points - 1).max(1));
        let mut frontier: Vec<(u64, f64)> =
            cells.map(|cell| (self.least + cell as u64 * self.step, self.best[cell])).collect();
        frontier.dedup_by_key(|point| point.0);
        frontier
    }

    /// Returns the smallest size with at most this loss; `None` if there is none.
    pub(super) fn smallest(&self, loss: f64) -> Option<u64> {
        let cell = self.best.iter().position(|&best| best <= loss)?;
        Some(self.least + cell as u64 * self.step)
    }

    /// Spends bytes that are left over on the levels that gain most.
    fn spend(&self, levels: &mut [usize], bytes: u64) {
        loop {
            let left = bytes - bytes_of(self.units, levels).min(bytes);
            let mut most: Option<(f64, usize, usize)> = None;
            for (u, unit) in self.units.iter().enumerate() {
                let now = unit.levels[levels[u]];
                for (at, level) in unit.levels.iter().enumerate() {
                    let gain = self.losses[u][levels[u]] - self.losses[u][at];
                    if level.bytes <= now.bytes + left && gain > 0.0 && most.is_none_or(|(g, ..)| gain > g) {
                        most = Some((gain, u, at));
                    }
                }
            }
            let Some((_, u, at)) = most else { return };
            levels[u] = at;
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use honelm_blocks::Encoding;
    use honelm_model::Slot;

    use super::*;
    use crate::optimize::allocate::units::{Level, predicted};

    /// Units of different sizes, whose losses fall with the bits.
    fn some(count: usize) -> Vec<Unit> {
        let unit = |u: usize| {
            let level = |l: usize| Level {
                encoding: Encoding::Q4K,
                bytes: ((u * 37) % 5 + 1) as u64 * 64 * (l as u64 + 2),
                kl: ((u * 31) % 7 + 1) as f64 / f64::from(1 << (2 * l)),
            };
            Unit { slots: vec![Slot { layer: Some(u), module: "q" }], levels: (0..3).map(level).collect() }
        };
        (0..count).map(unit).collect()
    }

    /// Returns the least loss in at most `bytes` by trying everything.
    fn by_trying(units: &[Unit], bytes: u64) -> Option<f64> {
        let all = 3usize.pow(units.len() as u32);
        let levels = |i: usize| (0..units.len()).map(|u| i / 3usize.pow(u as u32) % 3).collect::<Levels>();
        let fitting = (0..all).map(levels).filter(|levels| bytes_of(units, levels) <= bytes);
        fitting.map(|levels| predicted(units, &levels)).min_by(f64::total_cmp)
    }

    #[test]
    fn it_finds_what_trying_everything_finds() {
        let units = some(7);
        let ones = vec![1.0; units.len()];
        let (least, most) = (bytes_of(&units, &[0; 7]), bytes_of(&units, &[2; 7]));
        let knapsack = Knapsack::new(&units, &ones, u64::MAX);
        for bytes in (least..most + 200).step_by(97) {
            let levels = knapsack.levels(bytes).expect("fits");
            assert!(bytes_of(&units, &levels) <= bytes);
            let found = predicted(&units, &levels);
            assert!((found - by_trying(&units, bytes).expect("fits")).abs() < 1e-12, "{bytes}");
            let smallest = knapsack.smallest(found + 1e-12).expect("reached");
            assert!(smallest <= bytes, "{smallest} {bytes}");
        }
        assert_eq!(knapsack.levels(least - 1), None);
        let frontier = knapsack.frontier(9);
        assert!(frontier.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1), "{frontier:?}");
    }

    #[test]
    fn coarse_steps_lose_little_and_never_exceed_the_size() {
        // Sizes without a common divisor, so that there are more sizes than cells.
        let mut units = some(40);
        for (u, unit) in units.iter_mut().enumerate() {
            unit.levels.iter_mut().for_each(|level| level.bytes = level.bytes * 9_973 + u as u64);
        }
        let ones = vec![1.0; units.len()];
        let (least, most) = (bytes_of(&units, &[0; 40]), bytes_of(&units, &[2; 40]));
        let bytes = (least + most) / 2;
        let knapsack = Knapsack::new(&units, &ones, bytes);
        assert!(knapsack.step > 1 && knapsack.best.len() <= CELLS as usize + 1);
        let levels = knapsack.levels(bytes).expect("fits");
        assert!(bytes_of(&units, &levels) <= bytes);
        // Half a percent more bytes could not be much better.
        let more = Knapsack::new(&units, &ones, bytes * 201 / 200).levels(bytes * 201 / 200).expect("fits");
        assert!(predicted(&units, &levels) <= predicted(&units, &more) * 1.03);
    }
}
