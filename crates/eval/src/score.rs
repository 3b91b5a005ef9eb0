//! The scores of one model. Waits for the back end, which is not possible in browsers.

use honelm_backend::{Batch, Parent, SequenceId, Token, Want, block_on};
use honelm_model::{ModelError, Runner};
use honelm_tensor::Matrix;

use crate::scores::{check_finite, per_row};
use crate::{Chunk, EvalError, Scores, rows};

/// Runs a model over `chunks`. `keep` receives the final hidden states of each chunk's scored positions
/// `[positions, D]`. `progress` receives the number of finished chunks, and stops the run by returning `false`.
///
/// # Errors
/// An error of the model or of `keep`, logits that are not finite, [`EvalError::Interrupted`].
pub fn score(
    runner: &mut dyn Runner,
    chunks: &[Chunk],
    keep: &mut dyn FnMut(&Matrix) -> Result<(), EvalError>,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Scores, EvalError> {
    let mut scores = Scores::default();
    for (w, chunk) in chunks.iter().enumerate() {
        if !progress(w) {
            return Err(EvalError::Interrupted);
        }
        let hidden = hidden_states(runner, chunk)?;
        keep(&hidden)?;
        let mut nll = Vec::with_capacity(hidden.rows);
        for_logits(runner, &hidden, &mut |first, logits| {
            let positions = first..first + logits.rows;
            nll.extend(per_row(positions, |i| rows::nll(logits.row(i - first), chunk.target(i)) as f32));
            Ok(())
        })?;
        check_finite(w, chunk, &nll)?;
        scores.nll.push(nll);
    }
    progress(chunks.len());
    Ok(scores)
}

/// Computes the final hidden states of a chunk's scored positions. // [positions, D]
pub(crate) fn hidden_states(runner: &mut dyn Runner, chunk: &Chunk) -> Result<Matrix, EvalError> {
    let sequence = runner.open();
    let hidden = run_chunk(runner, sequence, chunk);
    runner.close(sequence)?;
    Ok(hidden?)
}

fn run_chunk(runner: &mut dyn Runner, sequence: SequenceId, chunk: &Chunk) -> Result<Matrix, ModelError> {
    let mut hidden = Matrix::default();
    let positions: Vec<usize> = (0..chunk.scored.end).collect();
    for part in positions.chunks(runner.step_rows()) {
        let mut batch = Batch::default();
        for &p in part {
            let want = if chunk.scored.contains(&p) { Want::HIDDEN } else { Want::NOTHING };
            batch.push(sequence, Token::Id(chunk.tokens[p]), Parent::Previous, want);
        }
        let ticket = runner.step(&batch)?;
        let rows = block_on(runner.read(ticket))?.hidden;
        if hidden.rows == 0 {
            hidden = rows;
        } else {
            hidden.rows += rows.rows;
            hidden.data.extend(rows.data);
        }
    }
    Ok(hidden)
}

/// Computes the logits of `hidden`, a slice of rows at a time, and calls `f` with the first row and the logits of each.
pub(crate) fn for_logits(
    runner: &mut dyn Runner,
    hidden: &Matrix,
    f: &mut dyn FnMut(usize, &Matrix) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let at_once = runner.facts().output_rows();
    for first in (0..hidden.rows).step_by(at_once) {
        let logits = runner.logits(&slice(hidden, first, at_once))?;
        f(first, &logits)?;
    }
    Ok(())
}

/// Returns at most `most` rows of `hidden`, from `first` on.
pub(crate) fn slice(hidden: &Matrix, first: usize, most: usize) -> Matrix {
    let rows = most.min(hidden.rows - first);
    let data = hidden.data[first * hidden.cols..(first + rows) * hidden.cols].to_vec();
    Matrix::new(rows, hidden.cols, data)
}
