//! Products of vectors with keys and values in blocks of codes, which are converted in registers.
//!
//! A value is rounded to scale * code before it is multiplied, and the terms are added in the order of the products in
//! [`crate::kernel`], so the bits are those of products with converted cells.

use half::f16;

use crate::TILE;
use crate::cache::{BLOCK, Codes};
use crate::kernel::{Lanes, Rows, STRIDE, Scratch, load_row, store_row};

/// Keys of a page from a cell on. The byte of value `i` of cell `c` is `codes[byte_of(i) * step + c]`.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) kind: Codes,
    pub(super) codes: &'a [u8],
    /// The scale of block `b` of cell `c` is `scales[b * step + c]`.
    pub(super) scales: &'a [f16],
    pub(super) step: usize,
}

/// Values of a page from a cell on. Those of a cell are consecutive.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) kind: Codes,
    pub(super) codes: &'a [u8],
    pub(super) scales: &'a [f16],
}

/// The position of codes in bytes.
trait Coding {
    const KIND: Codes;

    /// Returns 16 codes of the first or the second half of a block.
    fn load<L: Lanes>(l: L, bytes: &[u8; TILE], second: bool) -> L::V;

    /// Returns the byte of value `i` of a half of a block.
    #[inline(always)]
    fn byte(block: usize, second: bool, i: usize) -> usize {
        Self::KIND.byte_of(block * BLOCK + usize::from(second) * TILE + i)
    }
}

struct I8;
struct I4;

impl Coding for I8 {
    const KIND: Codes = Codes::I8;

    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[u8; TILE], _: bool) -> L::V {
        l.load_i8(bytes)
    }
}

impl Coding for I4 {
    const KIND: Codes = Codes::I4;

    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[u8; TILE], second: bool) -> L::V {
        if second { l.load_i4_high(bytes) } else { l.load_i4_low(bytes) }
    }
}

/// Returns 16 bytes from `at` on.
#[inline(always)]
fn sixteen<T>(items: &[T], at: usize) -> &[T; TILE] {
    match items[at..].first_chunk() {
        Some(chunk) => chunk,
        None => panic!("16 items at {at} of {}", items.len()),
    }
}

/// Calls `$f` with the number of rows and of tiles at once.
macro_rules! by_rows {
    ($rows:expr, $f:ident, $coding:ty, $args:tt) => {
        if L::WIDE {
            match $rows {
                8 => by_rows!(@ $f, $coding, 8, 1, $args),
                4 => by_rows!(@ $f, $coding, 4, 2, $args),
                2 => by_rows!(@ $f, $coding, 2, 4, $args),
                _ => by_rows!(@ $f, $coding, 1, 4, $args),
            }
        } else if L::PLAIN {
            match $rows {
                4 => by_rows!(@ $f, $coding, 4, 1, $args),
                _ => by_rows!(@ $f, $coding, 1, 1, $args),
            }
        } else {
            match $rows {
                6 => by_rows!(@ $f, $coding, 6, 1, $args),
                4 => by_rows!(@ $f, $coding, 4, 1, $args),
                2 => by_rows!(@ $f, $coding, 2, 2, $args),
                _ => by_rows!(@ $f, $coding, 1, 4, $args),
            }
        }
    };
    (@ $f:ident, $coding:ty, $rows:literal, $tiles:literal, ($($arg:expr),*)) => {
        $f::<L, $coding, $rows, $tiles>($($arg),*)
    };
}

/// Computes the scores of `tiles` tiles of 16 cells for a panel of `rows` queries, packed as `[E][rows]`. They go to `out` from
/// tile `first` on.
#[inline(always)]
pub(super) fn score<L: Lanes>(
    l: L,
    (q, rows): (&[f32], usize),
    keys: Keys<'_>,
    tiles: usize,
    out: &mut Scratch<'_>,
    first: usize,
) {
    match keys.kind {
        Codes::I8 => by_rows!(rows, score_tiles, I8, (l, q, keys, tiles, out, first)),
        Codes::I4 => by_rows!(rows, score_tiles, I4, (l, q, keys, tiles, out, first)),
    }
}

#[inline(always)]
fn score_tiles<L: Lanes, C: Coding, const R: usize, const T: usize>(
    l: L,
    q: &[f32],
    keys: Keys<'_>,
    tiles: usize,
    out: &mut Scratch<'_>,
    first: usize,
) {
    let mut t = 0;
    while t + T <= tiles {
        score_panel::<L, C, R, T>(l, q, keys, t, out, first);
        t += T;
    }
    while T > 1 && t < tiles {
        score_panel::<L, C, R, 1>(l, q, keys, t, out, first);
        t += 1;
    }
}

