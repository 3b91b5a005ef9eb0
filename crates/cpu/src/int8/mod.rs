//! Quantised weights times activations in 8 bits.
//!
//! Weights are stored in tiles of 16 output rows, interleaved so that one vector holds 4 columns of 16 rows, with the bit
//! width of their encoding. Unsigned codes are the operands of 8-bit dot products; zero points and minima are corrected by
//! sums of the activations' codes. The same layout serves one row and many. Activations are rounded to 8 bits in blocks of 32
//! columns for every encoding ([`quantize`]).
//!
//! A row's result depends on the row and the weight alone, not on neighbouring rows, threads or the instruction set.
//!
//! To add an encoding, write one file with its `TileFormat` and `pack`, and add one line to `kind::blocks` and two for
//! `Format`. To add an instruction set, write one file that implements `Simd`, and add one line to `Int8Weight::multiply` and one to
//! `peak::int8_operations`.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod groups;
mod iq4;
mod kernel;
mod kind;
mod low_groups;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod peak;
mod portable;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod rounding;
mod simd;
#[cfg(target_arch = "wasm32")]
mod simd128;
mod source;
mod terms;
mod tile;

use std::ops::Range;
use std::sync::Mutex;

use honelm_blocks::WeightData;

use crate::{Isa, OutputTile, Pool, TILE, storage::Storage};
use groups::GroupSource;
use kernel::Packed;
use kind::{Format, with_format};
use portable::Portable;
use tile::{CHUNK, Rule, Shape, TileFormat, TileLayout, tile_count};

pub use activations::{QuantizedRows, quantize, quantize_ordered};
pub use kind::{Int8Kind, ZeroKind, packed_bytes};
pub use rounding::Rounding;

/// A weight matrix `[rows, cols]` packed for products with [`QuantizedRows`].
#[derive(Debug)]
pub struct Int8Weight {
    rows: usize,
    cols: usize,
    isa: Isa,
    format: Format,
    layout: TileLayout,
    bytes: Storage,
    order: Option<Vec<u32>>,
}

impl Int8Weight {
    /// Packs `weight`.
    ///
    /// Returns `None` if there is no kernel: for floats, for the encodings that `docs/support.md` lists without one, for
    /// groups whose bits are not 2, 3, 4 or 8, whose size is not a multiple of 32 or which have biases, and for columns that
    /// do not fill blocks of 32.
    #[must_use]
    pub fn pack(weight: &WeightData, isa: Isa) -> Option<Self> {
        Self::pack_on(weight, isa, &Pool::new(Some(1)))
    }

