//! Weight matrices in the layouts of the kernels.

use std::marker::PhantomData;

use bytemuck::Pod;
use half::{bf16, f16};
use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, WeightData};

use crate::int8::{Int8Kind, Int8Weight, packed_bytes};
use crate::kernel::Number;
use crate::storage::Storage;
use crate::{Compute, Isa, Pool, TILE};

/// Floats in tiles of 16 output rows; the last tile is padded with zeros. // [tiles, K, 16]
#[derive(Debug)]
pub(crate) struct FloatTiles<W> {
    bytes: Storage,
    rows: usize,
    pub(crate) cols: usize,
    number: PhantomData<W>,
}

impl<W: Pod + Number> FloatTiles<W> {
    fn new(matrix: &BlockMatrix, pool: &Pool) -> Self {
        let (rows, cols, width) = (matrix.rows, matrix.cols, size_of::<W>());
        assert_eq!(matrix.bytes.len(), rows * cols * width, "bytes of a {rows} x {cols} matrix");
        let mut bytes = Storage::zeroed(rows.div_ceil(TILE) * TILE * cols * width);
        pool.run_parts(&mut bytes, (TILE * cols * width).max(1), |tile, out| {
            let out: &mut [W] = bytemuck::cast_slice_mut(out);
            let first = tile * TILE;
            for lane in 0..TILE.min(rows - first) {
                let values = matrix.row(first + lane).chunks_exact(width);
                for (out, value) in out.iter_mut().skip(lane).step_by(TILE).zip(values) {
                    *out = bytemuck::pod_read_unaligned(value);
                }
            }
        });
        Self { bytes, rows, cols, number: PhantomData }
    }

    /// Returns all values. // [tiles, K, 16]
    #[inline(always)]
    pub(crate) fn values(&self) -> &[W] {
        bytemuck::cast_slice(&self.bytes)
    }

    /// Copies row `r` to `out`. // `[K]`
    fn row(&self, r: usize, out: &mut [f32]) {
        let tile = &self.values()[r / TILE * TILE * self.cols..][..TILE * self.cols];
        for (out, lanes) in out.iter_mut().zip(tile.chunks_exact(TILE)) {
            *out = lanes[r % TILE].to_f32();
        }
    }
}

/// A weight matrix `[M, K]` in the layout of its kernel.
#[derive(Debug)]
pub(crate) enum Stored {
    F32(FloatTiles<f32>),
    F16(FloatTiles<f16>),
    BF16(FloatTiles<bf16>),
    /// The weight as uploaded, decoded tile by tile during each product.
    Encoded(WeightData),
    Int8(Int8Weight),
    /// Norm gains or frequencies. // [1, K]
    Vector(Vec<f32>),
}

impl Stored {
    pub(crate) fn new(weight: WeightData, compute: Compute, isa: Isa, pool: &Pool) -> Self {
        match &weight {
            WeightData::Blocks(m) if m.encoding == Encoding::F32 => return Self::F32(FloatTiles::new(m, pool)),
            WeightData::Blocks(m) if m.encoding == Encoding::F16 => return Self::F16(FloatTiles::new(m, pool)),
            WeightData::Blocks(m) if m.encoding == Encoding::BF16 => return Self::BF16(FloatTiles::new(m, pool)),
            _ => {}
        }
        let int8 = if compute == Compute::Fast { Int8Weight::pack_on(&weight, isa, pool) } else { None };
        int8.map_or(Self::Encoded(weight), Self::Int8)
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::F32(w) => w.rows,
            Self::F16(w) => w.rows,
            Self::BF16(w) => w.rows,
            Self::Encoded(w) => w.rows(),
            Self::Int8(w) => w.rows(),
            Self::Vector(_) => 1,
        }
    }

    pub(crate) fn cols(&self) -> usize {
        match self {
            Self::F32(w) => w.cols,
            Self::F16(w) => w.cols,
            Self::BF16(w) => w.cols,
            Self::Encoded(w) => w.cols(),
            Self::Int8(w) => w.cols(),
            Self::Vector(w) => w.len(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::F32(w) => w.bytes.len(),
            Self::F16(w) => w.bytes.len(),
            Self::BF16(w) => w.bytes.len(),
            Self::Encoded(WeightData::Blocks(w)) => w.bytes.len(),
            Self::Encoded(WeightData::Groups(w)) => group_bytes(w.rows, w.cols, w.groups(), w.order.is_some()),
            Self::Int8(w) => w.bytes(),
            Self::Vector(w) => size_of_val(w.as_slice()),
        }
    }

    /// Decodes row `r`. // `[K]`
    pub(crate) fn row(&self, r: usize, out: &mut [f32]) {
        match self {
            Self::F32(w) => w.row(r, out),
            Self::F16(w) => w.row(r, out),
            Self::BF16(w) => w.row(r, out),
            Self::Encoded(w) => w.dequantize_row(r, out),
            Self::Int8(w) => w.row(r, out),
            Self::Vector(w) => out.copy_from_slice(w),
        }
    }
}

