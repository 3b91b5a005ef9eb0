//! Confidence intervals of the ratio of two rates.

use serde::Serialize;

/// A ratio with its two-sided 95% confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The ratio of the geometric means.
    pub ratio: f64,
    /// The lower end.
    pub lower95: f64,
    /// The upper end.
    pub upper95: f64,
}

impl Interval {
    /// Returns the ratio of `b` to `a` for samples of two independent runs, from the difference of the means of their logarithms
    /// (Welch 1947); `None` with fewer than two samples in either.
    #[must_use]
    pub fn unpaired(a: &[f64], b: &[f64]) -> Option<Self> {
        let (a, b) = (Sample::of(a.iter().map(|x| x.ln()))?, Sample::of(b.iter().map(|x| x.ln()))?);
        let (va, vb) = (a.variance / a.count, b.variance / b.count);
        let freedom = (va + vb).powi(2) / (va.powi(2) / (a.count - 1.0) + vb.powi(2) / (b.count - 1.0));
        // Two runs without any variation have no degrees of freedom, and an interval without width.
        let freedom = if freedom.is_finite() { freedom } else { a.count + b.count - 2.0 };
        Some(Self::around(b.mean - a.mean, (va + vb).sqrt(), freedom))
    }

    /// Returns the ratio of `b` to `a` for samples that were measured in turns, from the differences of the logarithms of each
    /// pair (Student 1908); `None` with fewer than two pairs.
    #[must_use]
    pub fn paired(a: &[f64], b: &[f64]) -> Option<Self> {
        let pairs = Sample::of(a.iter().zip(b).map(|(a, b)| b.ln() - a.ln()))?;
        Some(Self::around(pairs.mean, (pairs.variance / pairs.count).sqrt(), pairs.count - 1.0))
    }

    fn around(mean: f64, error: f64, freedom: f64) -> Self {
        let half = student_975(freedom) * error;
        Self { ratio: mean.exp(), lower95: (mean - half).exp(), upper95: (mean + half).exp() }
    }
}

struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (values.len() >= 2 && variance.is_finite()).then_some(Self { count, mean, variance })
    }
}

/// Returns the 97.5% quantile of Student's distribution by its expansion around the normal one (Abramowitz and Stegun 1964,
/// 26.7.5), to 1% from 2 degrees of freedom on; below, that of 1 degree.
fn student_975(freedom: f64) -> f64 {
    const Z: f64 = 1.959_963_985;
    if freedom < 2.0 {
        return 12.706;
    }
    let [z3, z5, z7, z9] = [3, 5, 7, 9].map(|power| Z.powi(power));
    let terms = [
        (z3 + Z) / 4.0,
        (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / 96.0,
        (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / 384.0,
        (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * Z) / 92_160.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term) / freedom) + Z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_tables() {
        for (freedom, expected) in [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (9.0, 2.262), (30.0, 2.042), (1e9, 1.96)]
        {
            assert!((student_975(freedom) / expected - 1.0).abs() < 0.011, "{freedom}: {}", student_975(freedom));
        }
    }

    #[test]
    fn intervals_agree_with_known_ones() {
        // The exponentials of 0 to 4 and of 2 to 6: a difference of 2 with a standard error of 1 and 8 degrees of freedom.
        let values = |from: i32| (from..from + 5).map(|i| f64::from(i).exp()).collect::<Vec<_>>();
        let found = Interval::unpaired(&values(0), &values(2)).expect("samples");
        assert!((found.ratio.ln() - 2.0).abs() < 1e-9);
        assert!((found.lower95.ln() - (2.0 - 2.306)).abs() < 0.01 && (found.upper95.ln() - 4.306).abs() < 0.01);
        let pairs = Interval::paired(&values(0), &values(2)).expect("pairs");
        assert!((pairs.lower95 - pairs.upper95).abs() < 1e-9, "the pairs do not vary: {pairs:?}");
        assert_eq!(Interval::unpaired(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(Interval::unpaired(&[1.0, 0.0], &[1.0, 2.0]), None, "no rate is 0");
    }
}
