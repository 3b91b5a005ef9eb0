//! Scores and perplexity, and the functions that all kinds of scoring share.

use crate::{Chunk, EvalError};

/// The scores of one model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scores {
    /// The negative log-likelihoods of the scored positions. // nats, one list per chunk
    pub nll: Vec<Vec<f32>>,
}

/// A perplexity with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// The perplexity, exp(mean negative log-likelihood).
    pub value: f64,
    /// The standard error by the delta method, from the variance over tokens, as llama.cpp computes it
    /// (`tools/perplexity/perplexity.cpp`).
    pub stderr: f64,
    /// The number of scored tokens.
    pub tokens: usize,
}

/// Computes the perplexity over all scored positions (Jelinek et al. 1977).
#[must_use]
pub fn perplexity(scores: &Scores) -> Perplexity {
    let (mut n, mut sum, mut squares) = (0usize, 0f64, 0f64);
    for &x in scores.nll.iter().flatten() {
        n += 1;
        sum += f64::from(x);
        squares += f64::from(x) * f64::from(x);
    }
    let mean = sum / n as f64;
    let variance = (squares / n as f64 - mean * mean).max(0.0);
    let value = mean.exp();
    Perplexity { value, stderr: value * (variance / (n as f64 - 1.0)).sqrt(), tokens: n }
}

impl Chunk {
    /// Returns the target of scored position `i`, counted from the first scored one.
    pub(crate) fn target(&self, i: usize) -> u32 {
        self.tokens[self.scored.start + i + 1]
    }
}

/// Calls `f` for every row, on all CPUs, and returns the results in order.
pub(crate) fn per_row<T: Send + Copy>(rows: std::ops::Range<usize>, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(rows.len().max(1));
    if threads == 1 {
        return rows.map(f).collect();
    }
    let share = rows.len().div_ceil(threads).max(1);
    let f = &f;
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|t| {
                let part = (rows.start + t * share).min(rows.end)..(rows.start + (t + 1) * share).min(rows.end);
                scope.spawn(move || part.map(f).collect::<Vec<T>>())
            })
            .collect();
        parts.into_iter().flat_map(|p| p.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

pub(crate) fn check_finite(w: usize, chunk: &Chunk, nll: &[f32]) -> Result<(), EvalError> {
    match nll.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(EvalError::NotFinite { chunk: w, position: chunk.scored.start + i }),
        None => Ok(()),
    }
}
