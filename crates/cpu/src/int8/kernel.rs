//! The matrix product, written once for all instruction sets and encodings.
//!
//! One lane adds up one output in single precision, block after block, whatever the number of rows beside it:
//! `sum = fma(t, scale of the activations, sum)` where t stands for the block's weights times codes,
//! - [`Rule::Zero`], [`Rule::RowZero`]: t = scale * dot(q - z, x)
//! - [`Rule::Offset`]: t = fma(dot(q, x), scale, offset * sum(x))
//! - [`Rule::Halves`]: t = fma(dot(q - z, x) of the second half, second, scale * the first half's)
//!
//! and every dot product is an exact integer (below 2^24, so exact in single precision too).

use std::ops::Range;

use super::{
    activations::{QuantizedRows, RowBlocks},
    simd::Simd,
    tile::{Block, Layout, Rule, TileFormat},
};
use crate::{OutputTile, TILE};

/// Blocks (of 32 columns) that are unpacked, or whose corrections are prepared, together.
const CHUNK: usize = 8;

/// Up to so many rows, weights go from memory to registers; more rows share unpacked codes in the first-level cache.
const NARROW: usize = 4;

/// Rows between two passes over the weights, at most.
const ROWS_MAX: usize = 128;

/// Bytes of activation codes that stay in the second-level cache during a pass.
const PASS_BYTES: usize = 512 << 10;

/// Bytes between the codes in use and those asked for.
const PREFETCH: usize = 3072;

/// A packed weight matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a, F> {
    pub format: F,
    pub layout: Layout,
    /// All tiles. // [tiles, layout.tile_bytes]
    pub bytes: &'a [u8],
}

impl<F> Packed<'_, F> {
    #[inline(always)]
    fn tile(&self, t: usize) -> &[u8] {
        &self.bytes[t * self.layout.tile_bytes..][..self.layout.tile_bytes]
    }
}

/// Multiplies rows `rows` of `x` by the output rows of `tiles`.
#[inline(always)]
pub(super) fn multiply<S: Simd, F: TileFormat>(
    s: S,
    weights: &Packed<'_, F>,
    tiles: Range<usize>,
    x: &QuantizedRows,
    rows: Range<usize>,
    out: &mut OutputTile<'_>,
) {
    match rows.len() {
        0 => {}
        1 => narrow::<S, F, 1>(s, weights, tiles, x, rows.start, out),
        2 => narrow::<S, F, 2>(s, weights, tiles, x, rows.start, out),
        3 => narrow::<S, F, 3>(s, weights, tiles, x, rows.start, out),
        NARROW => narrow::<S, F, NARROW>(s, weights, tiles, x, rows.start, out),
        _ => wide(s, weights, tiles, x, rows, out),
    }
}

/// Blocks of weights, wherever they come from.
trait Source<S: Simd> {
    fn block(&self, s: S, b: usize) -> Block<S>;
}

/// Weights in their own encoding.
struct Encoded<'a, F> {
    format: F,
    layout: &'a Layout,
    tile: &'a [u8],
    first: usize,
}

impl<S: Simd, F: TileFormat> Source<S> for Encoded<'_, F> {
    #[inline(always)]
    fn block(&self, s: S, b: usize) -> Block<S> {
        let b = self.first + b;
        let ahead = b * self.layout.code_bytes + PREFETCH;
        let mut line = 0;
        while line < self.layout.code_bytes {
            s.prefetch(self.tile, ahead + line);
            line += 64;
        }
        self.format.block(s, self.layout, self.tile, b)
    }
}

/// Unpacked weights of a chunk.
struct Unpacked {
    codes: [[[u8; 64]; 8]; CHUNK],
    scale: [[f32; TILE]; CHUNK],
    second: [[f32; TILE]; CHUNK],
    zeros: [[i32; TILE]; CHUNK],
}

impl Unpacked {
    #[inline(always)]
    fn fill<S: Simd>(&mut self, s: S, rule: Rule, source: &impl Source<S>, count: usize) {
        for b in 0..count {
            let block = source.block(s, b);
            let mut v = 0;
            while v < 8 {
                s.store_codes(block.codes[v], &mut self.codes[b][v]);
                v += 1;
            }
            s.store(block.scale, &mut self.scale[b]);
            match rule {
                Rule::Zero => {}
                Rule::RowZero => s.store_ints(block.zeros, &mut self.zeros[b]),
                Rule::Offset | Rule::Halves => s.store(block.second, &mut self.second[b]),
            }
        }
    }
}

