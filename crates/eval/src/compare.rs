//! The comparison of a candidate with the saved hidden states of the original.

use std::fmt::Debug;
use std::ops::Range;

use honelm_model::Runner;
use honelm_tensor::Matrix;

use crate::score::{for_logits, hidden_states, slice};
use crate::scores::per_row;
use crate::{Chunk, Comparison, EvalError, PieceError, Scores, rows};

/// The size in bytes from which a piece is complete. A run that is killed loses at most one piece.
const PIECE_BYTES: usize = 4 << 20;

/// A storage for pieces of saved work, which never returns a damaged piece.
pub trait Pieces: Debug {
    /// Returns a piece; `None` if it is absent or damaged.
    ///
    /// # Errors
    /// I/O errors.
    fn get(&self, piece: usize) -> Result<Option<Vec<u8>>, PieceError>;

    /// Saves a piece, which survives a crash once this returns.
    ///
    /// # Errors
    /// I/O errors.
    fn put(&self, piece: usize, contents: &[u8]) -> Result<(), PieceError>;
}

/// The scores of the original, with its final hidden states in [`Pieces`]. The logits are computed from these again, so that
/// memory never holds two models or all logits.
#[derive(Debug)]
pub struct Baseline {
    /// The scores of the original; empty for chunks that have not been scored.
    pub scores: Scores,
    width: usize,
    /// The chunks of each piece.
    extents: Vec<Range<usize>>,
    /// The numbers of the missing pieces.
    missing: Vec<usize>,
    pieces: Box<dyn Pieces>,
}

impl Baseline {
    /// Reads the saved pieces of a model of this `width` for `chunks`. [`Baseline::complete`] computes pieces that are absent
    /// or damaged.
    ///
    /// # Errors
    /// I/O errors.
    pub fn resume(chunks: &[Chunk], width: usize, pieces: Box<dyn Pieces>) -> Result<Self, EvalError> {
        let extents = extents(chunks, width);
        let mut scores = Scores { nll: vec![Vec::new(); chunks.len()] };
        let mut missing = Vec::new();
        for (piece, extent) in extents.iter().enumerate() {
            let kept = pieces.get(piece).map_err(EvalError::States)?;
            match kept.and_then(|bytes| Piece::unpack(&bytes, &chunks[extent.clone()], width)) {
                Some(kept) => scores.nll[extent.clone()].clone_from_slice(&kept.nll),
                None => missing.push(piece),
            }
        }
        Ok(Self { scores, width, extents, missing, pieces })
    }

