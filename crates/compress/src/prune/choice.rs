//! The choice of the units to remove.

/// The units of a consumer, of which the same number is removed from every class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// The number of columns of a unit.
    pub width: usize,
    /// The number of units.
    pub units: usize,
    /// The number of classes of consecutive units.
    pub classes: usize,
    /// The number of units to remove from each class.
    pub remove: usize,
}

impl Choice {
    /// Returns the columns of a unit.
    pub(super) fn columns(&self, unit: usize) -> std::ops::Range<usize> {
        unit * self.width..(unit + 1) * self.width
    }

    /// Returns the class of a unit.
    pub(super) fn class(&self, unit: usize) -> usize {
        unit / (self.units / self.classes).max(1)
    }

    /// Returns the units that remain when those of the lowest scores are removed, of equal ones the first. // scores `[units]`
    pub(super) fn keep_highest(&self, scores: &[f64]) -> Vec<usize> {
        let mut kept = Vec::new();
        for class in 0..self.classes {
            let mut units: Vec<usize> = (0..self.units).filter(|&unit| self.class(unit) == class).collect();
            units.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            kept.extend(units.into_iter().skip(self.remove));
        }
        kept.sort_unstable();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_loses_its_lowest_units() {
        let choice = Choice { width: 2, units: 6, classes: 2, remove: 1 };
        assert_eq!(choice.keep_highest(&[3.0, 1.0, 2.0, 0.5, 0.1, 0.5]), [0, 2, 3, 5]);
        assert_eq!(choice.columns(2), 4..6);
        let all = Choice { classes: 1, remove: 4, ..choice };
        assert_eq!(all.keep_highest(&[0.0, 1.0, 2.0, 0.0, 0.0, 0.0]), [1, 2]);
    }
}
