//! Activations in 8 bits, rounded in blocks of 32.

use crate::isa::{Isa, multiversion};

/// The number of columns that share a scale.
pub(super) const BLOCK: usize = 32;

/// 1.5 * 2^23. Added to a float of magnitude below 2^22, it leaves the nearest integer (ties to even) in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// The number of rows in a panel, which is that of the widest kernel.
pub(super) const PANEL: usize = 8;

/// Rows of activations in 8 bits: `x = scale * code` in blocks of 32 columns.
///
/// scale = max |x| / 127, and code = x / scale rounded to the nearest integer, ties to even, with the same bits on every
/// instruction set. If a block holds a value that is not finite, its scale is NaN, and so is every output of the row.
///
/// Rows are stored in panels of 8, block after block, so that a kernel reads one stream: `[panel, block, row of the panel]`.
/// The last panel is as wide as the narrowest kernel (1, 2, 4 or 8 rows) that holds its rows, padded with rows of zeros.
#[derive(Debug, Clone, Default)]
pub struct QuantizedRows {
    rows: usize,
    cols: usize,
    codes: Vec<[i8; BLOCK]>,
    scales: Vec<f32>,
    /// The sums of the codes of each half of a block.
    sums: Vec<[i32; 2]>,
}

impl QuantizedRows {
    /// Creates an empty value. [`quantize`] allocates memory as needed and keeps it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of rows (N).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns (K).
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the bytes that `rows` rows of `cols` columns take.
    #[must_use]
    pub fn bytes(rows: usize, cols: usize) -> usize {
        stored_rows(rows) * (cols + cols / BLOCK * (size_of::<f32>() + size_of::<[i32; 2]>()))
    }

    /// Returns the scale and the codes of block `b` of row `r`.
    ///
    /// # Panics
    /// Panics if there is no such row or block.
    #[must_use]
    pub fn block(&self, r: usize, b: usize) -> (f32, &[i8; 32]) {
        assert!(r < self.rows && b < self.blocks(), "block {b} of row {r}");
        let (start, width) = self.panel(r / PANEL);
        let at = start + b * width + r % PANEL;
        (self.scales[at], &self.codes[at])
    }

    /// Returns the number of blocks per row.
    pub(super) fn blocks(&self) -> usize {
        self.cols / BLOCK
    }

    /// Returns the first block and the number of stored rows of panel `p`.
    #[inline(always)]
    pub(super) fn panel(&self, p: usize) -> (usize, usize) {
        (p * PANEL * self.blocks(), stored_width(self.rows - p * PANEL))
    }

    /// Returns the codes, scales and sums of codes of all blocks in storage order.
    pub(super) fn parts(&self) -> (&[[i8; BLOCK]], &[f32], &[[i32; 2]]) {
        (&self.codes, &self.scales, &self.sums)
    }

    /// Changes the size. The padding is set to 0; the rest must be written afterwards.
    fn resize(&mut self, rows: usize, cols: usize) {
        let blocks = stored_rows(rows) * (cols / BLOCK);
        (self.rows, self.cols) = (rows, cols);
        self.codes.resize(blocks, [0; BLOCK]);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, [0; 2]);
        if stored_rows(rows) > rows {
            let (start, width) = self.panel(rows / PANEL);
            for at in (start..blocks).filter(|at| (at - start) % width >= rows % PANEL) {
                (self.codes[at], self.scales[at], self.sums[at]) = ([0; BLOCK], 0.0, [0; 2]);
            }
        }
    }
}

/// Returns the number of stored rows of a panel. `rows` is the number of rows from its first row to the last of the matrix.
#[inline(always)]
fn stored_width(rows: usize) -> usize {
    match rows {
        3 => 4,
        5.. => PANEL,
        _ => rows,
    }
}

fn stored_rows(rows: usize) -> usize {
    rows / PANEL * PANEL + stored_width(rows % PANEL)
}

/// Rounds `x` `[rows, cols]` to 8 bits in blocks of 32 columns.
///
/// # Panics
/// Panics if the length of `x` is not `rows * cols` or `cols` is not a multiple of 32.
pub fn quantize(x: &[f32], rows: usize, cols: usize, isa: Isa, out: &mut QuantizedRows) {
    quantize_ordered(x, rows, cols, None, isa, out);
}

/// Rounds `x` like [`quantize`], with column `order[p]` of `x` at position p. The result is the operand of a weight whose
/// [`super::Int8Weight::column_order`] is `order`.
///
/// # Panics
/// Panics under the conditions of [`quantize`], and if `order` is not `cols` long or has a column past the last.
pub fn quantize_ordered(x: &[f32], rows: usize, cols: usize, order: Option<&[u32]>, isa: Isa, out: &mut QuantizedRows) {
    assert_eq!(x.len(), rows * cols, "values of {rows} rows of {cols}");
    assert!(cols.is_multiple_of(BLOCK), "{cols} columns are not blocks of {BLOCK}");
    assert!(order.is_none_or(|order| order.len() == cols), "one position per column");
    out.resize(rows, cols);
    if cols > 0 {
        quantize_rows(isa, x, cols, order, out);
    }
}

multiversion! {
    fn quantize_rows(x: &[f32], cols: usize, order: Option<&[u32]>, out: &mut QuantizedRows) = quantize_body;
}

#[inline(always)]
fn quantize_body(x: &[f32], cols: usize, order: Option<&[u32]>, out: &mut QuantizedRows) {
    for (r, row) in x.chunks_exact(cols).enumerate() {
        let (start, width) = out.panel(r / PANEL);
        let mut at = start + r % PANEL;
        for b in 0..cols / BLOCK {
            let mut values = [0.0; BLOCK];
            match order {
                None => values.copy_from_slice(&row[b * BLOCK..][..BLOCK]),
                Some(order) => {
                    for (value, &column) in values.iter_mut().zip(&order[b * BLOCK..]) {
                        *value = row[column as usize];
                    }
                }
            }
            (out.scales[at], out.sums[at]) = quantize_block(&values, &mut out.codes[at]);
            at += width;
        }
    }
}

/// Rounds one block. Returns its scale and the sums of the halves' codes.
#[inline(always)]
fn quantize_block(values: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> (f32, [i32; 2]) {
    // Without their sign bits, floats have the order of their bit patterns, and NaN is above infinity.
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
            // The range is exceeded only if the scale is subnormal.
            let q = (v / scale).clamp(-127.0, 127.0) + ROUNDER;
            *code = q.to_bits() as u8 as i8;
            *sum += i32::from(*code);
        }
    }
    (scale, sums)
}
