//! Matrix products. One call runs several products of the same activations; the pool's threads share the tiles.

use std::ops::Range;

use bytemuck::Pod;
use honelm_backend::Activation;
use honelm_blocks::WeightData;

use crate::int8::QuantizedRows;
use crate::kernel::{Lanes, Number, Tiles, height, packed, with_lanes};
use crate::weights::{FloatTiles, Stored, decode_part};
use crate::{Isa, Output, OutputTile, Pool, TILE, activation};

/// The number of columns per step along K: a few weight tiles of this depth fit in the L1 cache. A multiple of every block
/// length.
pub(crate) const DEPTH: usize = 256;
/// The number of rows that share a step along K and fit in the L2 cache. A multiple of every panel height.
pub(crate) const ROWS: usize = 384;
/// Up to this many rows, reading the weights takes longer than the products.
const FEW: usize = 16;
/// The number of tiles that are decoded at once.
const DECODED: usize = 4;
/// The scratch of one thread, in floats.
pub(crate) const SCRATCH: usize = (DECODED * TILE + 1) * DEPTH;

/// An uploaded weight and its bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Stored,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Activations in single precision. // [N, K]
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Panels of rows, each `[K][rows of the panel]`, as written by [`pack`].
    pub(crate) packed: &'a [f32],
}

/// A weight, its result, and the activations in 8 bits if the weight has an 8-bit kernel.
pub(crate) struct Part<'a> {
    pub(crate) linear: &'a Linear,
    pub(crate) quantized: Option<&'a QuantizedRows>,
    pub(crate) out: Output<'a>,
}

/// An operation on the columns of a product once they are complete.
pub(crate) enum Finish<'a> {
    /// Nothing.
    Keep,
    /// Adds the product to this matrix.
    AddTo(Output<'a>),
    /// Replaces the product by f(product) * the product of this part.
    Gate(Part<'a>, Activation),
}

/// One product `[N, K] x [M, K]^T + bias`.
pub(crate) struct Product<'a> {
    pub(crate) part: Part<'a>,
    pub(crate) finish: Finish<'a>,
}

/// Returns the numbers of rows that a panel may have.
fn heights(isa: Isa) -> &'static [usize] {
    match isa {
        Isa::Generic => <crate::kernel::Generic as Lanes>::HEIGHTS,
        #[cfg(target_arch = "wasm32")]
        Isa::Simd128(_) => <crate::Simd128 as Lanes>::HEIGHTS,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) | Isa::DotProd(_) | Isa::I8mm(_) => <crate::Neon as Lanes>::HEIGHTS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => <crate::Avx2 as Lanes>::HEIGHTS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => <crate::Avx512 as Lanes>::HEIGHTS,
    }
}

/// Packs `x` `[N, cols]` into panels.
pub(crate) fn pack(pool: &Pool, isa: Isa, x: &[f32], cols: usize, out: &mut [f32]) {
    let heights = heights(isa);
    let chunk = heights[0] * cols;
    if chunk == 0 {
        return;
    }
    pool.run_parts(out, chunk, |i, out| {
        let x = &x[i * chunk..][..out.len()];
        let rows = x.len() / cols;
        let mut first = 0;
        while first < rows {
            let h = height(rows - first, heights);
            let panel = &mut out[first * cols..(first + h) * cols];
            let x = &x[first * cols..(first + h) * cols];
            for (k, out) in panel.chunks_exact_mut(h).enumerate() {
                for (out, row) in out.iter_mut().zip(x.chunks_exact(cols)) {
                    *out = row[k];
                }
            }
            first += h;
        }
    });
}

