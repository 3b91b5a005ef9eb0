use std::cmp::Ordering;

use crate::{BackendError, TokenMask, uniform};

/// The settings for sampling a token from logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The temperature. 0 is greedy: the most likely token, or the lowest id among equals.
    pub temperature: f32,
    /// The number of most likely tokens to keep; 0 keeps all.
    pub top_k: u32,
    /// The probability that the smallest set of most likely tokens to keep must reach; 1 keeps all.
    pub top_p: f32,
    /// The smallest probability to keep, relative to the most likely token; 0 keeps all.
    pub min_p: f32,
    /// The seed of the draws.
    pub seed: u64,
    /// The user's own number of the sequence, so that a draw does not depend on what else runs.
    pub stream: u64,
}

impl Sampling {
    /// Greedy settings, which choose the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0, stream: 0 };
}

impl Default for Sampling {
    fn default() -> Self {
        Self::GREEDY
    }
}

/// A token that may be drawn. Its weight is proportional to its probability.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    weight: f64,
}

/// Orders by likelihood, most likely first, and equals by id.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Draws a token for the row at `position` of its sequence. The token takes `position + 1`.
///
/// The filters apply in this order: temperature, top-k, top-p (on the probabilities among the kept k), min-p. Each
/// keeps the most likely tokens, with the lower id first among equals. The result is the first kept token, in the
/// order of ids, whose cumulative probability exceeds `uniform(seed, stream, position, 0)`. The same arguments give
/// the same token.
///
/// A NaN logit is never chosen; if all are NaN, the token is 0. The choice is greedy if the largest logit is
/// infinite or the temperature is not above 0.
#[must_use]
pub fn choose(logits: &[f32], how: &Sampling, position: u64) -> u32 {
    let (best, max) = most_likely(logits);
    let is_greedy = how.temperature.is_nan() || how.temperature <= 0.0 || how.top_k == 1;
    if is_greedy || !max.is_finite() {
        return best;
    }
    let draw = f64::from(uniform(how.seed, how.stream, position, 0));
    let weight = |logit: f32| f64::from(((logit - max) / how.temperature).exp());
    let limited = how.top_k > 0 && (how.top_k as usize) < logits.len();
    let nucleus = how.top_p < 1.0;
    if !limited && !nucleus {
        return draw_by_id(logits, draw, |logit| keep_min_p(weight(logit), how.min_p));
    }
    let mut kept: Vec<Candidate>;
    if limited {
        kept = most_likely_k(logits, how.top_k as usize);
        kept.iter_mut().for_each(|c| c.weight = weight(c.logit));
        if nucleus {
            let total = kept.iter().map(|c| c.weight).sum();
            keep_nucleus(&mut kept, how.top_p, total);
        }
    } else {
        let weights: Vec<f64> = logits.iter().map(|&logit| weight(logit)).collect();
        let total: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        // Tokens below this weight hold less than 1 - top_p together, so the nucleus can omit them.
        let low = (1.0 - f64::from(how.top_p)).max(0.0) * total / logits.len() as f64 * 0.999;
        let all = logits.iter().zip(weights).enumerate();
        kept = all
            .filter(|(_, (_, weight))| *weight > 0.0 && *weight >= low)
            .map(|(id, (&logit, weight))| Candidate { id: id as u32, logit, weight })
            .collect();
        keep_nucleus(&mut kept, how.top_p, total);
    }
    kept.retain(|c| keep_min_p(c.weight, how.min_p) > 0.0);
    kept.sort_unstable_by_key(|c| c.id);
    let target = draw * kept.iter().map(|c| c.weight).sum::<f64>();
    first_above(kept.iter().map(|c| (c.id, c.weight)), target).unwrap_or(best)
}

/// Draws as [`choose`] does among the tokens of a set. The others are left out before all filters, so top-k keeps the k
/// most likely allowed tokens, and top-p and min-p refer to the probabilities among the allowed ones.
///
/// The same draw decides: where all tokens that `choose` keeps are allowed and no other ones become kept, the token is the
/// same.
///
/// # Errors
/// [`BackendError::NoAllowedToken`] if no allowed token has a logit above -∞.
pub fn choose_allowed(logits: &[f32], allowed: &TokenMask, how: &Sampling, position: u64) -> Result<u32, BackendError> {
    let mut logits = logits.to_vec();
    allowed.apply(&mut logits)?;
    Ok(choose(&logits, how, position))
}

