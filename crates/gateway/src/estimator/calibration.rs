//! Thresholds on the gain, from held-out scores.

use serde::{Deserialize, Serialize};

/// The steps of the table of quantiles.
const STEPS: usize = 256;

/// The threshold that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The threshold itself: a request goes to the cloud if its expected gain is at least this.
    Gain(f32),
    /// The share of requests that stay on the device, 0 to 1.
    KeepLocal(f64),
    /// The most requests that may stay on the device although only the cloud is right, as a share of all requests, 0 to 1.
    MaxFalseLocal(f64),
}

/// A threshold with what held-out requests say about it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Threshold {
    /// Requests whose expected gain is at least this go to the cloud.
    pub gain: f32,
    /// The share of requests that stay on the device, 0 to 1.
    pub kept_local: f64,
    /// The bound on the expected share of wrong local decisions, 0 to 1: requests that stay although only the cloud is right.
    pub false_local_bound: f64,
}

/// Held-out scores, reduced to quantiles.
///
/// The bound on wrong local decisions is conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster 2022, equation 4). A wrong
/// local decision costs 1, and the mean cost grows with the threshold. If `k` of `n` exchangeable held-out requests are wrong local
/// decisions, the expected cost of the next request is at most `(k + 1) / (n + 1)`. The scores are those of the folds' models, so the
/// bound holds for the final model as far as it orders requests like them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The number of held-out requests.
    requests: u32,
    /// Scores, ascending: quantiles of the held-out scores, and one above them all.
    gains: Vec<f32>,
    /// The requests below each of them.
    kept: Vec<u32>,
    /// The wrong local decisions among those.
    wrong: Vec<u32>,
}

impl Calibration {
    /// Reduces scores with whether only the cloud is right.
    #[must_use]
    pub fn of(scores: &[f32], needs_cloud: &[bool]) -> Self {
        let mut rows: Vec<(f32, bool)> = scores.iter().copied().zip(needs_cloud.iter().copied()).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut out = Self { requests: rows.len() as u32, ..Self::default() };
        let Some((last, _)) = rows.last() else { return out };
        let mut cuts: Vec<f32> = (0..STEPS).map(|step| rows[step * rows.len() / STEPS].0).collect();
        cuts.push(last.next_up());
        cuts.dedup();
        for cut in cuts {
            let below = rows.partition_point(|(score, _)| *score < cut);
            out.gains.push(cut);
            out.kept.push(below as u32);
            out.wrong.push(rows[..below].iter().filter(|(_, needs)| *needs).count() as u32);
        }
        out
    }

    /// Returns `true` if the table is one that [`Calibration::of`] could have made.
    pub(super) fn is_valid(&self) -> bool {
        let n = self.gains.len();
        n > 0
            && self.kept.len() == n
            && self.wrong.len() == n
            && self.gains.iter().all(|gain| gain.is_finite())
            && self.gains.is_sorted()
            && self.kept.is_sorted()
            && self.wrong.is_sorted()
            && self.kept.iter().zip(&self.wrong).all(|(kept, wrong)| wrong <= kept && *kept <= self.requests)
    }

    /// Returns the number of held-out requests.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Finds the threshold for a target: for a share the smallest that keeps at least as many, for a bound the largest that holds it.
    /// All requests go to the cloud if no threshold holds it.
    #[must_use]
    pub fn threshold(&self, target: Target) -> Threshold {
        let at = match target {
            Target::Gain(gain) => {
                // The first quantile at or above the threshold never keeps fewer requests than it.
                let at = self.gains.partition_point(|cut| *cut < gain);
                return Threshold { gain, ..self.entry(at.min(self.gains.len().saturating_sub(1))) };
            }
            Target::KeepLocal(share) => {
                let wanted = share * f64::from(self.requests);
                self.kept.iter().position(|kept| f64::from(*kept) >= wanted).or(self.kept.len().checked_sub(1))
            }
            Target::MaxFalseLocal(limit) => self.wrong.iter().rposition(|wrong| self.bound(*wrong) <= limit),
        };
        at.map_or(Threshold { gain: f32::MIN, kept_local: 0.0, false_local_bound: 0.0 }, |at| self.entry(at))
    }

    fn entry(&self, at: usize) -> Threshold {
        let count = |list: &[u32]| list.get(at).copied().unwrap_or(0);
        Threshold {
            gain: self.gains.get(at).copied().unwrap_or(f32::MIN),
            kept_local: f64::from(count(&self.kept)) / f64::from(self.requests.max(1)),
            false_local_bound: self.bound(count(&self.wrong)),
        }
    }

    fn bound(&self, wrong: u32) -> f64 {
        (f64::from(wrong) + 1.0) / (f64::from(self.requests) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::Random;
    use super::*;

    #[test]
    fn thresholds_hit_their_targets() {
        let scores: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let needs: Vec<bool> = (0..1000).map(|i| i % 10 == 0).collect();
        let calibration = Calibration::of(&scores, &needs);
        assert!(calibration.is_valid());
        let kept = calibration.threshold(Target::KeepLocal(0.75));
        assert!((0.75..0.76).contains(&kept.kept_local) && (kept.gain - 0.75).abs() < 0.01, "{kept:?}");
        let bounded = calibration.threshold(Target::MaxFalseLocal(0.05));
        assert!((0.47..=0.5).contains(&bounded.kept_local) && bounded.false_local_bound <= 0.05, "{bounded:?}");
        let given = calibration.threshold(Target::Gain(0.5));
        assert!(given.gain == 0.5 && (0.5..0.51).contains(&given.kept_local));
        assert_eq!(calibration.threshold(Target::KeepLocal(1.0)).kept_local, 1.0);
        assert_eq!(calibration.threshold(Target::KeepLocal(0.0)).kept_local, 0.0);
        let impossible = calibration.threshold(Target::MaxFalseLocal(0.0));
        assert_eq!((impossible.gain, impossible.kept_local), (f32::MIN, 0.0));
    }

    /// Over many draws, the mean share of wrong local decisions stays below the limit.
    #[test]
    fn the_bound_holds_on_average() {
        let mut random = Random::new(11);
        let mut draw = |n: usize| {
            let row = |random: &mut Random| {
                let score = random.below(10_000) as f32 / 10_000.0;
                (score, (random.below(10_000) as f32) < 4000.0 * score)
            };
            (0..n).map(|_| row(&mut random)).unzip::<f32, bool, Vec<f32>, Vec<bool>>()
        };
        let mut wrong = 0;
        for _ in 0..200 {
            let (scores, needs) = draw(300);
            let threshold = Calibration::of(&scores, &needs).threshold(Target::MaxFalseLocal(0.08));
            let (scores, needs) = draw(100);
            wrong += scores.iter().zip(&needs).filter(|(score, needs)| **score < threshold.gain && **needs).count();
        }
        let share = wrong as f64 / 20_000.0;
        assert!((0.05..=0.083).contains(&share), "{share}");
    }
}
