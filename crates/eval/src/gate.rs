use serde::{Deserialize, Serialize};

use crate::{Budget, Comparison, Perplexity, bootstrap, perplexity};

/// The minimum number of chunks for bounds and a verdict.
pub const MIN_CHUNKS: usize = 30;

/// The quality of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// The number of scored chunks.
    pub chunks: usize,
    /// The number of scored tokens.
    pub tokens: usize,
    /// The perplexity of the candidate.
    pub perplexity: f64,
    /// The standard error of the candidate's perplexity.
    pub perplexity_stderr: f64,
    /// The perplexity of the original on the same chunks.
    pub base_perplexity: f64,
    /// The perplexity of the candidate minus that of the original.
    pub perplexity_difference: f64,
    /// The one-sided 95% lower bound of the difference; `None` for fewer than [`MIN_CHUNKS`] chunks.
    pub perplexity_difference_lower95: Option<f64>,
    /// The one-sided 95% upper bound of the difference; `None` for fewer than [`MIN_CHUNKS`] chunks.
    pub perplexity_difference_upper95: Option<f64>,
    /// The difference as a percentage of the original's perplexity.
    pub perplexity_increase_percent: f64,
    /// The one-sided 95% upper bound of that percentage; `None` for fewer than [`MIN_CHUNKS`] chunks.
    pub perplexity_increase_percent_upper95: Option<f64>,
    /// The mean Kullback-Leibler divergence KL(original || candidate) in nats.
    pub kl_divergence: f64,
    /// The standard error of the mean divergence over chunks; `None` for fewer than [`MIN_CHUNKS`] chunks.
    pub kl_divergence_stderr: Option<f64>,
    /// The one-sided 95% upper bound of the mean divergence; `None` for fewer than [`MIN_CHUNKS`] chunks.
    pub kl_divergence_upper95: Option<f64>,
    /// The share of positions at which both models have the same most likely token, in percent.
    pub same_top_percent: f64,
    /// The number of positions at which the original is clear ([`crate::CLEAR_MARGIN`]).
    pub clear_positions: usize,
    /// The number of clear positions at which the candidate has another most likely token.
    pub clear_positions_changed: usize,
}

/// The result of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The upper bound of the difference is within the budget.
    Accepted,
    /// The upper bound of the difference exceeds the budget.
    Rejected,
    /// There are fewer than [`MIN_CHUNKS`] chunks.
    NotEnoughText,
}

/// The sums over the scored positions of a chunk.
struct ChunkSums {
    tokens: f64,
    nll: f64,
    base: f64,
    kl: f64,
}

fn chunks(c: &Comparison) -> Vec<ChunkSums> {
    let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
    c.scores
        .nll
        .iter()
        .zip(&c.base.nll)
        .zip(&c.kl)
        .map(|((nll, base), kl)| ChunkSums { tokens: nll.len() as f64, nll: sum(nll), base: sum(base), kl: sum(kl) })
        .collect()
}

/// Returns the perplexities of the candidate and of the original in a resample.
fn perplexities(chunks: &[ChunkSums], counts: &[u32]) -> [f64; 2] {
    let (mut tokens, mut nll, mut base) = (0.0, 0.0, 0.0);
    for (chunk, &count) in chunks.iter().zip(counts) {
        let count = f64::from(count);
        tokens += count * chunk.tokens;
        nll += count * chunk.nll;
        base += count * chunk.base;
    }
    [(nll / tokens).exp(), (base / tokens).exp()]
}

/// Returns the increase that a budget is about: the difference, or the percentage.
fn increase(budget: Budget, [candidate, original]: [f64; 2]) -> f64 {
    match budget {
        Budget::Absolute(_) => candidate - original,
        Budget::Relative(_) => 100.0 * (candidate / original - 1.0),
    }
}

/// Computes the figures of a comparison. The bounds are those of a bootstrap over chunks, in which each chunk contributes
/// the scores of both models.
#[must_use]
pub fn figures(c: &Comparison) -> Figures {
    let chunks = chunks(c);
    let n = chunks.len();
    let bounds_of =
        |budget| (n >= MIN_CHUNKS).then(|| bootstrap(n, |counts| increase(budget, perplexities(&chunks, counts))));
    let (bounds, percent) = (bounds_of(Budget::Absolute(0.0)), bounds_of(Budget::Relative(0.0)));
    let tokens: f64 = chunks.iter().map(|c| c.tokens).sum();
    let kl = chunks.iter().map(|c| c.kl).sum::<f64>() / tokens;
    let kl_bounds = (n >= MIN_CHUNKS).then(|| {
        bootstrap(n, |counts| {
            let (mut t, mut k) = (0.0, 0.0);
            for (chunk, &count) in chunks.iter().zip(counts) {
                t += f64::from(count) * chunk.tokens;
                k += f64::from(count) * chunk.kl;
            }
            k / t
        })
    });
    let Perplexity { value, stderr, tokens: scored } = perplexity(&c.scores);
    let base = perplexity(&c.base).value;
    Figures {
        chunks: n,
        tokens: scored,
        perplexity: value,
        perplexity_stderr: stderr,
        base_perplexity: base,
        perplexity_difference: value - base,
        perplexity_difference_lower95: bounds.map(|b| b.lower95),
        perplexity_difference_upper95: bounds.map(|b| b.upper95),
        perplexity_increase_percent: increase(Budget::Relative(0.0), [value, base]),
        perplexity_increase_percent_upper95: percent.map(|b| b.upper95),
        kl_divergence: kl,
        kl_divergence_stderr: kl_bounds.map(|b| b.stderr),
        kl_divergence_upper95: kl_bounds.map(|b| b.upper95),
        same_top_percent: 100.0 * c.same_top as f64 / scored as f64,
        clear_positions: c.clear,
        clear_positions_changed: c.clear_changed,
    }
}

