//! Accuracy on tasks, and the share of the original's accuracy that a candidate retains.

use serde::{Deserialize, Serialize};

use crate::bootstrap;

/// The minimum number of items for bounds and a verdict.
pub const MIN_ITEMS: usize = 30;

/// The share of correct answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// The number of items.
    pub items: usize,
    /// The percentage of items with a correct answer; 0 without items.
    pub percent: f64,
    /// The standard error of the percentage, from the sample variance over items as in lm-evaluation-harness
    /// (`lm_eval/api/metrics.py`, function `mean_stderr`); `None` for fewer than two items.
    pub stderr: Option<f64>,
}

/// Computes the accuracy of answers.
#[must_use]
pub fn accuracy(correct: &[bool]) -> Accuracy {
    let n = correct.len();
    let share = correct.iter().filter(|&&is| is).count() as f64 / n.max(1) as f64;
    let stderr = (n > 1).then(|| 100.0 * (share * (1.0 - share) / (n as f64 - 1.0)).sqrt());
    Accuracy { items: n, percent: 100.0 * share, stderr }
}

/// The accuracy of a candidate as a percentage of the original's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retained {
    /// The percentage; above 100 if the candidate is better. `None` if the original answered nothing correctly.
    pub percent: Option<f64>,
    /// The one-sided 95% lower bound; `None` for fewer than [`MIN_ITEMS`] items.
    pub lower95: Option<f64>,
    /// The one-sided 95% upper bound; `None` for fewer than [`MIN_ITEMS`] items, or if it is not finite.
    pub upper95: Option<f64>,
}

/// Compares the answers of the original and of a candidate to the same items. The bounds are those of a bootstrap over
/// items, in which each item contributes both answers.
#[must_use]
pub fn retained(original: &[bool], candidate: &[bool]) -> Retained {
    let n = original.len().min(candidate.len());
    let ratio = |base: u32, found: u32| match (base, found) {
        (0, 0) => 100.0,
        _ => 100.0 * f64::from(found) / f64::from(base),
    };
    let sum = |correct: &[bool]| correct[..n].iter().map(|&is| u32::from(is)).sum::<u32>();
    let (base, found) = (sum(original), sum(candidate));
    let bounds = (n >= MIN_ITEMS && base > 0).then(|| {
        bootstrap(n, |counts| {
            let drawn = |correct: &[bool]| correct.iter().zip(counts).map(|(&is, &count)| u32::from(is) * count).sum();
            ratio(drawn(original), drawn(candidate))
        })
    });
    Retained {
        percent: (base > 0).then(|| ratio(base, found)),
        lower95: bounds.map(|bounds| bounds.lower95),
        upper95: bounds.map(|bounds| bounds.upper95).filter(|upper| upper.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns answers of which the first `correct` are correct.
    fn answers(items: usize, correct: usize) -> Vec<bool> {
        (0..items).map(|i| i < correct).collect()
    }

    #[test]
    fn the_standard_error_is_that_of_a_sample_mean() {
        let found = accuracy(&answers(5, 2));
        // numpy: 100 * std([1, 1, 0, 0, 0], ddof=1) / sqrt(5)
        assert!((found.percent - 40.0).abs() < 1e-12 && (found.stderr.unwrap_or_default() - 24.494_897).abs() < 1e-5);
        assert_eq!(accuracy(&[]), Accuracy { items: 0, percent: 0.0, stderr: None });
        assert_eq!(accuracy(&[true]).stderr, None);
    }

    #[test]
    fn equal_answers_retain_everything_without_doubt() {
        let same = retained(&answers(40, 13), &answers(40, 13));
        assert_eq!((same.percent, same.lower95, same.upper95), (Some(100.0), Some(100.0), Some(100.0)));
    }

    #[test]
    fn pairs_narrow_the_bounds() {
        let (base, mut candidate) = (answers(400, 200), answers(400, 200));
        candidate[..10].fill(false);
        let paired = retained(&base, &candidate);
        assert_eq!(paired.percent, Some(95.0));
        // By the delta method the variance of the paired ratio is p q / n1 with p = 0.95 and n1 = 200.
        let error = 100.0 * (0.95f64 * 0.05 / 200.0).sqrt();
        let lower = paired.lower95.unwrap_or_default();
        assert!((95.0 - lower - 1.645 * error).abs() < 0.25 * error, "{lower} {error}");
        candidate.reverse();
        let unpaired = retained(&base, &candidate);
        assert!(unpaired.lower95.unwrap_or_default() < lower - 5.0, "{unpaired:?}");
    }

    #[test]
    fn few_items_and_an_original_without_answers_give_no_bounds() {
        let few = retained(&answers(29, 20), &answers(29, 10));
        assert_eq!((few.percent, few.lower95, few.upper95), (Some(50.0), None, None));
        let none = retained(&answers(50, 0), &answers(50, 10));
        assert_eq!((none.percent, none.lower95, none.upper95), (None, None, None));
        assert_eq!(retained(&[], &[]).percent, None);
    }
}
