//! Activations in 8 bits, rounded in blocks of 32.

use crate::isa::{Isa, multiversion};

/// Columns that share a scale.
pub(super) const BLOCK: usize = 32;

/// 1.5 * 2^23: a float of magnitude below 2^22 added to it keeps its nearest integer (ties to even) in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Rows of activations in 8 bits: `x = scale * code` in blocks of 32 columns.
///
/// scale = max |x| / 127 and code = x / scale to the nearest integer, ties to even, with the same bits on every
/// instruction set. A block that holds a value that is not finite gets a NaN scale, which reaches every output of the row.
#[derive(Debug, Clone, Default)]
pub struct QuantizedRows {
    rows: usize,
    cols: usize,
    /// Codes in -127..=127. // [N, K]
    codes: Vec<i8>,
    /// Scales. // [N, K / 32]
    scales: Vec<f32>,
    /// Sums of the codes of each half of a block. // [N, K / 32, 2]
    sums: Vec<[i32; 2]>,
}

/// One row, or some blocks of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowBlocks<'a> {
    pub codes: &'a [[i8; BLOCK]],
    pub scales: &'a [f32],
    pub sums: &'a [[i32; 2]],
}

impl QuantizedRows {
    /// No rows; [`quantize`] makes room as it needs and keeps it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows (N).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (K).
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Codes in -127..=127. // [N, K]
    #[must_use]
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// Scales. // [N, K / 32]
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Sums of the codes of each half (16 columns) of a block. // [N, K / 32]
    #[must_use]
    pub fn sums(&self) -> &[[i32; 2]] {
        &self.sums
    }

    /// Bytes that `rows` rows of `cols` columns take.
    #[must_use]
    pub fn bytes(rows: usize, cols: usize) -> usize {
        rows * (cols + cols / BLOCK * (size_of::<f32>() + size_of::<[i32; 2]>()))
    }

    fn resize(&mut self, rows: usize, cols: usize) {
        let blocks = rows * (cols / BLOCK);
        (self.rows, self.cols) = (rows, cols);
        self.codes.resize(rows * cols, 0);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, [0; 2]);
    }

    /// Blocks `first..first + count` of row `r`.
    #[inline(always)]
    pub(super) fn blocks(&self, r: usize, first: usize, count: usize) -> RowBlocks<'_> {
        let start = r * (self.cols / BLOCK) + first;
        RowBlocks {
            codes: &self.codes.as_chunks::<BLOCK>().0[start..start + count],
            scales: &self.scales[start..start + count],
            sums: &self.sums[start..start + count],
        }
    }
}

/// Rounds `x` `[rows, cols]` to 8 bits in blocks of 32 columns.
///
/// # Panics
/// When `x` has another length or `cols` is not a multiple of 32.
pub fn quantize(x: &[f32], rows: usize, cols: usize, isa: Isa, out: &mut QuantizedRows) {
    quantize_ordered(x, rows, cols, None, isa, out);
}

/// As [`quantize`], with column `order[p]` of `x` at position p: what a weight whose
/// [`super::Int8Weight::column_order`] is `order` multiplies.
///
/// # Panics
/// As [`quantize`]; when `order` is not `cols` long or names a column past the last.
pub fn quantize_ordered(
    x: &[f32],
    rows: usize,
    cols: usize,
    order: Option<&[u32]>,
    isa: Isa,
    out: &mut QuantizedRows,
) {
    assert_eq!(x.len(), rows * cols, "values of {rows} rows of {cols}");
    assert!(cols.is_multiple_of(BLOCK), "{cols} columns are not blocks of {BLOCK}");
    assert!(order.is_none_or(|order| order.len() == cols), "columns in order");
    out.resize(rows, cols);
    if cols > 0 {
        quantize_rows(isa, x, cols, order, out);
    }
}

multiversion! {
    fn quantize_rows(isa, x: &[f32], cols: usize, order: Option<&[u32]>, out: &mut QuantizedRows) = quantize_body;
}

#[inline(always)]
fn quantize_body(x: &[f32], cols: usize, order: Option<&[u32]>, out: &mut QuantizedRows) {
    let blocks = out.codes.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&mut out.scales).zip(&mut out.sums);
    let Some(order) = order else {
        for (values, ((codes, scale), sums)) in x.as_chunks::<BLOCK>().0.iter().zip(blocks) {
            (*scale, *sums) = quantize_block(values, codes);
        }
        return;
    };
    let per_row = cols / BLOCK;
    for (i, ((codes, scale), sums)) in blocks.enumerate() {
        let row = &x[i / per_row * cols..][..cols];
        let mut values = [0.0; BLOCK];
        for (value, &column) in values.iter_mut().zip(&order[i % per_row * BLOCK..]) {
            *value = row[column as usize];
        }
        (*scale, *sums) = quantize_block(&values, codes);
    }
}

/// Rounds one block; its scale and the sums of the halves' codes.
#[inline(always)]
fn quantize_block(values: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> (f32, [i32; 2]) {
    // Without their sign bits, floats are ordered as their bits are, and NaN is above infinity.
    let top = values.iter().fold(0, |top: u32, v| top.max(v.to_bits() & 0x7fff_ffff));
    let top = f32::from_bits(top);
    let scale = top / 127.0;
    if !top.is_finite() || scale == 0.0 {
        *codes = [0; BLOCK];
        return (if top.is_finite() { 0.0 } else { f32::NAN }, [0; 2]);
    }
    let mut sums = [0; 2];
    for ((values, codes), sum) in
        values.as_chunks::<16>().0.iter().zip(codes.as_chunks_mut::<16>().0.iter_mut()).zip(&mut sums)
    {
        for (code, v) in codes.iter_mut().zip(values) {
            // Only a denormal scale can leave the range.
            let q = (v / scale).clamp(-127.0, 127.0) + ROUNDER;
            *code = q.to_bits() as u8 as i8;
            *sum += i32::from(*code);
        }
    }
    (scale, sums)
}
