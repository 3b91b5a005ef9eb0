//! Pure functions over one row of logits.

use std::collections::HashMap;

use crate::{Generation, TokenLogprobs};

/// Adds biases; ids outside of the vocabulary are passed over.
pub fn apply_bias(logits: &mut [f32], bias: &[(u32, f32)]) {
    for &(id, value) in bias {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit += value;
        }
    }
}

/// Applies the repetition, frequency and presence penalties for the last `repeat_last_n` tokens of `history`.
pub fn apply_penalties(logits: &mut [f32], history: &[u32], g: &Generation) {
    if g.repeat_penalty == 1.0 && g.frequency_penalty == 0.0 && g.presence_penalty == 0.0 {
        return;
    }
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for &id in &history[history.len().saturating_sub(g.repeat_last_n)..] {
        *counts.entry(id).or_default() += 1;
    }
    for (id, count) in counts {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit > 0.0 { *logit / g.repeat_penalty } else { *logit * g.repeat_penalty };
            *logit -= count as f32 * g.frequency_penalty + g.presence_penalty;
        }
    }
}

/// Log-probabilities of `token` and of the `top` most likely tokens.
#[must_use]
pub fn logprobs(logits: &[f32], token: u32, top: usize) -> TokenLogprobs {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    let normaliser = max + sum.ln() as f32;
    let mut best: Vec<u32> = (0..logits.len() as u32).collect();
    let falling = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let top = top.min(best.len());
    if top < best.len() {
        best.select_nth_unstable_by(top, falling);
        best.truncate(top);
    }
    best.sort_unstable_by(falling);
    let of = |id: u32| logits[id as usize] - normaliser;
    TokenLogprobs { token, logprob: of(token), top: best.into_iter().map(|id| (id, of(id))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_are_those_of_their_definitions() {
        let g = Generation {
            repeat_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            repeat_last_n: 3,
            ..Generation::default()
        };
        let mut logits = [4.0, -4.0, 1.0, 1.0];
        apply_penalties(&mut logits, &[3, 0, 1, 0], &g);
        assert_eq!(logits, [2.0 - 1.0 - 0.25, -8.0 - 0.5 - 0.25, 1.0, 1.0]);
        let mut untouched = [4.0, -4.0];
        apply_penalties(&mut untouched, &[0, 1], &Generation::default());
        assert_eq!(untouched, [4.0, -4.0]);
    }

    #[test]
    fn bias_passes_over_ids_outside_of_the_vocabulary() {
        let mut logits = [0.0, 1.0];
        apply_bias(&mut logits, &[(1, -2.0), (9, 5.0)]);
        assert_eq!(logits, [0.0, -1.0]);
    }

    #[test]
    fn logprobs_sum_to_one_and_fall() {
        let logits = [1.0f32, 3.0, 2.0, 3.0];
        let found = logprobs(&logits, 2, 4);
        let total: f32 = found.top.iter().map(|(_, p)| p.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5);
        assert_eq!(found.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 2, 0]);
        assert!((found.logprob - found.top[2].1).abs() < 1e-7);
        assert_eq!(logprobs(&logits, 0, 2).top.len(), 2);
    }
}