/// Returns the bytes of a [`GroupMatrix`] with integer zero points.
fn group_bytes(rows: usize, cols: usize, groups: usize, ordered: bool) -> usize {
    rows * cols + rows * groups * (size_of::<f32>() + 1) + if ordered { cols * size_of::<u32>() } else { 0 }
}

/// Decodes columns `start..start + out.len()` of row `r` of `w`. `start` and the length must be whole blocks.
pub(crate) fn decode_part(w: &WeightData, r: usize, start: usize, out: &mut [f32]) {
    match w {
        WeightData::Blocks(m) => {
            let (len, bytes) = (m.encoding.block_len(), m.encoding.block_bytes());
            let part = &m.row(r)[start / len * bytes..][..out.len() / len * bytes];
            m.encoding.dequantize_row(part, out);
        }
        WeightData::Groups(m) => decode_groups(m, r, start, out),
    }
}

/// Decodes a part of a row to the same values as [`GroupMatrix::dequantize_row`].
fn decode_groups(m: &GroupMatrix, r: usize, start: usize, out: &mut [f32]) {
    let codes = &m.row_codes(r)[start..][..out.len()];
    let mut done = 0;
    while done < out.len() {
        let column = start + done;
        let run = if m.order.is_some() { 1 } else { (m.group_size - column % m.group_size).min(out.len() - done) };
        let scale = m.scale(r, column);
        let part = out[done..done + run].iter_mut().zip(&codes[done..done + run]);
        match (m.zero(r, column), m.bias(r, column)) {
            (Some(zero), _) => part.for_each(|(v, q)| *v = scale * (f32::from(*q) - f32::from(zero))),
            (None, Some(bias)) => part.for_each(|(v, q)| *v = scale * f32::from(*q) + bias),
            (None, None) => part.for_each(|(v, q)| *v = scale * f32::from(*q)),
        }
        done += run;
    }
}

/// Returns the bytes that a weight matrix `[rows, cols]` takes on this back end once it is uploaded, for memory planning.
///
/// Encodings that [`Compute::F32`] keeps unchanged are counted, although they may be views of a memory map.
#[must_use]
pub fn weight_bytes(kind: Int8Kind, rows: usize, cols: usize, compute: Compute) -> usize {
    let tiles = rows.div_ceil(TILE) * TILE * cols;
    match kind {
        Int8Kind::Blocks(Encoding::F32) => return tiles * size_of::<f32>(),
        Int8Kind::Blocks(Encoding::F16 | Encoding::BF16) => return tiles * size_of::<f16>(),
        _ => {}
    }
    let packed = if compute == Compute::Fast { packed_bytes(kind, rows, cols) } else { None };
    packed.unwrap_or_else(|| match kind {
        Int8Kind::Blocks(e) => rows * (cols / e.block_len() * e.block_bytes()),
        Int8Kind::Groups { group_size, .. } => group_bytes(rows, cols, cols.div_ceil(group_size.max(1)), false),
    })
}
