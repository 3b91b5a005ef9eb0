//! The effect of a batch on each of its sequences, computed before anything changes.

use std::ops::Range;

use super::Sequences;
use super::draft::Draft;
use crate::{BackendError, Batch, CacheKind, Parent, SequenceId};

/// The rows of one sequence in a batch.
#[derive(Debug)]
pub(super) struct Rows {
    pub sequence: SequenceId,
    /// The rows of the batch.
    pub rows: Range<usize>,
    /// All pending drafts, with those of these rows at the end.
    pub drafts: Vec<Draft>,
    /// `true` if the rows become accepted tokens at once.
    pub is_final: bool,
}

fn invalid(row: usize, problem: impl Into<String>) -> BackendError {
    BackendError::InvalidBatch { row, problem: problem.into() }
}

/// Checks `batch` against the state of the sequences.
pub(super) fn plan(sequences: &Sequences, batch: &Batch) -> Result<Vec<Rows>, BackendError> {
    let n = batch.rows();
    if n == 0 {
        return Err(invalid(0, "found no rows, expected at least one"));
    }
    for (name, len) in
        [("sequences", batch.sequence.len()), ("parents", batch.parent.len()), ("wants", batch.want.len())]
    {
        if len != n {
            return Err(invalid(n.min(len), format!("{n} tokens, but {len} {name}")));
        }
    }
    let mut parts: Vec<Rows> = Vec::new();
    let mut start = 0;
    for same in batch.sequence.chunk_by(|a, b| a == b) {
        let rows = start..start + same.len();
        start = rows.end;
        if parts.iter().any(|part| part.sequence == same[0]) {
            return Err(invalid(rows.start, format!("the rows of sequence {} are not consecutive", same[0].0)));
        }
        parts.push(plan_rows(sequences, batch, same[0], rows)?);
    }
    Ok(parts)
}

fn plan_rows(
    sequences: &Sequences,
    batch: &Batch,
    sequence: SequenceId,
    rows: Range<usize>,
) -> Result<Rows, BackendError> {
    let state = sequences.sequence(sequence)?;
    let pending = state.drafts.len();
    let mut drafts = state.drafts.clone();
    for row in rows.clone() {
        let parent = match batch.parent[row] {
            Parent::Previous => drafts.len().checked_sub(1),
            Parent::Accepted => None,
            Parent::Row(i) => {
                let i = i as usize;
                if !(rows.start..row).contains(&i) {
                    return Err(invalid(row, format!("its parent, row {i}, is not an earlier row of its sequence")));
                }
                Some(pending + i - rows.start)
            }
            Parent::Draft(i) => {
                if i as usize >= pending {
                    return Err(invalid(row, format!("its parent, draft {i}, is not among {pending} pending ones")));
                }
                Some(i as usize)
            }
        };
        let draft = Draft::new(drafts.len(), parent.map(|p| p as u32), &drafts);
        let wanted = state.len + draft.depth as usize;
        if wanted > sequences.context {
            return Err(BackendError::ContextFull { sequence: sequence.0, wanted, limit: sequences.context });
        }
        drafts.push(draft);
    }
    let is_final = pending == 0 && batch.parent[rows.clone()].iter().all(|&p| p == Parent::Previous);
    let is_bidirectional = sequences.groups.iter().any(|group| group.kind == CacheKind::Bidirectional);
    if is_bidirectional && (state.len > 0 || !is_final) {
        return Err(invalid(rows.start, "an encoder reads the rows of a sequence in one step, and no drafts"));
    }
    Ok(Rows { sequence, rows, drafts, is_final })
}
