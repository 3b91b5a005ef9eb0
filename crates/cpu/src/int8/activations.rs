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
    let panel = PANEL * out.blocks();
    // The pieces of a panel of few rows have more blocks.
    let each = (PIECE / BLOCK / rows.min(PANEL)).next_multiple_of(BATCH);
    let codes = out.codes.chunks_mut(panel).zip(out.wide.chunks_mut(panel));
    let numbers = out.scales.chunks_mut(panel).zip(out.sums.chunks_mut(panel));
    let pieces = x.chunks(PANEL * cols).zip(codes.zip(numbers)).flat_map(|(x, ((codes, wide), (scales, sums)))| {
        let width = codes.len() * BLOCK / cols;
        let codes = codes.chunks_mut(each * width).zip(wide.chunks_mut(each * width));
        let numbers = scales.chunks_mut(each * width).zip(sums.chunks_mut(each * width));
        codes.zip(numbers).enumerate().map(move |(i, ((codes, wide), (scales, sums)))| {
            (x, i * each, PanelParts { width, codes, wide, scales, sums })
        })
    });
    let count = rows.div_ceil(PANEL) * (cols / BLOCK).div_ceil(each);
    match pool {
        Some(pool) if count > 1 => {
            let pieces = Mutex::new(pieces);
            pool.run(count, |_| {
                let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
                if let Some((x, first, mut parts)) = next {
                    quantize_panel(isa, x, cols, order, first, &mut parts);
                }
            });
        }
        _ => pieces.for_each(|(x, first, mut parts)| quantize_panel(isa, x, cols, order, first, &mut parts)),
    }
}

/// The number of values that one task rounds: about 6 us of work.
const PIECE: usize = 16 << 10;

/// The number of blocks whose scales are computed together.
const BATCH: usize = 8;

/// Some blocks of a panel. // [blocks, width]
struct PanelParts<'a> {
    /// The number of stored rows.
    width: usize,
    codes: &'a mut [[i8; BLOCK]],
    wide: &'a mut [WideColumns],
    scales: &'a mut [f32],
    sums: &'a mut [[i32; 2]],
}

/// Rounds the columns of `out` of the rows of a panel, the first of which are those of block `first`.
fn quantize_panel(isa: Isa, x: &[f32], cols: usize, order: Option<&[u32]>, first: usize, out: &mut PanelParts<'_>) {
    // For vectors of 512 bits, the compiler gathers single values, which takes 1.4 times as long.
    #[cfg(target_arch = "x86_64")]
    let isa = if let Isa::Avx512(token) = isa { Isa::Avx2(token.narrower()) } else { isa };
    quantize_columns(isa, x, cols, order, first, out);
}

multiversion! {
    fn quantize_columns(x: &[f32], cols: usize, order: Option<&[u32]>, first: usize, out: &mut PanelParts<'_>) = quantize_body;
}

#[inline(always)]
fn quantize_body(x: &[f32], cols: usize, order: Option<&[u32]>, first: usize, out: &mut PanelParts<'_>) {
    let (width, blocks) = (out.width, out.codes.len() / out.width);
    let mut copied = [[0.0; BLOCK]; BATCH];
    for (r, row) in x.chunks_exact(cols).enumerate() {
        for batch in (0..blocks).step_by(BATCH) {
            let count = BATCH.min(blocks - batch);
            let start = (first + batch) * BLOCK;
            let whole = row[start..].as_chunks::<BLOCK>().0.first_chunk::<BATCH>();
            let values = match (order, whole) {
                (None, Some(whole)) => whole,
                (None, None) => {
                    copied.as_flattened_mut()[..count * BLOCK].copy_from_slice(&row[start..][..count * BLOCK]);
                    &copied
                }
                (Some(order), _) => {
                    for (value, &column) in copied.as_flattened_mut()[..count * BLOCK].iter_mut().zip(&order[start..]) {
                        *value = row[column as usize];
                    }
                    &copied
                }
            };
            let (scales, vectors) = batch_scales(values);
            for (i, values) in values[..count].iter().enumerate() {
                let at = (batch + i) * width + r;
                out.scales[at] = scales[i];
                (out.sums[at], out.wide[at]) = quantize_block(values, scales[i], vectors[i], &mut out.codes[at]);
            }
        }
    }
}

/// Returns the scale and the wide vector of each block.
#[inline(always)]
fn batch_scales(blocks: &[[f32; BLOCK]; BATCH]) -> ([f32; BATCH], [u32; BATCH]) {
    // Without their sign bits, floats have the order of their bit patterns, and NaN is above infinity.
    let mut tops = [[0u32; BATCH]; BLOCK / 4];
    for (b, block) in blocks.iter().enumerate() {
        for v in 0..BLOCK / 4 {
            let [w, x, y, z] = [0, 1, 2, 3].map(|j| block[4 * v + j].to_bits() & 0x7fff_ffff);
            tops[v][b] = w.max(x).max(y.max(z));
        }
    }
    let (mut vector, mut top, mut rest) = ([0u32; BATCH], tops[0], [0u32; BATCH]);
    for (v, tops) in (1u32..).zip(&tops[1..]) {
        for b in 0..BATCH {
            rest[b] = rest[b].max(tops[b].min(top[b]));
            vector[b] = if tops[b] > top[b] { v } else { vector[b] };
            top[b] = top[b].max(tops[b]);
        }
    }
    let mut scale = [0.0; BATCH];
    for b in 0..BATCH {
        let (narrow, wide) = (f32::from_bits(rest[b]) / 127.0, f32::from_bits(top[b]) / WIDEST as f32);
        let least = if narrow > wide { narrow } else { wide };
        let least = if least < f32::MIN_POSITIVE { 0.0 } else { least };
        scale[b] = if top[b] < f32::INFINITY.to_bits() { least } else { f32::NAN };
    }
    (scale, vector)
}

/// Rounds one block with its `scale` and wide `vector`. Returns the sums of the halves' codes, and the wide columns.
#[inline(always)]
fn quantize_block(values: &[f32; BLOCK], scale: f32, vector: u32, codes: &mut [i8; BLOCK]) -> ([i32; 2], WideColumns) {
    *codes = [0; BLOCK];
    let (mut sums, mut upper) = ([0; 2], [0; 4]);
    if scale > 0.0 {
        let mut whole = [0i16; BLOCK];
        for h in 0..2 {
            let mut ints = [0; BLOCK / 2];
            for (int, v) in ints.iter_mut().zip(&values[16 * h..]) {
                *int = i32::from((v / scale + ROUNDER).to_bits() as u16 as i16);
            }
            for (i, int) in ints.iter().enumerate() {
                whole[16 * h + i] = *int as i16;
                codes[16 * h + i] = *int as i8;
            }
            sums[h] = ints.iter().sum();
        }
        let first = 4 * (vector as usize % 8);
        for j in 0..4 {
            let code = whole[first + j];
            upper[j] = ((code + 64) >> 7) as i8;
            codes[first + j] = (code - (i16::from(upper[j]) << 7)) as i8;
        }
    }
    let vector = if scale > 0.0 { vector } else { 0 };
    (sums, WideColumns { vector, upper })
}