    /// Packs `weight` on the threads of `pool`; see [`Int8Weight::pack`].
    #[must_use]
    pub fn pack_on(weight: &WeightData, isa: Isa, pool: &Pool) -> Option<Self> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let format = Format::of(Int8Kind::of(weight), cols)?;
        let layout = format.layout(cols)?;
        let mut bytes = Storage::zeroed(tile_count(rows).checked_mul(layout.tile_bytes)?);
        let mut order = None;
        match weight {
            WeightData::Blocks(m) => {
                let (_, pack) = kind::blocks(m.encoding)?;
                fill_tiles(pool, &mut bytes, &layout, rows, &|r, lane, tile| pack(&layout, m.row(r), lane, tile));
            }
            WeightData::Groups(m) => {
                let source = GroupSource::new(m)?;
                let bits = u32::from(m.bits);
                fill_tiles(pool, &mut bytes, &layout, rows, &|r, lane, tile| source.pack(&layout, bits, r, lane, tile));
                order = source.order;
            }
        }
        Some(Self { rows, cols, isa, format, layout, bytes, order })
    }

    /// Returns the number of output rows (M).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of input columns (K).
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the number of tiles of 16 output rows; the last may be partial.
    #[must_use]
    pub fn tiles(&self) -> usize {
        tile_count(self.rows)
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.order.as_ref().map_or(0, |order| size_of_val(order.as_slice()))
    }

    /// Returns the column of the activations at each packed position, if the columns are reordered (GPTQ's act-order). This
    /// is the argument of [`quantize_ordered`]. // `[cols]`
    #[must_use]
    pub fn column_order(&self) -> Option<&[u32]> {
        self.order.as_deref()
    }

    /// Decodes output row `r` into `out` `[cols]`, to the same values as [`WeightData::dequantize_row`].
    ///
    /// # Panics
    /// Panics if there is no such row or `out` is not `cols` long.
    pub fn row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows && out.len() == self.cols, "row {r} of {} into {} values", self.rows, out.len());
        let tile = &self.bytes[r / TILE * self.layout.tile_bytes..][..self.layout.tile_bytes];
        for b in 0..self.layout.blocks {
            let values = with_format!(&self.format, f => decode_row(f, &self.layout, tile, b, r % TILE));
            match &self.order {
                None => out[b * 32..][..32].copy_from_slice(&values),
                Some(order) => {
                    for (value, &column) in values.iter().zip(&order[b * 32..]) {
                        out[column as usize] = *value;
                    }
                }
            }
        }
    }

    /// Multiplies rows `rows` of `x` `[N, K]` by the output rows of `tiles`, and writes to the same rows of `out` `[N, M]`.
    ///
    /// # Panics
    /// Panics if `x` has another number of columns, or if rows or tiles are outside `x` or `out`.
    pub fn multiply(&self, tiles: Range<usize>, x: &QuantizedRows, rows: Range<usize>, out: &mut OutputTile<'_>) {
        assert_eq!(x.cols(), self.cols, "columns of activations");
        assert!(rows.end <= x.rows() && tiles.end <= self.tiles(), "rows {rows:?}, tiles {tiles:?}");
        with_format!(self.format, format => {
            let weights = Packed { format, layout: self.layout, bytes: &self.bytes };
            match self.isa {
                Isa::Generic => kernel::multiply(Portable, &weights, tiles, x, rows, out),
                #[cfg(target_arch = "wasm32")]
                Isa::Simd128(token) => kernel::multiply(token, &weights, tiles, x, rows, out),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon(token) => kernel::multiply(token, &weights, tiles, x, rows, out),
                #[cfg(target_arch = "aarch64")]
                Isa::DotProd(token) => kernel::multiply(token, &weights, tiles, x, rows, out),
                #[cfg(target_arch = "aarch64")]
                Isa::I8mm(token) => kernel::multiply(token, &weights, tiles, x, rows, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(token) => kernel::multiply(token, &weights, tiles, x, rows, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => kernel::multiply(token, &weights, tiles, x, rows, out),
            }
        });
    }
}

/// Calls `pack(row, lane, tile)` for each output row. The pool's threads share the tiles.
fn fill_tiles(
    pool: &Pool,
    bytes: &mut [u8],
    layout: &TileLayout,
    rows: usize,
    pack: &(dyn Fn(usize, usize, &mut [u8]) + Sync),
) {
    let tiles = Mutex::new(bytes.chunks_exact_mut(layout.tile_bytes).enumerate());
    pool.run(tile_count(rows), |_| {
        let next = tiles.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
        if let Some((t, tile)) = next {
            for (lane, r) in (t * TILE..rows.min((t + 1) * TILE)).enumerate() {
                pack(r, lane, tile);
            }
        }
    });
}

/// Decodes block `b` of one lane.
fn decode_row<F: TileFormat>(format: &F, layout: &TileLayout, tile: &[u8], b: usize, lane: usize) -> [f32; 32] {
    let block = format.block(Portable, &layout.chunk(tile, b / CHUNK), b % CHUNK);
    std::array::from_fn(|k| {
        let q = i32::from(block.codes[k / 4][4 * lane + k % 4]);
        let (scale, second) = (block.scale[lane], block.second[lane]);
        match F::Shape::RULE {
            Rule::Zero => scale * (q - format.zero()) as f32,
            Rule::RowZero => scale * (q - block.zeros[lane]) as f32,
            Rule::Offset => scale * q as f32 + second,
            Rule::Halves => (if k < 16 { scale } else { second }) * (q - format.zero()) as f32,
            Rule::OffsetHalves => (if k < 16 { scale } else { second }) * q as f32 + block.offsets[k / 16][lane],
        }
    })
}
