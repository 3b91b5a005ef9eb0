//! Products of float matrices in memory, for statistics of inputs and for gradients.

use std::ops::Range;
use std::sync::OnceLock;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::kernel::{Lanes, Rows, Tiles, height, packed, with_lanes};
use crate::linear::{DEPTH, ROWS, steps};
use crate::{Isa, TILE};

/// The number of tiles that are packed at once.
const PACKED: usize = 2;

/// Computes C = `scale` A B + `keep` C on the calling thread. C is not read where `keep` is 0.
///
/// One lane computes each sum, term after term, so that a value depends on its own row of A and column of B alone, and a
/// product may be split by rows and columns without a change of a bit. // A [N, K], B [K, M], C [N, M]
///
/// # Panics
/// Panics if the shapes do not agree.
pub fn multiply(scale: f32, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, keep: f32, c: &mut ArrayViewMut2<'_, f32>) {
    let ((n, k), m) = (a.dim(), b.ncols());
    assert!(b.nrows() == k && c.dim() == (n, m), "{:?} times {:?} to {:?}", a.dim(), b.dim(), c.dim());
    if c.is_empty() {
        return;
    }
    match c.strides() {
        [_, 1] => {}
        [1, _] => {
            return multiply(scale, b.reversed_axes(), a.reversed_axes(), keep, &mut c.view_mut().reversed_axes());
        }
        _ => {
            let mut own = c.to_owned();
            multiply(scale, a, b, keep, &mut own.view_mut());
            return c.assign(&own);
        }
    }
    if keep == 0.0 {
        c.fill(0.0);
    } else if keep != 1.0 {
        c.map_inplace(|x| *x *= keep);
    }
    static ISA: OnceLock<Isa> = OnceLock::new();
    blocked(*ISA.get_or_init(Isa::detect), scale, a, b, c);
}

fn blocked(isa: Isa, scale: f32, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: &mut ArrayViewMut2<'_, f32>) {
    with_lanes!(
        isa,
        add_product(scale: f32, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: &mut ArrayViewMut2<'_, f32>)
    );
}

#[inline(always)]
fn add_product<L: Lanes>(
    l: L,
    scale: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    c: &mut ArrayViewMut2<'_, f32>,
) {
    let ((n, k), m) = (a.dim(), b.ncols());
    let depth = k.min(DEPTH);
    let mut panels = vec![0f32; n.min(ROWS) * depth];
    let mut tiles = vec![0f32; PACKED * TILE * depth];
    let mut out = Sums { c: c.view_mut() };
    for ks in steps(0..k, DEPTH) {
        for rows in steps(0..n, ROWS) {
            pack_panels(scale, a, rows.clone(), ks.clone(), L::HEIGHTS, &mut panels);
            for columns in steps(0..m, PACKED * TILE) {
                let count = columns.len().div_ceil(TILE);
                pack_tiles(b, ks.clone(), columns.clone(), &mut tiles);
                let weights = Tiles { data: &tiles[..], tile: TILE * ks.len(), step: TILE };
                let mut r = rows.start;
                while r < rows.end {
                    let h = height(rows.end - r, L::HEIGHTS);
                    let panel = &panels[(r - rows.start) * ks.len()..][..h * ks.len()];
                    let at = (r, columns.start / TILE);
                    packed(l, (panel, h), weights, (ks.len(), count), &mut out, at, true);
                    r += h;
                }
            }
        }
    }
}

/// Writes `scale` A of some rows and terms as panels, each `[terms][rows of the panel]`.
#[inline(always)]
fn pack_panels(
    scale: f32,
    a: ArrayView2<'_, f32>,
    rows: Range<usize>,
    ks: Range<usize>,
    heights: &[usize],
    out: &mut [f32],
) {
    let mut r = rows.start;
    while r < rows.end {
        let h = height(rows.end - r, heights);
        let panel = &mut out[(r - rows.start) * ks.len()..][..h * ks.len()];
        if a.strides()[0] == 1 {
            for (k, out) in ks.clone().zip(panel.chunks_exact_mut(h)) {
                let column = a.column(k);
                let values = column.as_slice().map(|column| &column[r..r + h]).unwrap_or_default();
                out.iter_mut().zip(values).for_each(|(out, x)| *out = scale * x);
            }
        } else {
            for i in 0..h {
                let row = a.row(r + i);
                let values = panel.iter_mut().skip(i).step_by(h);
                match row.as_slice() {
                    Some(row) => values.zip(&row[ks.clone()]).for_each(|(out, x)| *out = scale * x),
                    None => values.zip(row.iter().skip(ks.start)).for_each(|(out, x)| *out = scale * x),
                }
            }
        }
        r += h;
    }
}

/// Writes some columns of B as tiles, each `[terms][16]`. Columns past the last become zeros.
#[inline(always)]
fn pack_tiles(b: ArrayView2<'_, f32>, ks: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
    for (columns, out) in steps(columns, TILE).zip(out.chunks_exact_mut((TILE * ks.len()).max(1))) {
        let width = columns.len();
        if b.strides()[1] == 1 {
            for (k, out) in ks.clone().zip(out.chunks_exact_mut(TILE)) {
                let row = b.row(k);
                let values = row.as_slice().map(|row| &row[columns.clone()]).unwrap_or_default();
                out[..width].copy_from_slice(values);
                out[width..].fill(0.0);
            }
        } else {
            for lane in 0..TILE {
                let values = out.iter_mut().skip(lane).step_by(TILE);
                if lane < width {
                    let column = b.column(columns.start + lane);
                    match column.as_slice() {
                        Some(column) => values.zip(&column[ks.clone()]).for_each(|(out, x)| *out = *x),
                        None => values.zip(column.iter().skip(ks.start)).for_each(|(out, x)| *out = *x),
                    }
                } else {
                    values.for_each(|out| *out = 0.0);
                }
            }
        }
    }
}

/// The sums in C, whose rows are contiguous.
struct Sums<'c> {
    c: ArrayViewMut2<'c, f32>,
}

impl Rows for Sums<'_> {
    const STREAM: bool = false;

    #[inline(always)]
    fn row(&mut self, row: usize, tile: usize, tiles: usize) -> &mut [f32] {
        let (start, width) = (tile * TILE, self.c.ncols());
        let row = self.c.row_mut(row).into_slice().unwrap_or_default();
        &mut row[start..width.min(start + tiles * TILE)]
    }
}
