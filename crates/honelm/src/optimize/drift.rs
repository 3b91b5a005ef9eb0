//! The distance of a user's own text from the calibration text.

use std::collections::HashMap;

use honelm_eval::{perplexity, score};
use honelm_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::Report;
use super::state::Job;
use crate::device::load;
use crate::{Error, Event, Events, TextSource};

/// The most chunks of the calibration text that the original is scored on.
const MOST_CHUNKS: usize = 32;

/// The distance of the held-out text from the calibration text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The Jensen-Shannon divergence of the tokens of both texts in bits: 0 if all tokens are as frequent in one as in the
    /// other, 1 if no token occurs in both. // Lin 1991, equation 4.1, with equal weights
    pub divergence_bits: f64,
    /// The same between two halves of the calibration text, from as many tokens: what chance alone gives.
    pub scale_bits: f64,
    /// The number of tokens of each side.
    pub tokens: usize,
    /// The original's perplexity on the held-out text.
    pub text_perplexity: f64,
    /// The original's perplexity on the calibration text, by the same protocol; `None` if it is too short.
    pub calibration_perplexity: Option<f64>,
}

impl Drift {
    /// Returns the distance in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { divergence_bits, scale_bits, tokens, text_perplexity, calibration_perplexity } = self;
        let of_calibration =
            calibration_perplexity.map_or_else(String::new, |p| format!(" and {p:.2} on the calibration text"));
        format!(
            "Drift: the tokens of the held-out text differ from those of the calibration text by {divergence_bits:.3} bits \
             (Jensen-Shannon, {tokens} tokens each), two halves of the calibration text by {scale_bits:.3}; the original's \
             perplexity is {text_perplexity:.2} on the held-out text{of_calibration}."
        )
    }
}

impl Report {
    /// Returns the distance of the held-out text from the calibration text in one sentence, if a text was given.
    #[must_use]
    pub fn drift_sentence(&self) -> Option<String> {
        self.drift.as_ref().map(Drift::sentence)
    }
}

/// Returns the Jensen-Shannon divergence of the tokens of two sequences in bits.
fn divergence(a: &[u32], b: &[u32]) -> f64 {
    let mut counts: HashMap<u32, [f64; 2]> = HashMap::new();
    for (side, tokens) in [a, b].into_iter().enumerate() {
        for &token in tokens {
            counts.entry(token).or_default()[side] += 1.0 / tokens.len() as f64;
        }
    }
    // Summed in the order of the tokens, so that every run gives the same bits.
    let mut shares: Vec<(u32, [f64; 2])> = counts.into_iter().collect();
    shares.sort_unstable_by_key(|(token, _)| *token);
    let term = |p: f64, mean: f64| if p > 0.0 { 0.5 * p * (p / mean).log2() } else { 0.0 };
    shares.iter().map(|(_, [p, q])| term(*p, f64::midpoint(*p, *q)) + term(*q, f64::midpoint(*p, *q))).sum()
}

/// Returns `count` tokens that are spread evenly over a sequence.
fn spread(tokens: &[u32], count: usize) -> Vec<u32> {
    (0..count).map(|at| tokens[at * tokens.len() / count]).collect()
}

/// Returns the divergence of a text from calibration samples, that of two halves of the samples, and the number of tokens
/// of each side; `None` for less than two samples or no text.
fn distances(samples: &[Vec<u32>], text: &[u32]) -> Option<(f64, f64, usize)> {
    let half = |rest: usize| samples.iter().skip(rest).step_by(2).flatten().copied().collect::<Vec<u32>>();
    let halves = [half(0), half(1)];
    // A divergence of samples is too large by an amount that falls with their size, so all sides have the same size.
    let count = halves.iter().map(Vec::len).min()?.min(text.len());
    if count == 0 {
        return None;
    }
    let [a, b] = halves.map(|half| spread(&half, count));
    let text = spread(text, count);
    Some((f64::midpoint(divergence(&text, &a), divergence(&text, &b)), divergence(&a, &b), count))
}

impl Job<'_> {
    /// Measures how far the user's own text lies from the calibration text. `None` if the shipped text judges.
    pub(super) fn drift(&self, text_perplexity: f64, events: Events<'_>) -> Result<Option<Drift>, Error> {
        if self.options.text == TextSource::Shipped {
            return Ok(None);
        }
        if let Some(drift) = self.saved("drift")? {
            return Ok(Some(drift));
        }
        let samples = &self.plan.calibrations[self.calibration].calibration.samples;
        let Some((divergence_bits, scale_bits, tokens)) = distances(samples, &self.plan.heldout.tokens) else {
            return Ok(None);
        };
        let calibration_perplexity = self.calibration_perplexity(&self.plan.tokenizer, samples, events)?;
        let drift = Drift { divergence_bits, scale_bits, tokens, text_perplexity, calibration_perplexity };
        Ok(Some(self.save("drift", &drift)?))
    }

    /// Scores the original on the calibration samples by the protocol of the evaluation.
    fn calibration_perplexity(
        &self,
        tokenizer: &Tokenizer,
        samples: &[Vec<u32>],
        events: Events<'_>,
    ) -> Result<Option<f64>, Error> {
        let tokens = samples.concat();
        let Ok(mut chunks) = self.plan.heldout.protocol.chunks(&tokens, tokenizer.leading_bos(), self.plan.context)
        else {
            return Ok(None);
        };
        chunks.truncate(MOST_CHUNKS);
        let mut runner = load(self.checkpoint, &self.options.run, &mut *events)?;
        let total = chunks.len();
        let name = "original: scoring the calibration text";
        let progress = &mut |done| events(&Event::Stage { name, detail: "", done, total });
        let scores = score(&mut runner, &chunks, &mut |_| Ok(()), progress)?;
        self.checkpoint.check_unchanged()?;
        Ok(Some(perplexity(&scores).value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_divergence_and_disjoint_ones_a_bit() {
        assert!(divergence(&[1, 2, 3, 3], &[3, 1, 3, 2]).abs() < 1e-12);
        assert!((divergence(&[1, 2], &[3, 4, 5]) - 1.0).abs() < 1e-12);
        // scipy.spatial.distance.jensenshannon([0.5, 0.5], [0.25, 0.75], base=2) ** 2
        assert!((divergence(&[1, 2], &[1, 2, 2, 2]) - 0.048_794_940_695_398_5).abs() < 1e-12);
    }

    #[test]
    fn a_text_like_the_calibration_lies_as_close_as_its_halves() {
        let drawn = |seed: u64, n: usize, shift: u32| -> Vec<u32> {
            let mut state = seed;
            let next = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) % 50) as u32 + shift
            };
            (0..n).map(next).collect()
        };
        let samples: Vec<Vec<u32>> = (0..20).map(|i| drawn(i + 1, 200, 0)).collect();
        let (same, scale, tokens) = distances(&samples, &drawn(99, 5000, 0)).expect("tokens");
        assert_eq!(tokens, 2000);
        assert!(same < 2.0 * scale && scale < 0.02, "{same} {scale}");
        let (other, again, _) = distances(&samples, &drawn(99, 5000, 25)).expect("tokens");
        assert!(other > 0.4 && (again - scale).abs() < 1e-12, "{other}");
        assert_eq!(distances(&samples[..1], &[1, 2, 3]), None);
        assert_eq!(distances(&samples, &[]), None);
    }
}
