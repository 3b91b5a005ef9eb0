use honelm_backend::uniform;

/// The number of resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// The seed, which is fixed so that the same scores always give the same bounds.
const SEED: u64 = 0x686f_6e65_6c6d;

/// The one-sided 95% bounds and the standard error of a statistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The 5th percentile of the resamples.
    pub lower95: f64,
    /// The 95th percentile of the resamples.
    pub upper95: f64,
    /// The standard deviation of the resamples.
    pub stderr: f64,
}

/// Computes the percentile bootstrap (Efron and Tibshirani 1993, chapter 13) of a statistic of `n` chunks, which are
/// resampled with replacement. `statistic` receives the number of times that each chunk was drawn.
#[must_use]
pub fn bootstrap(n: usize, mut statistic: impl FnMut(&[u32]) -> f64) -> Bounds {
    let mut counts = vec![0u32; n];
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|resample| {
            counts.fill(0);
            for draw in 0..n {
                let at = (uniform(SEED, resample as u64, draw as u64, 0) as f64 * n as f64) as usize;
                counts[at.min(n - 1)] += 1;
            }
            statistic(&counts)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / RESAMPLES as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (RESAMPLES as f64 - 1.0);
    let at = |share: f64| values[((RESAMPLES - 1) as f64 * share).round() as usize];
    Bounds { lower95: at(0.05), upper95: at(0.95), stderr: variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_mean_agree_with_the_normal_approximation() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(uniform(7, 0, i, 0))).collect();
        let mean = values.iter().sum::<f64>() / 200.0;
        let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
        let bounds = bootstrap(200, |c| c.iter().zip(&values).map(|(&c, v)| f64::from(c) * v).sum::<f64>() / 200.0);
        let error = sd / 200f64.sqrt();
        assert!((bounds.stderr / error - 1.0).abs() < 0.1, "{bounds:?} {error}");
        assert!((bounds.upper95 - mean - 1.645 * error).abs() < 0.2 * error);
        assert!((mean - bounds.lower95 - 1.645 * error).abs() < 0.2 * error);
    }
}
