//! Rotary position embedding (Su et al. 2021, eq. 34), first half paired with second half.

use crate::Pool;
use crate::isa::{Isa, multiversion};

/// The cosines and sines of the rows of a step, times the magnitude.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) pairs: usize,
    /// Cosines, then sines. // [N, 2, pairs]
    values: Vec<f32>,
}

impl Table {
    /// Computes the table. Angles are `position * inverse frequency` in f32, as in transformers.
    pub(crate) fn new(pool: &Pool, positions: &[u32], inverse_frequencies: &[f32], magnitude: f32) -> Self {
        let pairs = inverse_frequencies.len();
        let mut values = vec![0.0; positions.len() * 2 * pairs];
        // Sines take long enough to be worth several threads, except for a few rows.
        let chunk = 2 * pairs * 16;
        pool.run_parts(&mut values, chunk.max(1), |i, part| {
            for (row, position) in part.chunks_exact_mut(2 * pairs).zip(&positions[i * 16..]) {
                let (cosines, sines) = row.split_at_mut(pairs);
                for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(inverse_frequencies) {
                    let angle = *position as f32 * frequency;
                    (*cos, *sin) = (angle.cos() * magnitude, angle.sin() * magnitude);
                }
            }
        });
        Self { pairs, values }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    /// Rotates the heads of row `row` of a step. // x: [heads * width]
    pub(crate) fn rotate(&self, isa: Isa, row: usize, x: &mut [f32], width: usize) {
        let (cosines, sines) = self.values[row * 2 * self.pairs..][..2 * self.pairs].split_at(self.pairs);
        rotate(isa, x, width, cosines, sines);
    }
}

multiversion! {
    fn rotate(x: &mut [f32], width: usize, cosines: &[f32], sines: &[f32]) = rotate_body;
}

#[inline(always)]
fn rotate_body(x: &mut [f32], width: usize, cosines: &[f32], sines: &[f32]) {
    let pairs = cosines.len();
    for head in x.chunks_exact_mut(width) {
        let (first, second) = head[..2 * pairs].split_at_mut(pairs);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
