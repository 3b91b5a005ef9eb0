use honelm_backend::{Batch, Parent, Token, Want, block_on};
use honelm_model::Runner;
use honelm_tensor::Matrix;

use crate::{EvalError, Window, rows};

/// Rows whose logits are in memory at a time.
const LOGIT_ROWS: usize = 64;

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

/// Runs `runner` over `windows`. `keep` receives the final hidden states of each window's scored positions
/// `[positions, D]`; `progress` the number of finished windows, and stops the run by returning false.
pub fn score(
    runner: &mut dyn Runner,
    windows: &[Window],
    keep: &mut dyn FnMut(&Matrix) -> Result<(), EvalError>,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Scores, EvalError> {
    let mut scores = Scores::default();
    for (w, window) in windows.iter().enumerate() {
        if !progress(w) {
            return Err(EvalError::Interrupted);
        }
        let hidden = hidden_states(runner, window)?;
        keep(&hidden)?;
        let mut nll = Vec::with_capacity(hidden.rows);
        for_logits(runner, &hidden, &mut |first, logits| {
            let positions = first..first + logits.rows;
            nll.extend(per_row(positions, |i| rows::nll(logits.row(i - first), window.target(i)) as f32));
            Ok(())
        })?;
        check_finite(w, window, &nll)?;
        scores.nll.push(nll);
    }
    progress(windows.len());
    Ok(scores)
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

/// Final hidden states of a window's scored positions. // [positions, D]
pub(crate) fn hidden_states(runner: &mut dyn Runner, window: &Window) -> Result<Matrix, EvalError> {
    let sequence = runner.open();
    let mut batch = Batch::default();
    for (p, &token) in window.tokens[..window.scored.end].iter().enumerate() {
        let want = if window.scored.contains(&p) { Want::HIDDEN } else { Want::NOTHING };
        batch.push(sequence, Token::Id(token), Parent::Previous, want);
    }
    let output = runner.step(&batch).and_then(|ticket| block_on(runner.read(ticket)));
    runner.close(sequence)?;
    Ok(output?.hidden)
}

/// Gives the logits of `hidden` to `f` in chunks: (first row, logits).
pub(crate) fn for_logits(
    runner: &mut dyn Runner,
    hidden: &Matrix,
    f: &mut dyn FnMut(usize, &Matrix) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    for first in (0..hidden.rows).step_by(LOGIT_ROWS) {
        let logits = runner.logits(&chunk(hidden, first))?;
        f(first, &logits)?;
    }
    Ok(())
}

/// The rows of `hidden` from `first` on that are handled together.
pub(crate) fn chunk(hidden: &Matrix, first: usize) -> Matrix {
    let rows = LOGIT_ROWS.min(hidden.rows - first);
    let data = hidden.data[first * hidden.cols..(first + rows) * hidden.cols].to_vec();
    Matrix::new(rows, hidden.cols, data)
}

/// `f` of every row, on all processors, in order.
pub(crate) fn per_row<T: Send + Copy>(rows: std::ops::Range<usize>, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(rows.len().max(1));
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
