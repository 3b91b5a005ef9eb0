//! `out[r, t*16 + lane] = sum over k of x[r, k] * w[t, k, lane]`. One lane computes each sum, term after term with fused
//! multiply-add, so that its bits depend on its own row and column alone.

use super::{Lanes, Number};
use crate::{OutputTile, TILE};

/// The distance between the rows of a matrix of scores: 256 and one more vector, so that rows do not compete for the same
/// cache lines.
pub(crate) const STRIDE: usize = 256 + TILE;

/// The distance in bytes from the weights in use to the prefetched cache line.
const PREFETCH: usize = 4096;
/// The least number of rows for which weights are prefetched: the work on a line hides the instructions, and the processor's own
/// prefetching falls behind.
const STREAMED: usize = 6;

/// A destination for the rows of a product.
pub(crate) trait Rows {
    /// `true` if the weights are read from memory, in order.
    const STREAM: bool;

    /// Returns the columns of `tiles` tiles from `tile` on in row `row`; fewer at the right edge.
    fn row(&mut self, row: usize, tile: usize, tiles: usize) -> &mut [f32];
}

impl Rows for OutputTile<'_> {
    const STREAM: bool = true;

    #[inline(always)]
    fn row(&mut self, row: usize, tile: usize, tiles: usize) -> &mut [f32] {
        OutputTile::row(self, row, tile..tile + tiles)
    }
}

/// A scratch matrix with rows of length `stride`, a multiple of 16.
pub(crate) struct Scratch<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) stride: usize,
}

impl Rows for Scratch<'_> {
    const STREAM: bool = false;

    #[inline(always)]
    fn row(&mut self, row: usize, tile: usize, tiles: usize) -> &mut [f32] {
        let start = row * self.stride + tile * TILE;
        &mut self.data[start..start + tiles * TILE]
    }
}

/// Tiles of 16 columns. Row `k` of tile `t` is `data[t * tile + k * step..][..16]`.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a, W> {
    pub(crate) data: &'a [W],
    /// The distance between neighbouring tiles.
    pub(crate) tile: usize,
    /// The distance between neighbouring k.
    pub(crate) step: usize,
}

/// Returns the height of the next panel if `left` rows remain.
pub(crate) fn height(left: usize, heights: &[usize]) -> usize {
    heights.iter().copied().find(|h| *h <= left).unwrap_or(1)
}

