//! The time that a step takes, by its number of rows.

/// The relative cost of one more row of a step, before it was measured.
const ROW: f64 = 0.1;
/// The weight of a new measurement in the current speed of the machine, and in the relative cost of a number of rows.
const SPEED_WEIGHT: f64 = 0.2;
const COST_WEIGHT: f64 = 0.06;
/// The number of first measurements that only tell the cost.
const FIRST: u32 = 3;
/// The number of row counts that have a cost of their own. Above it, each cost covers a doubling.
const SINGLE: usize = 16;
const DOUBLINGS: usize = 8;
/// The largest factor by which one measurement may differ from the expectation. A larger one is an interruption.
const MOST: f64 = 2.0;

/// The measured time of the steps of a model.
///
/// The time is `speed * cost(rows)`. The speed follows the machine quickly, the cost of a number of rows relative to that of
/// one row slowly. A machine that becomes busy therefore makes all steps slower alike, and not just those that happen to be
/// measured then.
#[derive(Debug, Clone)]
pub(crate) struct StepCosts {
    /// The seconds of a step of one row; 0 before the first measurement.
    speed: f64,
    /// The costs that were measured, with the number of measurements.
    costs: [Option<(f64, u32)>; SINGLE + DOUBLINGS],
}

impl Default for StepCosts {
    fn default() -> Self {
        let mut costs = [None; SINGLE + DOUBLINGS];
        costs[0] = Some((1.0, u32::MAX));
        Self { speed: 0.0, costs }
    }
}

/// Returns the index of the cost of `rows` rows.
fn index(rows: usize) -> usize {
    let rows = rows.max(1);
    if rows <= SINGLE {
        return rows - 1;
    }
    (SINGLE - 1 + (rows - 1).ilog2() as usize - (SINGLE - 1).ilog2() as usize).min(SINGLE + DOUBLINGS - 1)
}

/// Returns the number of rows of an index, the middle of its range.
fn rows_of(index: usize) -> f64 {
    if index < SINGLE { (index + 1) as f64 } else { SINGLE as f64 * 1.5 * f64::from(1u32 << (index - SINGLE)) }
}

impl StepCosts {
    /// Adds the measured time of a step. A clock that stands still measures nothing.
    pub fn measured(&mut self, rows: usize, seconds: f64) {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return;
        }
        let expected = self.cost(rows);
        if self.speed <= 0.0 {
            self.speed = seconds / expected;
            return;
        }
        let at = index(rows);
        let count = self.costs[at].map_or(0, |(_, count)| count);
        // Nothing is known before the first measurement, but rows cost at most as much as steps of their own.
        let most = if count == 0 { MOST.max(rows as f64 / expected) } else { MOST };
        let ratio = (seconds / (self.speed * expected)).clamp(1.0 / MOST, most);
        if at > 0 {
            let weight = COST_WEIGHT.max(1.0 / f64::from(count + 1));
            self.costs[at] = Some(((expected * ratio.powf(weight)).max(1.0), count.saturating_add(1)));
            // The rest of the difference is the machine's, once the cost is known.
            if count >= FIRST {
                self.speed *= ratio.powf(SPEED_WEIGHT * (1.0 - weight));
            }
        } else {
            self.speed *= ratio.powf(SPEED_WEIGHT);
        }
    }

    /// Returns the cost of a step relative to that of one row: measured, between two measured ones, or estimated from the
    /// nearest one.
    pub fn cost(&self, rows: usize) -> f64 {
        let at = index(rows);
        if let (Some((cost, _)), true) = (self.costs[at], rows <= SINGLE) {
            return cost;
        }
        let rows = rows.max(1) as f64;
        let known = |i: &usize| self.costs[*i].map(|(cost, _)| (rows_of(*i), cost));
        let below = (0..self.costs.len()).filter(|&i| rows_of(i) <= rows).rev().find_map(|i| known(&i));
        let above = (0..self.costs.len()).filter(|&i| rows_of(i) > rows).find_map(|i| known(&i));
        match (below, above) {
            (Some((r0, c0)), Some((r1, c1))) => c0 + (c1 - c0) * (rows - r0) / (r1 - r0),
            (Some((r0, c0)), None) => {
                // One more row costs what the known ones cost on average.
                let row = if r0 > 1.0 { (c0 - 1.0) / (r0 - 1.0) } else { ROW };
                c0 + row.max(0.0) * (rows - r0)
            }
            _ => 1.0 + ROW * (rows - 1.0),
        }
    }

    /// Returns the expected seconds of a step. Before any measurement, the unit is a step of one row.
    pub fn seconds(&self, rows: usize) -> f64 {
        if rows == 0 {
            return 0.0;
        }
        self.cost(rows) * if self.speed > 0.0 { self.speed } else { 1.0 }
    }

    /// Returns `true` if a step was measured.
    pub fn is_known(&self) -> bool {
        self.speed > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_learnt_and_interpolated() {
        let mut costs = StepCosts::default();
        assert_eq!((costs.seconds(1), costs.seconds(0)), (1.0, 0.0));
        for _ in 0..200 {
            costs.measured(1, 0.010);
            costs.measured(4, 0.014);
            costs.measured(8, 0.022);
        }
        let near = |rows: usize, expected: f64| {
            let found = costs.seconds(rows);
            assert!((found / expected - 1.0).abs() < 0.02, "{rows} rows: {found}, expected {expected}");
        };
        near(1, 0.010);
        near(4, 0.014);
        near(6, 0.018);
        near(8, 0.022);
        near(15, 0.022 + 7.0 * 0.012 / 7.0);
    }

    #[test]
    fn a_busy_machine_changes_the_speed_and_not_the_costs() {
        let mut costs = StepCosts::default();
        for _ in 0..100 {
            costs.measured(1, 0.010);
            costs.measured(4, 0.015);
        }
        for _ in 0..12 {
            costs.measured(4, 0.030);
        }
        assert!((costs.cost(4) / 1.5 - 1.0).abs() < 0.2, "{}", costs.cost(4));
        assert!(costs.seconds(1) > 0.015, "{}", costs.seconds(1));
    }

    #[test]
    fn interruptions_and_still_clocks_are_harmless() {
        let mut costs = StepCosts::default();
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            costs.measured(1, seconds);
        }
        assert!(!costs.is_known());
        (0..50).for_each(|_| costs.measured(1, 0.010));
        costs.measured(1, 100.0);
        assert!(costs.seconds(1) < 0.012);
    }

    #[test]
    fn every_number_of_rows_has_a_cost() {
        let mut costs = StepCosts::default();
        let mut last = 0.0;
        for rows in 1..100_000 {
            let cost = costs.cost(rows);
            assert!(cost >= last, "{rows}");
            last = cost;
        }
        for rows in [17, 31, 32, 33, 64, 4096, usize::MAX] {
            costs.measured(rows, 0.1);
            assert!(costs.cost(rows).is_finite());
        }
    }
}