/// Returns the largest logit and the lowest id that has it, or `(0, NaN)` if all are NaN.
fn most_likely(logits: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NAN);
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.1 || (best.1.is_nan() && !logit.is_nan()) {
            best = (id as u32, logit);
        }
    }
    best
}

/// Returns the `k` most likely tokens in any order, without weights.
fn most_likely_k(logits: &[f32], k: usize) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::with_capacity(logits.len().min(4 * k));
    let cut = |kept: &mut Vec<Candidate>| {
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, by_likelihood);
            kept.truncate(k);
        }
    };
    // A logit at or below the k-th best so far cannot be among the best, because equals with a higher id come later.
    let mut threshold = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > threshold {
            kept.push(Candidate { id: id as u32, logit, weight: 0.0 });
            if kept.len() >= 4 * k {
                cut(&mut kept);
                threshold = kept[k - 1].logit;
            }
        }
    }
    cut(&mut kept);
    kept
}

/// Returns the weight, or 0 if it is below `min_p` times the largest weight, which is 1.
fn keep_min_p(weight: f64, min_p: f32) -> f64 {
    if weight < f64::from(min_p).min(1.0) { 0.0 } else { weight }
}

/// Keeps the most likely candidates until they hold `top_p` of `total`, but at least one.
fn keep_nucleus(kept: &mut Vec<Candidate>, top_p: f32, total: f64) {
    let wanted = f64::from(top_p) * total;
    let (mut sum, mut done, mut size) = (0.0, 0, 64);
    // Sorts only as much as necessary: the next 64 most likely ones, then 256, and so on.
    while done < kept.len() {
        let rest = &mut kept[done..];
        let part = size.min(rest.len());
        if part < rest.len() {
            rest.select_nth_unstable_by(part, by_likelihood);
        }
        rest[..part].sort_unstable_by(by_likelihood);
        for (i, candidate) in rest[..part].iter().enumerate() {
            sum += candidate.weight;
            if sum >= wanted {
                kept.truncate(done + i + 1);
                return;
            }
        }
        done += part;
        size *= 4;
    }
}

/// Draws among all tokens without sorting or copying them.
fn draw_by_id(logits: &[f32], draw: f64, weight: impl Fn(f32) -> f64) -> u32 {
    const CHUNK: usize = 1024;
    let sums: Vec<f64> = logits.chunks(CHUNK).map(|part| positive(part, &weight).map(|(_, w)| w).sum()).collect();
    let mut target = draw * sums.iter().sum::<f64>();
    let mut last = 0;
    for (i, (part, sum)) in logits.chunks(CHUNK).zip(sums).enumerate() {
        if target < sum
            && let Some(id) = first_above(positive(part, &weight), target)
        {
            return (i * CHUNK) as u32 + id;
        }
        if sum > 0.0 {
            last = i;
        }
        target -= sum;
    }
    // Rounding moved the target past the end, so the result is the last token that can be drawn.
    let part = logits.chunks(CHUNK).nth(last).unwrap_or_default();
    (last * CHUNK) as u32 + positive(part, &weight).last().map_or(0, |(id, _)| id)
}

/// Returns the ids and weights of the tokens of `part` that can be drawn. A NaN is not a positive weight.
fn positive<'a>(part: &'a [f32], weight: &'a impl Fn(f32) -> f64) -> impl Iterator<Item = (u32, f64)> + 'a {
    part.iter().enumerate().map(|(id, &logit)| (id as u32, weight(logit))).filter(|&(_, w)| w > 0.0)
}

/// Returns the first token whose cumulative weight exceeds `target`, or the last one if rounding leaves none.
fn first_above(weights: impl Iterator<Item = (u32, f64)>, target: f64) -> Option<u32> {
    let (mut sum, mut last) = (0.0, None);
    for (id, weight) in weights {
        sum += weight;
        last = Some(id);
        if sum > target {
            break;
        }
    }
    last
}

#[cfg(test)]
#[path = "sampling_tests.rs"]
mod tests;