/// Computes `products` of `x`. Each thread has a scratch of [`SCRATCH`] floats.
pub(crate) fn run<S: AsMut<[f32]> + Send>(
    pool: &Pool,
    isa: Isa,
    scratch: &mut [S],
    x: Input<'_>,
    products: &[Product<'_>],
) {
    let tiles: usize = products.iter().map(|p| p.part.out.tile_count()).sum();
    // More tasks per thread balance the load; more tiles per task read many rows of activations less often. A task costs as
    // much as a row of a few hundred columns, and one thread needs no balance.
    let tasks_per_thread = match (pool.threads(), x.rows) {
        (1, _) => 1,
        (_, ..8) => 16,
        _ => 6,
    };
    let step = (tiles / (pool.threads() * tasks_per_thread)).clamp(4, 64).next_multiple_of(4);
    let tasks = products.iter().map(|p| p.part.out.tile_count().div_ceil(step)).sum();
    pool.run_with(scratch, tasks, |task, scratch| {
        let mut task = task;
        for product in products {
            let tiles = product.part.out.tile_count();
            let own = tiles.div_ceil(step);
            if task < own {
                let tiles = task * step..((task + 1) * step).min(tiles);
                run_tiles(isa, x, product, tiles, scratch.as_mut());
                return;
            }
            task -= own;
        }
    });
}

/// Computes the columns of `tiles` of one product.
fn run_tiles(isa: Isa, x: Input<'_>, product: &Product<'_>, tiles: Range<usize>, scratch: &mut [f32]) {
    // SAFETY: `run` gives each range of tiles of a product to one task, and each output of a product is a separate matrix.
    let mut out = unsafe { product.part.out.tiles(tiles.clone()) };
    multiply(isa, x, &product.part, &mut out, scratch);
    match &product.finish {
        Finish::Keep => {}
        Finish::AddTo(target) => {
            // SAFETY: as above.
            let mut target = unsafe { target.tiles(tiles.clone()) };
            for r in 0..x.rows {
                activation::add(isa, target.row(r, tiles.clone()), out.row(r, tiles.clone()));
            }
        }
        Finish::Gate(part, f) => {
            // SAFETY: as above.
            let mut up = unsafe { part.out.tiles(tiles.clone()) };
            multiply(isa, x, part, &mut up, scratch);
            for r in 0..x.rows {
                activation::gate(isa, out.row(r, tiles.clone()), up.row(r, tiles.clone()), *f);
            }
        }
    }
}

fn multiply(isa: Isa, x: Input<'_>, part: &Part<'_>, out: &mut OutputTile<'_>, scratch: &mut [f32]) {
    match (&part.linear.weight, part.quantized) {
        (Stored::Int8(weight), Some(quantized)) => weight.multiply(out.tiles(), quantized, 0..x.rows, out),
        (Stored::Int8(_), None) => unreachable!("activations are rounded before an 8-bit product"),
        (weight, _) => float_tiles(isa, weight, x, out, scratch),
    }
    if let Some(bias) = &part.linear.bias {
        let bias = &bias[out.columns()];
        for r in 0..x.rows {
            activation::add(isa, out.row(r, out.tiles()), bias);
        }
    }
}

fn float_tiles(isa: Isa, weight: &Stored, x: Input<'_>, out: &mut OutputTile<'_>, scratch: &mut [f32]) {
    with_lanes!(isa, tiles(weight: &Stored, x: Input<'_>, out: &mut OutputTile<'_>, scratch: &mut [f32]));
}

#[inline(always)]
fn tiles<L: Lanes>(l: L, weight: &Stored, x: Input<'_>, out: &mut OutputTile<'_>, scratch: &mut [f32]) {
    match weight {
        Stored::F32(w) => float(l, w, x, out),
        Stored::F16(w) => float(l, w, x, out),
        Stored::BF16(w) => float(l, w, x, out),
        Stored::Encoded(w) => decoded(l, w, x, out, scratch),
        Stored::Int8(_) | Stored::Vector(_) => unreachable!("not a float matrix"),
    }
}

#[inline(always)]
fn float<L: Lanes, W: Pod + Number>(l: L, w: &FloatTiles<W>, x: Input<'_>, out: &mut OutputTile<'_>) {
    // A single row fits in the L1 cache.
    let depth = if x.rows == 1 { x.cols.max(1) } else { DEPTH };
    let group = if x.rows < 8 { 4 } else { 2 };
    // With few rows, weights are read in the order of memory; with many, the activations of a step stay in the cache.
    let run = if x.rows <= FEW { group } else { out.tiles().len().max(1) };
    for rows in steps(0..x.rows, ROWS) {
        for run in steps(out.tiles(), run) {
            for ks in steps(0..x.cols, depth) {
                for tiles in steps(run.clone(), group) {
                    let data = &w.values()[tiles.start * TILE * x.cols + ks.start * TILE..];
                    let weights = Tiles { data, tile: TILE * x.cols, step: TILE };
                    panels(l, x, rows.clone(), ks.clone(), weights, tiles, out);
                }
            }
        }
    }
}

#[inline(always)]
fn decoded<L: Lanes>(l: L, w: &WeightData, x: Input<'_>, out: &mut OutputTile<'_>, scratch: &mut [f32]) {
    let (data, row) = scratch[..SCRATCH].split_at_mut(DECODED * TILE * DEPTH);
    for rows in steps(0..x.rows, ROWS) {
        for ks in steps(0..x.cols, DEPTH) {
            for tiles in steps(out.tiles(), DECODED) {
                decode_tiles(w, tiles.clone(), ks.clone(), row, data);
                let weights = Tiles { data: &*data, tile: TILE * DEPTH, step: TILE };
                panels(l, x, rows.clone(), ks.clone(), weights, tiles, out);
            }
        }
    }
}

/// Decodes columns `ks` of `tiles` of `w`; rows past the last become zeros. // -> [tiles, DEPTH, 16]
fn decode_tiles(w: &WeightData, tiles: Range<usize>, ks: Range<usize>, row: &mut [f32], out: &mut [f32]) {
    let row = &mut row[..ks.len()];
    for (tile, out) in tiles.zip(out.chunks_exact_mut(TILE * DEPTH)) {
        for lane in 0..TILE {
            let r = tile * TILE + lane;
            if r < w.rows() {
                decode_part(w, r, ks.start, row);
            } else {
                row.fill(0.0);
            }
            for (out, value) in out.chunks_exact_mut(TILE).zip(&*row) {
                out[lane] = *value;
            }
        }
    }
}

/// Multiplies all panels of `rows` by `tiles`, for terms `ks` of the sums.
#[inline(always)]
fn panels<L: Lanes, W: Number>(
    l: L,
    x: Input<'_>,
    rows: Range<usize>,
    ks: Range<usize>,
    weights: Tiles<'_, W>,
    tiles: Range<usize>,
    out: &mut OutputTile<'_>,
) {
    let mut r = rows.start;
    while r < rows.end {
        let h = height(rows.end - r, L::HEIGHTS);
        let panel = &x.packed[r * x.cols + ks.start * h..][..ks.len() * h];
        packed(l, (panel, h), weights, (ks.len(), tiles.len()), out, (r, tiles.start), ks.start > 0);
        r += h;
    }
}

/// Splits `range` into steps. An empty range gives one empty step, so that sums without terms are written too.
pub(crate) fn steps(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(step).max(1);
    (0..count).map(move |i| range.start + i * step..range.end.min(range.start + (i + 1) * step))
}
