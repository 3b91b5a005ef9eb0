//! Results of chunks, and their merging in order (online softmax).

use std::ops::Range;

use honelm_backend::hadamard;

use super::segment::Segment;
use crate::isa::multiversion;
use crate::math::exp;
use crate::{Output, TILE};

/// The results of the chunks of a part of a task: for each chunk, those of its vectors.
pub(super) struct Parts<'a> {
    /// The results of all parts: weighted values, maximum and sum. // [results, padded E + 2]
    pub(super) all: &'a Output<'a>,
    /// The row of the first result.
    pub(super) first: usize,
    /// The length of a result ([`part_cols`]).
    pub(super) cols: usize,
}

/// Returns the length of the result of a chunk.
pub(super) fn part_cols(width: usize) -> usize {
    width.next_multiple_of(TILE) + 2
}

impl Parts<'_> {
    /// Writes result `i`: the weighted values, and the maximum and sum of a vector that sees any cell of the chunk.
    #[inline(always)]
    pub(super) fn put(&self, i: usize, values: &[f32], result: Option<(f32, f32)>) {
        // SAFETY: no other part has this row, and the span ends before the next one.
        let out = unsafe { self.all.span(self.first + i, 0..self.cols) };
        let (top, sum) = result.unwrap_or_default();
        out[..values.len()].copy_from_slice(values);
        out[values.len()..].copy_from_slice(&[top, sum]);
    }
}

/// The results of all chunks so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Weighted values. // [vectors, padded E]
    pub(super) values: Vec<f32>,
    /// Maxima and sums. // `[vectors]`
    state: Vec<(f32, f32)>,
    padded: usize,
}

impl Totals {
    pub(super) fn clear(&mut self, vectors: usize, width: usize) {
        self.padded = width.next_multiple_of(TILE);
        let len = vectors * self.padded;
        self.values.resize(self.values.len().max(len), 0.0);
        self.values[..len].fill(0.0);
        self.state.clear();
        self.state.resize(vectors, (f32::NEG_INFINITY, 0.0));
    }

    /// Merges the weighted values, maximum and sum of the next chunk of a vector.
    #[inline(always)]
    pub(super) fn merge(&mut self, vector: usize, part: &[f32], (top, sum): (f32, f32)) {
        let state = &mut self.state[vector];
        let all = if top > state.0 { top } else { state.0 };
        let (old, new) = (exp(state.0 - all), exp(top - all));
        *state = (all, state.1 * old + sum * new);
        let total = &mut self.values[vector * self.padded..][..self.padded];
        total.iter_mut().zip(part).for_each(|(total, part)| *total = *total * old + part * new);
    }
}

/// Divides the weighted values by the sums of the weights, and writes the result.
#[inline(always)]
pub(super) fn finish(segment: &Segment<'_>, rows: &Range<usize>, totals: &Totals) {
    let width = segment.cache.width;
    for (i, (total, (_, sum))) in totals.values.chunks_exact(totals.padded).zip(&totals.state).enumerate() {
        let head = segment.first_head + i % segment.heads;
        // SAFETY: no other task has these rows and heads.
        let out = unsafe { segment.out.span(rows.start + i / segment.heads, head * width..(head + 1) * width) };
        out.iter_mut().zip(total).for_each(|(out, total)| *out = total / sum);
        if segment.rotated {
            hadamard(out);
        }
    }
}

multiversion! {
    /// Merges the results of all chunks of `rows`, `[results, padded E + 2]`, and writes the result.
    pub(super) fn join(segment: &Segment<'_>, rows: &Range<usize>, parts: &[f32], totals: &mut Totals) = join_body;
}

#[inline(always)]
fn join_body(segment: &Segment<'_>, rows: &Range<usize>, parts: &[f32], totals: &mut Totals) {
    let (vectors, cols) = (rows.len() * segment.heads, part_cols(segment.cache.width));
    totals.clear(vectors, segment.cache.width);
    for chunk in parts.chunks_exact(vectors * cols) {
        for (vector, result) in chunk.chunks_exact(cols).enumerate() {
            let (part, state) = result.split_at(cols - 2);
            // The weight of the maximum is 1, so only a vector that sees nothing of a chunk has the sum 0.
            if state[1] != 0.0 {
                totals.merge(vector, part, (state[0], state[1]));
            }
        }
    }
    finish(segment, rows, totals);
}
