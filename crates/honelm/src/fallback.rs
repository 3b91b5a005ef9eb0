//! Fallbacks: matrices that get another encoding than the one asked for.

use honelm_compress::Scheme;
use honelm_model::Checkpoint;
use serde::{Deserialize, Serialize};

/// A matrix that cannot have the encoding asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The name of the matrix in the original.
    pub tensor: String,
    /// The encoding asked for.
    pub wanted: String,
    /// The encoding that was written instead.
    pub written: String,
    /// The reason.
    pub reason: String,
}

/// Returns all fallbacks of `scheme` for a model.
pub(crate) fn of(checkpoint: &Checkpoint, scheme: &Scheme) -> Vec<Fallback> {
    let fallback = |found: honelm_compress::Fallback| Fallback {
        tensor: checkpoint.name_of(found.slot),
        wanted: found.wanted.display_name().to_owned(),
        written: found.made.display_name().to_owned(),
        reason: format!(
            "rows of {} values are no multiple of {}, the block size of {}",
            found.columns,
            found.wanted.block_len(),
            found.wanted.display_name()
        ),
    };
    scheme.fallbacks(checkpoint.tree()).into_iter().map(fallback).collect()
}

/// Returns the number of bits of all fallbacks minus that of the encodings asked for.
pub(crate) fn bits_above(checkpoint: &Checkpoint, scheme: &Scheme) -> f64 {
    let above = |found: honelm_compress::Fallback| {
        (found.rows * found.columns) as f64 * (found.made.bits_per_weight() - found.wanted.bits_per_weight())
    };
    scheme.fallbacks(checkpoint.tree()).into_iter().map(above).sum()
}

/// Returns a line per kind of fallback: the number of matrices, the first of them, and the reason.
#[must_use]
pub fn fallback_lines(fallbacks: &[Fallback]) -> Vec<String> {
    let mut kinds: Vec<(&Fallback, usize)> = Vec::new();
    for fallback in fallbacks {
        let alike =
            |a: &Fallback, b: &Fallback| (&a.wanted, &a.written, &a.reason) == (&b.wanted, &b.written, &b.reason);
        match kinds.iter_mut().find(|(first, _)| alike(first, fallback)) {
            Some((_, count)) => *count += 1,
            None => kinds.push((fallback, 1)),
        }
    }
    let line = |(first, count): (&Fallback, usize)| {
        let Fallback { tensor, wanted, written, reason } = first;
        let which = if count == 1 { format!("in {tensor}") } else { format!("in {count} matrices, first {tensor}") };
        format!("{written} instead of {wanted} {which}: {reason}")
    };
    kinds.into_iter().map(line).collect()
}
