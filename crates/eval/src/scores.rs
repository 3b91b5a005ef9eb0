//! What scoring gives, and what all ways of scoring share.

use crate::{EvalError, Window};

/// Negative log-likelihoods of one model. // nats
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scores {
    /// One list a window, one value a scored position.
    pub nll: Vec<Vec<f32>>,
}

/// A perplexity with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// exp(mean negative log-likelihood).
    pub value: f64,
    /// Standard error, from the spread of the tokens' likelihoods as llama.cpp computes it.
    pub stderr: f64,
    /// Scored tokens.
    pub tokens: usize,
}

/// Perplexity over all scored positions.
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

impl Window {
    /// The token that scored position `i` (counted from the first scored one) predicts.
    pub(crate) fn target(&self, i: usize) -> u32 {
        self.tokens[self.scored.start + i + 1]
    }
}

/// `f` of every row, on all processors, in order.
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

pub(crate) fn check_finite(w: usize, window: &Window, nll: &[f32]) -> Result<(), EvalError> {
    match nll.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(EvalError::NotFinite { window: w, position: window.scored.start + i }),
        None => Ok(()),
    }
}
