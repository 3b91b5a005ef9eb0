//! Rounded activations: 8 bits in blocks of 32, with 4 wide columns per block.

use std::sync::{Mutex, PoisonError};

use crate::Pool;
use crate::isa::{Isa, multiversion};

/// The number of columns that share a scale.
pub(super) const BLOCK: usize = 32;

/// 1.5 * 2^23. Added to a float of magnitude below 2^22, it leaves the nearest integer (ties to even) in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// The number of rows in a panel, which is that of the widest kernel.
pub(super) const PANEL: usize = 8;

/// The largest code of a wide column, so that sums of products with codes of 8 bits fit in the integers of every kernel.
const WIDEST: i32 = 4096;

/// The upper part of the codes of four adjacent columns of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WideColumns {
    /// The first of the columns, divided by 4.
    pub vector: u32,
    /// The upper parts, at most 32 in magnitude. A code is 128 times its upper part plus its lower part.
    pub upper: [i8; 4],
}

impl WideColumns {
    /// Returns the upper parts of columns of half `half` of the block, or zeros if they are in the other half.
    #[inline(always)]
    pub fn of_half(self, half: u32) -> [i8; 4] {
        if self.vector / 4 == half { self.upper } else { [0; 4] }
    }
}

/// Rows of activations, rounded: `x = scale * code` in blocks of 32 columns.
///
/// The codes of 28 columns have 8 bits. The 4 adjacent columns (at a multiple of 4) that hold the largest |x| of the block are
/// *wide*: their codes have 14 bits, so that an outlier does not cost the other columns their precision. With m the largest |x|
/// and n the largest |x| outside of the wide columns, scale = max(n / 127, m / 4096), and code = x / scale rounded to the
/// nearest integer, ties to even, with the same bits on every instruction set. Of equal maxima, the first counts. A block whose
/// scale would be below the smallest normal number is 0. If a block holds a value that is not finite, its scale is NaN, and so
/// is every output of the row.
///
/// Rows are stored in panels of 8, block after block, so that a kernel reads one stream: `[panel, block, row of the panel]`.
/// The last panel is as wide as the narrowest kernel (1, 2, 4 or 8 rows) that holds its rows, padded with rows of zeros.
#[derive(Debug, Clone, Default)]
pub struct QuantizedRows {
    rows: usize,
    cols: usize,
    /// The codes, of wide columns the lower parts.
    codes: Vec<[i8; BLOCK]>,
    wide: Vec<WideColumns>,
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
        stored_rows(rows)
            * (cols + cols / BLOCK * (size_of::<f32>() + size_of::<[i32; 2]>() + size_of::<WideColumns>()))
    }

    /// Returns the scale and the codes of block `b` of row `r`.
    ///
    /// # Panics
    /// Panics if there is no such row or block.
    #[must_use]
    pub fn block(&self, r: usize, b: usize) -> (f32, [i16; 32]) {
        assert!(r < self.rows && b < self.blocks(), "block {b} of row {r}");
        let (start, width) = self.panel(r / PANEL);
        let at = start + b * width + r % PANEL;
        let (mut codes, wide) = (self.codes[at].map(i16::from), self.wide[at]);
        for (code, upper) in codes[4 * wide.vector as usize..].iter_mut().zip(wide.upper) {
            *code += 128 * i16::from(upper);
        }
        (self.scales[at], codes)
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

    /// Returns the codes, their upper parts, and the scales of all blocks in storage order.
    pub(super) fn parts(&self) -> (&[[i8; BLOCK]], &[WideColumns], &[f32]) {
        (&self.codes, &self.wide, &self.scales)
    }

    /// Returns the sums of the codes of each half of all blocks in storage order.
    pub(super) fn sums(&self) -> &[[i32; 2]] {
        &self.sums
    }

    /// Changes the size. The padding is set to 0; the rest must be written afterwards.
    fn resize(&mut self, rows: usize, cols: usize) {
        let blocks = stored_rows(rows) * (cols / BLOCK);
        (self.rows, self.cols) = (rows, cols);
        self.codes.resize(blocks, [0; BLOCK]);
        self.wide.resize(blocks, WideColumns::default());
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, [0; 2]);
        if stored_rows(rows) > rows {
            let (start, width) = self.panel(rows / PANEL);
            for at in (start..blocks).filter(|at| (at - start) % width >= rows % PANEL) {
                (self.codes[at], self.scales[at], self.sums[at]) = ([0; BLOCK], 0.0, [0; 2]);
                self.wide[at] = WideColumns::default();
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

/// Rounds `x` `[rows, cols]` in blocks of 32 columns.
///
/// # Panics
/// Panics if the length of `x` is not `rows * cols` or `cols` is not a multiple of 32.
pub fn quantize(x: &[f32], rows: usize, cols: usize, isa: Isa, out: &mut QuantizedRows) {
    quantize_ordered(x, (rows, cols), None, isa, None, out);
}

/// Rounds `x` `[rows, cols]` like [`quantize`], with column `order[p]` of `x` at position p. The result is the operand of a
/// weight whose [`super::Int8Weight::column_order`] is `order`. The threads of `pool` share the rows.
///
/// # Panics
/// Panics under the conditions of [`quantize`], and if `order` is not `cols` long or has a column past the last.
pub fn quantize_ordered(
    x: &[f32],
    (rows, cols): (usize, usize),
    order: Option<&[u32]>,
    isa: Isa,
    pool: Option<&Pool>,
    out: &mut QuantizedRows,
) {
    assert_eq!(x.len(), rows * cols, "values of {rows} rows of {cols}");
    assert!(cols.is_multiple_of(BLOCK), "{cols} columns are not blocks of {BLOCK}");
    assert!(order.is_none_or(|order| order.len() == cols), "one position per column");
    out.resize(rows, cols);
    if cols == 0 {
        return;
    }
    let blocks = PANEL * out.blocks();
    let codes = out.codes.chunks_mut(blocks).zip(out.wide.chunks_mut(blocks));
    let numbers = out.scales.chunks_mut(blocks).zip(out.sums.chunks_mut(blocks));
    let panels = x.chunks(PANEL * cols).zip(codes.zip(numbers));
    let panels = panels.map(|(x, ((codes, wide), (scales, sums)))| (x, PanelParts { codes, wide, scales, sums }));
    match pool {
        Some(pool) if rows > PANEL => {
            let panels = Mutex::new(panels);
            pool.run(rows.div_ceil(PANEL), |_| {
                let next = panels.lock().unwrap_or_else(PoisonError::into_inner).next();
                if let Some((x, mut parts)) = next {
                    quantize_panel(isa, x, cols, order, &mut parts);
                }
            });
        }
        _ => panels.for_each(|(x, mut parts)| quantize_panel(isa, x, cols, order, &mut parts)),
    }
}

/// The blocks of a panel. // [blocks, stored rows]
struct PanelParts<'a> {
    codes: &'a mut [[i8; BLOCK]],
    wide: &'a mut [WideColumns],
    scales: &'a mut [f32],
    sums: &'a mut [[i32; 2]],
}

multiversion! {
    fn quantize_panel(x: &[f32], cols: usize, order: Option<&[u32]>, out: &mut PanelParts<'_>) = quantize_body;
}

#[inline(always)]
fn quantize_body(x: &[f32], cols: usize, order: Option<&[u32]>, out: &mut PanelParts<'_>) {
    let width = out.codes.len() / (cols / BLOCK);
    for (r, row) in x.chunks_exact(cols).enumerate() {
        let mut at = r;
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
            (out.scales[at], out.sums[at], out.wide[at]) = quantize_block(&values, &mut out.codes[at]);
            at += width;
        }
    }
}

/// Rounds one block. Returns its scale, the sums of the halves' codes, and the wide columns.
#[inline(always)]
fn quantize_block(values: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> (f32, [i32; 2], WideColumns) {
    // Without their sign bits, floats have the order of their bit patterns, and NaN is above infinity.
    let mut tops = [0u32; BLOCK / 4];
    for (top, four) in tops.iter_mut().zip(values.as_chunks::<4>().0) {
        let [a, b, c, d] = four.map(|v| v.to_bits() & 0x7fff_ffff);
        *top = a.max(b).max(c.max(d));
    }
    let (mut vector, mut top, mut rest) = (0, tops[0], 0);
    for (v, &found) in tops.iter().enumerate().skip(1) {
        rest = rest.max(found.min(top));
        vector = if found > top { v } else { vector };
        top = top.max(found);
    }
    let (top, rest) = (f32::from_bits(top), f32::from_bits(rest));
    let scale = (rest / 127.0).max(top / WIDEST as f32);
    if !top.is_finite() || scale < f32::MIN_POSITIVE {
        *codes = [0; BLOCK];
        return (if top.is_finite() { 0.0 } else { f32::NAN }, [0; 2], WideColumns::default());
    }
    let mut whole = [0i16; BLOCK];
    let mut sums = [0; 2];
    for ((values, whole), sum) in
        values.as_chunks::<16>().0.iter().zip(whole.as_chunks_mut::<16>().0.iter_mut()).zip(&mut sums)
    {
        for (code, v) in whole.iter_mut().zip(values) {
            *code = (v / scale + ROUNDER).to_bits() as u16 as i16;
            *sum += i32::from(*code);
        }
    }
    for (code, whole) in codes.iter_mut().zip(whole) {
        *code = whole as i8;
    }
    let mut upper = [0; 4];
    for j in 0..4 {
        let code = whole[4 * vector + j];
        upper[j] = ((code + 64) >> 7) as i8;
        codes[4 * vector + j] = (code - (i16::from(upper[j]) << 7)) as i8;
    }
    (scale, sums, WideColumns { vector: vector as u32, upper })
}
