//! A model alone. It waits for the back end, which threads in browsers must not.

use honelm_backend::{Batch, Parent, Token, Want, block_on};
use honelm_model::Runner;
use honelm_tensor::Matrix;

use crate::scores::{check_finite, per_row};
use crate::{EvalError, Scores, Window, rows};

/// Rows whose logits are in memory at a time.
const LOGIT_ROWS: usize = 64;

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