/// Compares an upper bound with a limit; `None` is a bound that the text is too short for.
#[must_use]
pub fn judge_bound(upper95: Option<f64>, limit: f64) -> Verdict {
    match upper95 {
        None => Verdict::NotEnoughText,
        Some(upper) if upper <= limit => Verdict::Accepted,
        Some(_) => Verdict::Rejected,
    }
}

/// Applies a budget to a finished comparison.
#[must_use]
pub fn judge(figures: &Figures, budget: impl Into<Budget>) -> Verdict {
    let budget = budget.into();
    judge_bound(figures.upper95(budget), budget.value())
}

impl Figures {
    /// Returns the upper bound of the increase that a budget is about: the difference, or the percentage.
    #[must_use]
    pub fn upper95(&self, budget: Budget) -> Option<f64> {
        match budget {
            Budget::Absolute(_) => self.perplexity_difference_upper95,
            Budget::Relative(_) => self.perplexity_increase_percent_upper95,
        }
    }
}

/// Returns `true` if the chunks so far show that the budget is exceeded: there are enough of them, and even the lower bound
/// of the increase is above the budget. The bounds are computed for every tenth chunk only.
#[must_use]
pub fn hopeless(so_far: &Comparison, budget: impl Into<Budget>) -> bool {
    let (n, budget) = (so_far.scores.nll.len(), budget.into());
    if n < MIN_CHUNKS || !n.is_multiple_of(10) {
        return false;
    }
    let chunks = chunks(so_far);
    bootstrap(n, |counts| increase(budget, perplexities(&chunks, counts))).lower95 > budget.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scores;
    use honelm_backend::uniform;

    fn comparison(n: usize, shift: f32) -> Comparison {
        let noise = |w: usize, i: usize, s: u64| uniform(s, w as u64, i as u64, 0);
        let base = |w: usize| (0..50).map(|i| 3.0 + noise(w, i, 1)).collect::<Vec<f32>>();
        let nll =
            |w: usize| base(w).iter().enumerate().map(|(i, b)| b + shift + 0.01 * noise(w, i, 2)).collect::<Vec<f32>>();
        Comparison {
            scores: Scores { nll: (0..n).map(nll).collect() },
            base: Scores { nll: (0..n).map(base).collect() },
            kl: vec![vec![0.25; 50]; n],
            same_top: n * 40,
            clear: n * 30,
            clear_changed: n,
        }
    }

    #[test]
    fn figures_are_means_over_the_same_positions() {
        let f = figures(&comparison(40, 0.0));
        assert_eq!((f.chunks, f.tokens), (40, 2000));
        assert!((f.kl_divergence - 0.25).abs() < 1e-9);
        assert_eq!((f.clear_positions, f.clear_positions_changed), (1200, 40));
        assert!((f.same_top_percent - 80.0).abs() < 1e-9);
        assert!((f.perplexity - f.base_perplexity - f.perplexity_difference).abs() < 1e-12);
        let (lower, upper) =
            (f.perplexity_difference_lower95.expect("bounds"), f.perplexity_difference_upper95.expect("bounds"));
        assert!(lower < f.perplexity_difference && f.perplexity_difference < upper);
    }

    #[test]
    fn the_upper_bound_decides_and_not_the_mean() {
        let f = figures(&comparison(40, 0.001));
        let (mean, upper) = (f.perplexity_difference, f.perplexity_difference_upper95.expect("bounds"));
        assert_eq!(judge(&f, upper), Verdict::Accepted);
        assert_eq!(judge(&f, (mean + upper) / 2.0), Verdict::Rejected);
    }

    #[test]
    fn a_relative_budget_is_a_percentage_of_the_original() {
        let f = figures(&comparison(40, 0.02));
        let (mean, upper) = (f.perplexity_increase_percent, f.perplexity_increase_percent_upper95.expect("bounds"));
        assert!((mean - 100.0 * f.perplexity_difference / f.base_perplexity).abs() < 1e-9);
        assert!((2.0..3.0).contains(&mean) && mean < upper, "{mean} {upper}");
        assert_eq!(judge(&f, Budget::Relative(upper)), Verdict::Accepted);
        assert_eq!(judge(&f, Budget::Relative((mean + upper) / 2.0)), Verdict::Rejected);
        assert!(hopeless(&comparison(40, 0.02), Budget::Relative(1.0)));
        assert!(!hopeless(&comparison(40, 0.02), Budget::Relative(5.0)));
        let kl = f.kl_divergence_upper95.expect("bounds");
        assert!((kl - 0.25).abs() < 1e-9, "{kl}");
        assert_eq!(judge_bound(f.kl_divergence_upper95, 0.26), Verdict::Accepted);
        assert_eq!(judge_bound(f.kl_divergence_upper95, 0.24), Verdict::Rejected);
    }

    #[test]
    fn few_chunks_give_no_bounds_and_no_verdict() {
        let f = figures(&comparison(29, 0.0));
        assert_eq!(f.perplexity_difference_upper95, None);
        assert_eq!(judge(&f, 1e9), Verdict::NotEnoughText);
        assert!(!hopeless(&comparison(29, 1.0), 0.1));
    }

    #[test]
    fn an_exceeded_budget_is_found_early() {
        assert!(hopeless(&comparison(30, 0.1), 0.5));
        assert!(!hopeless(&comparison(30, 0.0), 0.5));
    }
}