impl<S: Simd> Source<S> for Unpacked {
    #[inline(always)]
    fn block(&self, s: S, b: usize) -> Block<S> {
        let mut codes = [s.codes(&self.codes[b][0]); 8];
        let mut v = 1;
        while v < 8 {
            codes[v] = s.codes(&self.codes[b][v]);
            v += 1;
        }
        let scale = s.load(&self.scale[b]);
        Block { codes, scale, second: s.load(&self.second[b]), zeros: s.load_ints(&self.zeros[b]) }
    }
}

/// What the dot products of a chunk start from, and the sums of activations.
struct Corrections<const R: usize> {
    /// (code shift - z) * sum of the codes of each half; the first alone where halves share a scale.
    starts: [[[i32; 2]; CHUNK]; R],
    sums: [[f32; CHUNK]; R],
}

impl<const R: usize> Corrections<R> {
    #[inline(always)]
    fn new(rule: Rule, factor: i32, x: &[RowBlocks<'_>; R]) -> Self {
        let mut new = Self { starts: [[[0; 2]; CHUNK]; R], sums: [[0.0; CHUNK]; R] };
        let mut r = 0;
        while r < R {
            for ((start, sum), halves) in new.starts[r].iter_mut().zip(&mut new.sums[r]).zip(x[r].sums) {
                let whole = halves[0] + halves[1];
                match rule {
                    Rule::Halves => *start = [factor * halves[0], factor * halves[1]],
                    Rule::RowZero => *start = [factor * whole, -whole],
                    Rule::Zero => start[0] = factor * whole,
                    Rule::Offset => (start[0], *sum) = (factor * whole, whole as f32),
                }
            }
            r += 1;
        }
        new
    }
}

/// Adds a chunk of blocks to the sums of `R` rows.
#[inline(always)]
fn add_chunk<S: Simd, F: TileFormat, const R: usize>(
    s: S,
    source: &impl Source<S>,
    zero: i32,
    x: &[RowBlocks<'_>; R],
    sums: &mut [S::Floats; R],
) {
    let count = x[0].codes.len();
    for x in x {
        assert!(x.codes.len() == count && x.scales.len() == count && x.sums.len() == count && count <= CHUNK);
    }
    let starts = Corrections::new(F::RULE, S::code_shift(F::BITS) - zero, x);
    for b in 0..count {
        let block = source.block(s, b);
        let mut codes = [&x[0].codes[b]; R];
        let mut dots = [s.ints(0); R];
        let mut r = 0;
        while r < R {
            codes[r] = &x[r].codes[b];
            dots[r] = s.ints(starts.starts[r][b][0]);
            if F::RULE == Rule::RowZero {
                dots[r] = s.mul_add_short(block.zeros, starts.starts[r][b][1], dots[r]);
            }
            r += 1;
        }
        let split = if F::RULE == Rule::Halves { 4 } else { 8 };
        s.dot(F::BITS, &block.codes, (0, split), &codes, &mut dots);
        let mut terms = [block.scale; R];
        let mut r = 0;
        while r < R {
            let dot = s.from_ints(dots[r]);
            terms[r] = match F::RULE {
                Rule::Offset => s.mul_add(dot, block.scale, s.mul(block.second, s.floats(starts.sums[r][b]))),
                _ => s.mul(dot, block.scale),
            };
            dots[r] = s.ints(starts.starts[r][b][1]);
            r += 1;
        }
        if F::RULE == Rule::Halves {
            s.dot(F::BITS, &block.codes, (4, 8), &codes, &mut dots);
            let mut r = 0;
            while r < R {
                terms[r] = s.mul_add(s.from_ints(dots[r]), block.second, terms[r]);
                r += 1;
            }
        }
        let mut r = 0;
        while r < R {
            sums[r] = s.mul_add(terms[r], s.floats(x[r].scales[b]), sums[r]);
            r += 1;
        }
    }
}

/// `R` rows, the weights from memory to registers.
#[inline(always)]
fn narrow<S: Simd, F: TileFormat, const R: usize>(
    s: S,
    weights: &Packed<'_, F>,
    tiles: Range<usize>,
    x: &QuantizedRows,
    first_row: usize,
    out: &mut OutputTile<'_>,
) {
    let Packed { format, layout, .. } = weights;
    for t in tiles {
        let tile = weights.tile(t);
        let mut sums = [s.floats(0.0); R];
        for first in (0..layout.blocks).step_by(CHUNK) {
            let count = CHUNK.min(layout.blocks - first);
            let source = Encoded { format: *format, layout, tile, first };
            add_chunk::<S, F, R>(s, &source, format.zero(), &rows_of(x, first_row, first, count), &mut sums);
        }
        let mut r = 0;
        while r < R {
            let mut values = [0.0; TILE];
            s.store(sums[r], &mut values);
            out.write(first_row + r, t, &values);
            r += 1;
        }
    }
}

/// Blocks `first..first + count` of `R` rows from `row` on.
#[inline(always)]
fn rows_of<const R: usize>(x: &QuantizedRows, row: usize, first: usize, count: usize) -> [RowBlocks<'_>; R] {
    let mut rows = [x.blocks(row, first, count); R];
    let mut r = 1;
    while r < R {
        rows[r] = x.blocks(row + r, first, count);
        r += 1;
    }
    rows
}

/// Many rows: in passes whose activations stay in cache, each chunk of weights unpacked once for all rows of a pass.
#[inline(always)]
fn wide<S: Simd, F: TileFormat>(
    s: S,
    weights: &Packed<'_, F>,
    tiles: Range<usize>,
    x: &QuantizedRows,
    rows: Range<usize>,
    out: &mut OutputTile<'_>,
) {
    let Packed { format, layout, .. } = weights;
    let pass = (PASS_BYTES / x.cols().max(1)).clamp(2 * S::ROWS, ROWS_MAX) / S::ROWS * S::ROWS;
    let mut unpacked = Unpacked {
        codes: [[[0; 64]; 8]; CHUNK],
        scale: [[0.0; TILE]; CHUNK],
        second: [[0.0; TILE]; CHUNK],
        zeros: [[0; TILE]; CHUNK],
    };
    let mut sums = [[0.0; TILE]; ROWS_MAX];
    for first_row in rows.clone().step_by(pass) {
        let sums = &mut sums[..pass.min(rows.end - first_row)];
        for t in tiles.clone() {
            sums.fill([0.0; TILE]);
            for first in (0..layout.blocks).step_by(CHUNK) {
                let count = CHUNK.min(layout.blocks - first);
                let source = Encoded { format: *format, layout, tile: weights.tile(t), first };
                unpacked.fill(s, F::RULE, &source, count);
                add_rows::<S, F>(s, &unpacked, format.zero(), x, (first_row, first, count), sums);
            }
            for (i, values) in sums.iter().enumerate() {
                out.write(first_row + i, t, values);
            }
        }
    }
}

/// Adds a chunk (`at`: first row, first block, blocks) to the sums of all rows of a pass.
#[inline(always)]
fn add_rows<S: Simd, F: TileFormat>(
    s: S,
    unpacked: &Unpacked,
    zero: i32,
    x: &QuantizedRows,
    at: (usize, usize, usize),
    sums: &mut [[f32; TILE]],
) {
    let mut row = at.0;
    let mut rest = sums;
    while !rest.is_empty() {
        let step = match rest.len() {
            8.. if S::ROWS == 8 => add_group::<S, F, 8>(s, unpacked, zero, x, (row, at.1, at.2), rest),
            4.. => add_group::<S, F, 4>(s, unpacked, zero, x, (row, at.1, at.2), rest),
            2.. => add_group::<S, F, 2>(s, unpacked, zero, x, (row, at.1, at.2), rest),
            _ => add_group::<S, F, 1>(s, unpacked, zero, x, (row, at.1, at.2), rest),
        };
        row += step;
        rest = &mut rest[step..];
    }
}

/// Adds a chunk to the sums of the first `R` rows; `R`.
#[inline(always)]
fn add_group<S: Simd, F: TileFormat, const R: usize>(
    s: S,
    unpacked: &Unpacked,
    zero: i32,
    x: &QuantizedRows,
    (row, first, count): (usize, usize, usize),
    sums: &mut [[f32; TILE]],
) -> usize {
    let mut held = [s.floats(0.0); R];
    let mut r = 0;
    while r < R {
        held[r] = s.load(&sums[r]);
        r += 1;
    }
    add_chunk::<S, F, R>(s, unpacked, zero, &rows_of(x, row, first, count), &mut held);
    let mut r = 0;
    while r < R {
        s.store(held[r], &mut sums[r]);
        r += 1;
    }
    R
}