#[inline(always)]
fn score_panel<L: Lanes, C: Coding, const R: usize, const T: usize>(
    l: L,
    q: &[f32],
    keys: Keys<'_>,
    tile: usize,
    out: &mut Scratch<'_>,
    first: usize,
) {
    let mut sums = [[l.splat(0.0); T]; R];
    for (b, q) in q.chunks_exact(BLOCK * R).enumerate() {
        let mut scales = [l.splat(0.0); T];
        for (t, scale) in scales.iter_mut().enumerate() {
            *scale = l.load_f16(sixteen(keys.scales, b * keys.step + (tile + t) * TILE));
        }
        for second in [false, true] {
            let q = &q[usize::from(second) * TILE * R..][..TILE * R];
            for (i, q) in q.as_chunks::<R>().0.iter().enumerate() {
                let line = C::byte(b, second, i) * keys.step + tile * TILE;
                let mut values = [l.splat(0.0); T];
                for (t, value) in values.iter_mut().enumerate() {
                    let codes = C::load(l, sixteen(keys.codes, line + t * TILE), second);
                    *value = l.mul(scales[t], codes);
                }
                for (sums, q) in sums.iter_mut().zip(q) {
                    let q = l.splat(*q);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = l.mul_add(q, value, *sum);
                    }
                }
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        store_row(l, sums, out.row(r, first + tile, T));
    }
}

/// Adds the values of `cells` cells times the weights of `rows` vectors, which are [`STRIDE`] apart, to rows `row..` of `out`.
/// `scratch` has space for the scales in f32.
#[inline(always)]
pub(super) fn sum<L: Lanes>(
    l: L,
    (weights, rows): (&[f32], usize),
    values: Values<'_>,
    (cells, tiles): (usize, usize),
    (out, row): (&mut Scratch<'_>, usize),
    scratch: &mut [f32],
) {
    let scales = &mut scratch[..cells * tiles / 2];
    super::source::widen(l, &values.scales[..scales.len()], scales);
    let input = (weights, &*scales);
    match values.kind {
        Codes::I8 => by_rows!(rows, sum_tiles, I8, (l, input, values.codes, (cells, tiles), out, row)),
        Codes::I4 => by_rows!(rows, sum_tiles, I4, (l, input, values.codes, (cells, tiles), out, row)),
    }
}

#[inline(always)]
fn sum_tiles<L: Lanes, C: Coding, const R: usize, const T: usize>(
    l: L,
    input: (&[f32], &[f32]),
    codes: &[u8],
    size: (usize, usize),
    out: &mut Scratch<'_>,
    row: usize,
) {
    let mut tile = 0;
    if T > 1 {
        while tile + T <= size.1 {
            sum_panel::<L, C, R, T, false>(l, input, codes, size, out, (row, tile));
            tile += T;
        }
    }
    while tile < size.1 {
        sum_panel::<L, C, R, 1, false>(l, input, codes, size, out, (row, tile));
        sum_panel::<L, C, R, 1, true>(l, input, codes, size, out, (row, tile + 1));
        tile += 2;
    }
}

/// Adds the values of `T` tiles of 16 columns. A block is two tiles; with `SECOND`, the first tile is the second of its block.
#[inline(always)]
fn sum_panel<L: Lanes, C: Coding, const R: usize, const T: usize, const SECOND: bool>(
    l: L,
    (weights, scales): (&[f32], &[f32]),
    codes: &[u8],
    (cells, tiles): (usize, usize),
    out: &mut Scratch<'_>,
    (row, tile): (usize, usize),
) {
    let mut sums = [[l.splat(0.0); T]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        load_row(l, out.row(row + r, tile, T), sums);
    }
    let blocks = tiles / 2;
    let cell_bytes = blocks * C::KIND.block_bytes();
    let lines = codes.chunks_exact(cell_bytes).zip(scales.chunks_exact(blocks));
    for (cell, (codes, scales)) in lines.take(cells).enumerate() {
        let mut values = [l.splat(0.0); T];
        for (t, value) in values.iter_mut().enumerate() {
            let (block, second) = ((tile + t) / 2, SECOND || t % 2 == 1);
            let codes = C::load(l, sixteen(codes, C::byte(block, second, 0)), second);
            *value = l.mul(l.splat(scales[block]), codes);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let weight = l.splat(weights[r * STRIDE + cell]);
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = l.mul_add(weight, value, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        store_row(l, sums, out.row(row + r, tile, T));
    }
}
