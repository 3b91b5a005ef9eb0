//! The comparison of two models that are both in memory, for platforms without a disk.

use std::ops::Range;

use honelm_backend::{Batch, Parent, SequenceId, Token, Want};
use honelm_model::Runner;

use crate::scores::per_row;
use crate::{Comparison, EvalError, Window, rows};

/// Runs the original and a candidate over `windows`, in steps of at most `step_rows` rows, without blocking a thread.
/// `progress` is called before the first and after every window with the comparison so far, and stops the run by returning
/// `false`.
///
/// # Errors
/// An error of a model, logits that are not finite, [`EvalError::Interrupted`].
pub async fn compare_beside(
    base: &mut dyn Runner,
    candidate: &mut dyn Runner,
    windows: &[Window],
    step_rows: usize,
    progress: &mut dyn FnMut(&Comparison) -> bool,
) -> Result<Comparison, EvalError> {
    let mut result = Comparison::default();
    for (w, window) in windows.iter().enumerate() {
        if !progress(&result) {
            return Err(EvalError::Interrupted);
        }
        let sequences = [base.open(), candidate.open()];
        let pairs = pairs_of(base, candidate, sequences, window, step_rows.max(1)).await;
        base.close(sequences[0])?;
        candidate.close(sequences[1])?;
        result.push(w, window, &pairs?)?;
    }
    progress(&result);
    Ok(result)
}

async fn pairs_of(
    base: &mut dyn Runner,
    candidate: &mut dyn Runner,
    sequences: [SequenceId; 2],
    window: &Window,
    step_rows: usize,
) -> Result<Vec<rows::Pair>, EvalError> {
    let mut pairs = Vec::with_capacity(window.scored.len());
    let steps = |range: Range<usize>, want| {
        let end = range.end;
        range.step_by(step_rows).map(move |first| (first..end.min(first + step_rows), want))
    };
    let unscored = steps(0..window.scored.start, Want::NOTHING);
    for (positions, want) in unscored.chain(steps(window.scored.clone(), Want::LOGITS)) {
        let [of_base, of_candidate] = sequences.map(|sequence| {
            let mut batch = Batch::default();
            for &token in &window.tokens[positions.clone()] {
                batch.push(sequence, Token::Id(token), Parent::Previous, want);
            }
            batch
        });
        // Both steps begin before the first is read, so that two devices work in parallel.
        let (base_ticket, ticket) = (base.step(&of_base)?, candidate.step(&of_candidate)?);
        let base_logits = base.read(base_ticket).await?.logits;
        let logits = candidate.read(ticket).await?.logits;
        let first = positions.start.saturating_sub(window.scored.start);
        let pair = |i| rows::pair(base_logits.row(i), logits.row(i), window.target(first + i));
        pairs.extend(per_row(0..base_logits.rows.min(logits.rows), pair));
    }
    Ok(pairs)
}