    /// Returns `true` if all chunks have been scored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Scores the missing chunks, piece by piece; `chunks` are those of [`Baseline::resume`]. `progress` receives the number
    /// of finished chunks, and stops the run by returning `false`.
    ///
    /// # Errors
    /// An error of the model or of the storage, [`EvalError::Interrupted`].
    pub fn complete(
        &mut self,
        runner: &mut dyn Runner,
        chunks: &[Chunk],
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(), EvalError> {
        while let Some(&piece) = self.missing.first() {
            let extent = self.extents[piece].clone();
            let mut states = Vec::new();
            let mut keep = |hidden: &Matrix| {
                states.extend_from_slice(&hidden.data);
                Ok(())
            };
            let first = extent.start;
            let mut told = |done: usize| progress(first + done);
            let scored = crate::score(runner, &chunks[extent.clone()], &mut keep, &mut told);
            let scored = scored.map_err(|error| match error {
                EvalError::NotFinite { chunk, position } => EvalError::NotFinite { chunk: first + chunk, position },
                other => other,
            })?;
            let kept = Piece { nll: scored.nll, states };
            self.pieces.put(piece, &kept.pack()).map_err(EvalError::States)?;
            self.scores.nll[extent].clone_from_slice(&kept.nll);
            self.missing.remove(0);
        }
        Ok(())
    }

    /// Returns the hidden states of a piece's chunks, one after the other.
    fn states(&self, piece: usize, chunks: &[Chunk]) -> Result<Vec<f32>, EvalError> {
        let kept = self.pieces.get(piece).map_err(EvalError::States)?;
        let extent = self.extents[piece].clone();
        let kept = kept.and_then(|bytes| Piece::unpack(&bytes, &chunks[extent], self.width));
        kept.map(|piece| piece.states).ok_or(EvalError::StatesLost { piece, pieces: self.extents.len() })
    }
}

/// Divides chunks into pieces.
fn extents(chunks: &[Chunk], width: usize) -> Vec<Range<usize>> {
    let (mut out, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (w, chunk) in chunks.iter().enumerate() {
        bytes += chunk.scored.len() * (width + 1) * size_of::<f32>();
        if bytes >= PIECE_BYTES || w + 1 == chunks.len() {
            out.push(start..w + 1);
            (start, bytes) = (w + 1, 0);
        }
    }
    out
}

/// The scores and hidden states of some chunks.
struct Piece {
    /// The negative log-likelihoods. // nats, one list per chunk
    nll: Vec<Vec<f32>>,
    /// The hidden states of the scored positions of all chunks. // [positions, D]
    states: Vec<f32>,
}

impl Piece {
    fn pack(&self) -> Vec<u8> {
        let values = self.nll.iter().flatten().chain(&self.states);
        values.flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Reads the piece of these chunks; `None` if it has another length.
    fn unpack(bytes: &[u8], chunks: &[Chunk], width: usize) -> Option<Self> {
        let positions: usize = chunks.iter().map(|chunk| chunk.scored.len()).sum();
        if bytes.len() != positions * (width + 1) * size_of::<f32>() {
            return None;
        }
        let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let mut values = values.collect::<Vec<f32>>();
        let states = values.split_off(positions);
        let mut nll = values.into_iter();
        let of = |chunk: &Chunk| nll.by_ref().take(chunk.scored.len()).collect();
        Some(Self { nll: chunks.iter().map(of).collect(), states })
    }
}

/// Runs a candidate over `chunks` and compares it with the original's saved hidden states. `base_logits` is the original's
/// output layer, `[rows, D] -> [rows, V]`. `proceed` receives the comparison after every chunk, and ends the run early by
/// returning `false`; the result then covers the chunks so far.
///
/// # Errors
/// [`EvalError::Mismatch`], [`EvalError::StatesLost`], an error of a model, of the storage or of `proceed`, logits that are
/// not finite.
pub fn compare(
    runner: &mut dyn Runner,
    chunks: &[Chunk],
    baseline: &Baseline,
    base_logits: &mut dyn FnMut(&Matrix) -> Result<Matrix, EvalError>,
    proceed: &mut dyn FnMut(&Comparison) -> Result<bool, EvalError>,
) -> Result<Comparison, EvalError> {
    let kept = baseline.scores.nll.len();
    if kept != chunks.len() {
        return Err(EvalError::Mismatch { left: kept, right: chunks.len() });
    }
    let mut pieces = baseline.extents.iter().enumerate().peekable();
    // The remaining states of the current piece. // [positions, D]
    let mut states = Vec::new().into_iter();
    let mut result = Comparison::default();
    for (w, chunk) in chunks.iter().enumerate() {
        if let Some((piece, _)) = pieces.next_if(|(_, extent)| extent.start == w) {
            states = baseline.states(piece, chunks)?.into_iter();
        }
        let base_hidden = states.by_ref().take(chunk.scored.len() * baseline.width).collect();
        let base_hidden = Matrix::new(chunk.scored.len(), baseline.width, base_hidden);
        let hidden = hidden_states(runner, chunk)?;
        let mut pairs = Vec::new();
        for_logits(runner, &hidden, &mut |first, logits| {
            let base = base_logits(&slice(&base_hidden, first, logits.rows))?;
            let target = |i| chunk.target(first + i);
            pairs.extend(per_row(0..logits.rows, |i| rows::pair(base.row(i), logits.row(i), target(i))));
            Ok(())
        })?;
        result.push(w, chunk, &pairs)?;
        if !proceed(&result)? {
            break;
        }
    }
    Ok(result)
}