/// Computes the product of one panel with `k` terms. `XK` and `XR` are the distances in `x` between neighbouring k and rows.
/// With `carry` the sums continue from those in `out`.
#[inline(always)]
fn panel<L: Lanes, W: Number, O: Rows, const R: usize, const T: usize, const XK: usize, const XR: usize>(
    l: L,
    x: &[f32],
    w: Tiles<'_, W>,
    k: usize,
    out: &mut O,
    (row, tile): (usize, usize),
    carry: bool,
) {
    let mut sums = [[l.splat(0.0); T]; R];
    if carry {
        for (r, sums) in sums.iter_mut().enumerate() {
            load_row(l, out.row(row + r, tile, T), sums);
        }
    }
    if k > 0 {
        assert!(x.len() > (k - 1) * XK + (R - 1) * XR, "a panel of {R} rows and {k} columns");
        assert!(w.data.len() >= (T - 1) * w.tile + (k - 1) * w.step + TILE, "{T} tiles of {k} rows");
        let (xs, ws) = (x.as_ptr(), w.data.as_ptr());
        for i in 0..k {
            if O::STREAM && R >= STREAMED && (i * TILE * size_of::<W>()).is_multiple_of(64) {
                for t in 0..T {
                    l.prefetch(w.data, t * w.tile + i * w.step + PREFETCH / size_of::<W>());
                }
            }
            let mut weights = [l.splat(0.0); T];
            for (t, weight) in weights.iter_mut().enumerate() {
                // SAFETY: i < k and t < T, so the 16 numbers lie inside `w.data` by the assertion above.
                *weight = W::load(l, unsafe { &*ws.add(t * w.tile + i * w.step).cast() });
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: i < k and r < R, so inside `x` by the assertion above.
                let x = l.splat(unsafe { *xs.add(i * XK + r * XR) });
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = l.mul_add(x, weight, *sum);
                }
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        store_row(l, sums, out.row(row + r, tile, T));
    }
}

/// Loads the sums of `T` tiles of a row.
#[inline(always)]
pub(crate) fn load_row<L: Lanes, const T: usize>(l: L, row: &[f32], sums: &mut [L::V; T]) {
    for (t, sum) in sums.iter_mut().enumerate() {
        let part = &row[t * TILE..row.len().min((t + 1) * TILE)];
        *sum = match part.first_chunk() {
            Some(whole) => l.load(whole),
            None => {
                let mut padded = [0.0; TILE];
                padded[..part.len()].copy_from_slice(part);
                l.load(&padded)
            }
        };
    }
}

/// Stores the sums of `T` tiles of a row.
#[inline(always)]
pub(crate) fn store_row<L: Lanes, const T: usize>(l: L, sums: &[L::V; T], row: &mut [f32]) {
    let cols = row.len();
    for (t, sum) in sums.iter().enumerate() {
        let part = &mut row[t * TILE..cols.min((t + 1) * TILE)];
        if let Some(whole) = part.first_chunk_mut() {
            l.store(*sum, whole);
        } else {
            let mut padded = [0.0; TILE];
            l.store(*sum, &mut padded);
            part.copy_from_slice(&padded[..part.len()]);
        }
    }
}

/// Multiplies one panel by `tiles` tiles, as many at once as registers can hold.
#[inline(always)]
fn across<L: Lanes, W: Number, const R: usize, const T: usize, const XK: usize, const XR: usize>(
    l: L,
    x: &[f32],
    w: Tiles<'_, W>,
    (k, tiles): (usize, usize),
    out: &mut impl Rows,
    (row, tile): (usize, usize),
    carry: bool,
) {
    let mut t = 0;
    while t + T <= tiles {
        let w = Tiles { data: &w.data[t * w.tile..], ..w };
        panel::<L, W, _, R, T, XK, XR>(l, x, w, k, out, (row, tile + t), carry);
        t += T;
    }
    if T > 2 && t + 2 <= tiles {
        let w = Tiles { data: &w.data[t * w.tile..], ..w };
        panel::<L, W, _, R, 2, XK, XR>(l, x, w, k, out, (row, tile + t), carry);
        t += 2;
    }
    if T > 1 {
        while t < tiles {
            let w = Tiles { data: &w.data[t * w.tile..], ..w };
            panel::<L, W, _, R, 1, XK, XR>(l, x, w, k, out, (row, tile + t), carry);
            t += 1;
        }
    }
}

/// Calls `across` for the given number of rows. Few rows take more tiles at once, so that there are enough sums to hide the
/// latency of an addition.
macro_rules! by_height {
    ($rows:expr, |$r:ident| ($xk:expr, $xr:expr), $args:tt) => {
        if L::WIDE {
            match $rows {
                12 => by_height!(@call 12, 2, $r, $xk, $xr, $args),
                8 => by_height!(@call 8, 2, $r, $xk, $xr, $args),
                4 => by_height!(@call 4, 4, $r, $xk, $xr, $args),
                2 => by_height!(@call 2, 4, $r, $xk, $xr, $args),
                _ => by_height!(@call 1, 4, $r, $xk, $xr, $args),
            }
        } else if L::PLAIN {
            match $rows {
                4 => by_height!(@call 4, 1, $r, $xk, $xr, $args),
                _ => by_height!(@call 1, 1, $r, $xk, $xr, $args),
            }
        } else {
            match $rows {
                6 => by_height!(@call 6, 1, $r, $xk, $xr, $args),
                4 => by_height!(@call 4, 1, $r, $xk, $xr, $args),
                2 => by_height!(@call 2, 2, $r, $xk, $xr, $args),
                _ => by_height!(@call 1, 4, $r, $xk, $xr, $args),
            }
        }
    };
    (@call $rows:literal, $tiles:literal, $r:ident, $xk:expr, $xr:expr, ($($arg:expr),*)) => {{
        const $r: usize = $rows;
        across::<L, W, $r, $tiles, { $xk }, { $xr }>($($arg),*)
    }};
}

/// Multiplies a panel of `rows` rows, packed as `[k][rows]`, by `tiles` tiles. Writes to `out` from (`row`, `tile`) on.
#[inline(always)]
pub(crate) fn packed<L: Lanes, W: Number>(
    l: L,
    (x, rows): (&[f32], usize),
    w: Tiles<'_, W>,
    size: (usize, usize),
    out: &mut impl Rows,
    at: (usize, usize),
    carry: bool,
) {
    by_height!(rows, |R| (R, 1), (l, x, w, size, out, at, carry));
}

/// Does the same for rows of `x` that are [`STRIDE`] apart.
#[inline(always)]
pub(crate) fn strided<L: Lanes, W: Number>(
    l: L,
    (x, rows): (&[f32], usize),
    w: Tiles<'_, W>,
    size: (usize, usize),
    out: &mut impl Rows,
    at: (usize, usize),
    carry: bool,
) {
    by_height!(rows, |R| (1, STRIDE), (l, x, w, size, out, at, carry));
}
