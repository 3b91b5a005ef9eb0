//! The comparison of two models that are both in memory, for platforms without a disk.

use std::ops::Range;

use honelm_backend::{Batch, Parent, SequenceId, Token, Want};
use honelm_model::Runner;

use crate::scores::per_row;
use crate::{Chunk, Comparison, EvalError, rows};

/// Runs the original and a candidate over `chunks`, in steps of at most `step_rows` rows, without blocking a thread.
/// `progress` is called before the first and after every chunk with the comparison so far, and stops the run by returning
/// `false`.
///
/// # Errors
/// An error of a model, logits that are not finite, [`EvalError::Interrupted`].
pub async fn compare_beside(
    base: &mut dyn Runner,
    candidate: &mut dyn Runner,
    chunks: &[Chunk],
    step_rows: usize,
    progress: &mut dyn FnMut(&Comparison) -> bool,
) -> Result<Comparison, EvalError> {
    let mut result = Comparison::default();
    for (w, chunk) in chunks.iter().enumerate() {
        if !progress(&result) {
            return Err(EvalError::Interrupted);
        }
        let sequences = [base.open(), candidate.open()];
        let pairs = pairs_of(base, candidate, sequences, chunk, step_rows.max(1)).await;
        base.close(sequences[0])?;
        candidate.close(sequences[1])?;
        result.push(w, chunk, &pairs?)?;
    }
    progress(&result);
    Ok(result)
}

async fn pairs_of(
    base: &mut dyn Runner,
    candidate: &mut dyn Runner,
    sequences: [SequenceId; 2],
    chunk: &Chunk,
    step_rows: usize,
) -> Result<Vec<rows::Pair>, EvalError> {
    let mut pairs = Vec::with_capacity(chunk.scored.len());
    let steps = |range: Range<usize>, want| {
        let end = range.end;
        range.step_by(step_rows).map(move |first| (first..end.min(first + step_rows), want))
    };
    let unscored = steps(0..chunk.scored.start, Want::NOTHING);
    for (positions, want) in unscored.chain(steps(chunk.scored.clone(), Want::LOGITS)) {
        let [of_base, of_candidate] = sequences.map(|sequence| {
            let mut batch = Batch::default();
            for &token in &chunk.tokens[positions.clone()] {
                batch.push(sequence, Token::Id(token), Parent::Previous, want);
            }
            batch
        });
        // Both steps begin before the first is read, so that two devices work in parallel.
        let (base_ticket, ticket) = (base.step(&of_base)?, candidate.step(&of_candidate)?);
        let base_logits = base.read(base_ticket).await?.logits;
        let logits = candidate.read(ticket).await?.logits;
        let first = positions.start.saturating_sub(chunk.scored.start);
        let pair = |i| rows::pair(base_logits.row(i), logits.row(i), chunk.target(first + i));
        pairs.extend(per_row(0..base_logits.rows.min(logits.rows), pair));
    }
    Ok(pairs)
}
