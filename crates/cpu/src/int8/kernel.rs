//! The matrix product, written once for all instruction sets and encodings.
//!
//! One lane computes one output in single precision, block after block, regardless of the number of rows:
//! `sum = fma(t, scale of the activations, sum)`, where t is the product of the block's weights and the activations' codes:
//! - [`Rule::Zero`], [`Rule::RowZero`]: t = scale * dot(q - z, x)
//! - [`Rule::Offset`]: t = fma(dot(q, x), scale, offset * sum(x))
//! - [`Rule::Halves`]: t = fma(dot(q - z, x) of the second half, second, scale * dot(q - z, x) of the first half)
//! - [`Rule::OffsetHalves`]: t = fma(dot of the second half, second, fma(dot of the first half, scale, offsets)) with
//!   offsets = fma(offsets\[1\], sum of the second half, offsets\[0\] * sum of the first half)
//!
//! Every dot product is an integer below 2^24, which is also exact in single precision. The upper parts of wide columns are
//! multiplied by one vector of the weights, which is unpacked once more, and enter the same integer.

use std::marker::PhantomData;
use std::ops::Range;

use super::{
    activations::{BLOCK, PANEL, QuantizedRows, WideColumns},
    simd::{Kernel, Simd},
    terms::{Terms, terms},
    tile::{Block, CHUNK, Chunk, Rule, Shape, TileFormat, TileLayout},
};
use crate::{OutputTile, TILE};

/// The largest number of activation panels per pass over the weights.
const PANELS_MAX: usize = 16;

/// The bytes of activation codes that stay in the L2 cache during a pass.
const PASS_BYTES: usize = 512 << 10;

/// The distance in bytes from the chunk in use to the prefetched cache line.
const PREFETCH: usize = 6144;

/// Up to this many rows, reading the weights once per row is faster than unpacking them for all rows.
const ONE_BY_ONE: usize = 3;

/// A packed weight matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a, F> {
    pub format: F,
    pub layout: TileLayout,
    /// All tiles. // [tiles, layout.tile_bytes]
    pub bytes: &'a [u8],
}

/// Multiplies rows `rows` of `x` by the output rows of `tiles`.
///
/// With few rows (of one panel), weights go from memory directly to registers. More rows share unpacked codes in the L1
/// cache.
pub(super) fn multiply<S: Simd, F: TileFormat>(
    s: S,
    weights: &Packed<'_, F>,
    tiles: Range<usize>,
    x: &QuantizedRows,
    rows: Range<usize>,
    out: &mut OutputTile<'_>,
) {
    if rows.is_empty() || tiles.is_empty() {
        return;
    }
    let (count, slot) = (rows.len(), rows.start % PANEL);
    let stored = x.panel(rows.start / PANEL).1 - slot;
    if !F::FEW_ROWS && count <= ONE_BY_ONE {
        for row in rows {
            s.launch(Narrow::<F, 1>(Product { weights, tiles: tiles.clone(), x, rows: row..row + 1, out: &mut *out }));
        }
        return;
    }
    let product = Product { weights, tiles, x, rows, out };
    match count {
        1 => s.launch(Narrow::<F, 1>(product)),
        2 if F::FEW_ROWS && S::ROWS > 1 && stored >= 2 => s.launch(Narrow::<F, 2>(product)),
        3..=4 if F::FEW_ROWS && S::ROWS > 1 && stored >= 4 => s.launch(Narrow::<F, 4>(product)),
        5..=8 if F::FEW_ROWS && S::ROWS == PANEL && stored >= 8 => s.launch(Narrow::<F, 8>(product)),
        _ => s.launch(Wide(product)),
    }
}

/// The operands and the result of a product.
struct Product<'a, 'o, F> {
    weights: &'a Packed<'a, F>,
    tiles: Range<usize>,
    x: &'a QuantizedRows,
    rows: Range<usize>,
    out: &'a mut OutputTile<'o>,
}

impl<F: TileFormat> Product<'_, '_, F> {
    /// Returns tile `t`.
    #[inline(always)]
    fn tile(&self, t: usize) -> &[u8] {
        let stride = self.weights.layout.tile_bytes;
        &self.weights.bytes[t * stride..][..stride]
    }

    /// Computes the terms of all blocks of `panels`, in storage order.
    #[inline(always)]
    fn terms<S: Simd>(&self, panels: Range<usize>) -> Vec<Terms> {
        let (start, _) = self.x.panel(panels.start);
        let (last, width) = self.x.panel(panels.end - 1);
        let sums = &self.x.sums()[start..last + width * self.x.blocks()];
        terms::<F::Shape>(sums, S::code_shift(F::Shape::BITS), self.weights.format.zero())
    }

    /// Returns chunk `c` of a tile.
    #[inline(always)]
    fn chunk<'t>(&self, tile: &'t [u8], c: usize) -> Encoded<'t, F> {
        Encoded { format: self.weights.format, chunk: self.weights.layout.chunk(tile, c) }
    }
}

/// A kernel for at most `R` rows of one panel, with weights directly from memory.
struct Narrow<'a, 'o, F, const R: usize>(Product<'a, 'o, F>);

impl<S: Simd, F: TileFormat, const R: usize> Kernel<S> for Narrow<'_, '_, F, R> {
    #[inline(always)]
    fn run(self, s: S) {
        let Self(product) = self;
        let rows = product.rows.clone();
        let terms = product.terms::<S>(rows.start / PANEL..rows.start / PANEL + 1);
        let panel = Panel::new(product.x, rows.start / PANEL, &terms);
        for t in product.tiles.clone() {
            let tile = product.tile(t);
            let mut sums = [s.floats(0.0); R];
            for c in 0..product.weights.layout.chunks() {
                let chunk = product.chunk(tile, c);
                let span = c * CHUNK..c * CHUNK + chunk.chunk.len;
                add_blocks::<S, F::Shape, R>(s, &chunk, &panel, rows.start % PANEL, span, &mut sums);
            }
            for (row, sum) in rows.clone().zip(sums) {
                let mut values = [0.0; TILE];
                s.store(sum, &mut values);
                product.out.write(row, t, &values);
            }
        }
    }
}

/// A kernel for many rows, in passes whose activations stay in the cache. Each chunk of weights is unpacked once per pass.
struct Wide<'a, 'o, F>(Product<'a, 'o, F>);

/// The sums of the panels of a pass for one tile.
#[repr(align(64))]
struct Sums([[[f32; TILE]; PANEL]; PANELS_MAX]);

impl<S: Simd, F: TileFormat> Kernel<S> for Wide<'_, '_, F> {
    #[inline(always)]
    fn run(self, s: S) {
        let Self(product) = self;
        let (x, rows) = (product.x, product.rows.clone());
        let most = (PASS_BYTES / PANEL / x.cols().max(1)).clamp(2, PANELS_MAX);
        let mut unpacked = Unpacked::new();
        let mut sums = Sums([[[0.0; TILE]; PANEL]; PANELS_MAX]);
        let all = rows.start / PANEL..rows.end.div_ceil(PANEL);
        for first_panel in all.clone().step_by(most) {
            let panels = first_panel..all.end.min(first_panel + most);
            let terms = product.terms::<S>(panels.clone());
            let skipped = x.panel(first_panel).0;
            for t in product.tiles.clone() {
                let tile = product.tile(t);
                for c in 0..product.weights.layout.chunks() {
                    let chunk = product.chunk(tile, c);
                    let span = c * CHUNK..c * CHUNK + chunk.chunk.len;
                    unpacked.fill(s, F::Shape::RULE, &chunk, span.len());
                    for (p, sums) in panels.clone().zip(&mut sums.0) {
                        let panel = Panel::new(x, p, &terms[x.panel(p).0 - skipped..]);
                        let slots = panel.slots(p, &rows, x.rows());
                        add_panel::<S, F::Shape>(s, &unpacked, &panel, slots, span.clone(), sums);
                    }
                }
                for (p, sums) in panels.clone().zip(&sums.0) {
                    for (row, values) in (p * PANEL..).zip(sums) {
                        if rows.contains(&row) {
                            product.out.write(row, t, values);
                        }
                    }
                }
            }
        }
    }
}

/// Adds blocks `span` to the sums of rows `slots` of a panel. The first blocks of a row initialise its sums.
#[inline(always)]
fn add_panel<S: Simd, P: Shape>(
    s: S,
    unpacked: &Unpacked,
    panel: &Panel<'_>,
    slots: Range<usize>,
    span: Range<usize>,
    sums: &mut [[f32; TILE]; PANEL],
) {
    let mut slot = slots.start;
    while slot < slots.end {
        let (span, shape) = (span.clone(), PhantomData::<P>);
        let sums = &mut sums[slot..];
        slot += match slots.end - slot {
            8.. if S::ROWS == PANEL => {
                s.launch(AddRows::<P, 8> { unpacked, panel, slot, span, sums, shape });
                8
            }
            4.. if S::ROWS > 1 => {
                s.launch(AddRows::<P, 4> { unpacked, panel, slot, span, sums, shape });
                4
            }
            2.. if S::ROWS > 1 => {
                s.launch(AddRows::<P, 2> { unpacked, panel, slot, span, sums, shape });
                2
            }
            _ => {
                s.launch(AddRows::<P, 1> { unpacked, panel, slot, span, sums, shape });
                1
            }
        };
    }
}

/// A kernel that adds blocks `span` to the sums of rows `slot..slot + R` of a panel.
struct AddRows<'a, P, const R: usize> {
    unpacked: &'a Unpacked,
    panel: &'a Panel<'a>,
    slot: usize,
    span: Range<usize>,
    sums: &'a mut [[f32; TILE]],
    shape: PhantomData<P>,
}

impl<S: Simd, P: Shape, const R: usize> Kernel<S> for AddRows<'_, P, R> {
    #[inline(always)]
    fn run(self, s: S) {
        let Self { unpacked, panel, slot, span, sums, .. } = self;
        let sums = &mut sums[..R];
        let mut held = [s.floats(0.0); R];
        if span.start > 0 {
            let mut r = 0;
            while r < R {
                held[r] = s.load(&sums[r]);
                r += 1;
            }
        }
        add_blocks::<S, P, R>(s, unpacked, panel, slot, span, &mut held);
        let mut r = 0;
        while r < R {
            s.store(held[r], &mut sums[r]);
            r += 1;
        }
    }
}

/// A source of blocks of weights.
trait Source<S: Simd> {
    fn block(&self, s: S, b: usize) -> Block<S>;
    /// Returns vector `v` of the codes of block `b`.
    fn vector(&self, s: S, b: usize, v: usize) -> S::Codes;
}

/// A chunk of weights in their own encoding.
struct Encoded<'a, F> {
    format: F,
    chunk: Chunk<'a>,
}

impl<S: Simd, F: TileFormat> Source<S> for Encoded<'_, F> {
    #[inline(always)]
    fn block(&self, s: S, b: usize) -> Block<S> {
        let mut line = 0;
        while line < F::LINES {
            s.prefetch(self.chunk.bytes, PREFETCH + (b * F::LINES + line) * 64);
            line += 1;
        }
        self.format.block(s, &self.chunk, b)
    }

    #[inline(always)]
    fn vector(&self, s: S, b: usize, v: usize) -> S::Codes {
        self.format.vector(s, &self.chunk, b, v)
    }
}

/// The unpacked weights of a chunk; each vector has its own cache line.
#[repr(align(64))]
struct Unpacked {
    codes: [[[u8; 64]; 8]; CHUNK],
    scale: [[f32; TILE]; CHUNK],
    second: [[f32; TILE]; CHUNK],
    offsets: [[[f32; TILE]; 2]; CHUNK],
    zeros: [[i32; TILE]; CHUNK],
}

impl Unpacked {
    fn new() -> Self {
        Self {
            codes: [[[0; 64]; 8]; CHUNK],
            scale: [[0.0; TILE]; CHUNK],
            second: [[0.0; TILE]; CHUNK],
            offsets: [[[0.0; TILE]; 2]; CHUNK],
            zeros: [[0; TILE]; CHUNK],
        }
    }

    #[inline(always)]
    fn fill<S: Simd>(&mut self, s: S, rule: Rule, source: &impl Source<S>, count: usize) {
        for b in 0..count {
            let block = source.block(s, b);
            let mut v = 0;
            while v < 8 {
                s.store_codes(block.codes[v], &mut self.codes[b][v]);
                v += 1;
            }
            s.store(block.scale, &mut self.scale[b]);
            match rule {
                Rule::Zero => {}
                Rule::RowZero => s.store_ints(block.zeros, &mut self.zeros[b]),
                Rule::Offset | Rule::Halves => s.store(block.second, &mut self.second[b]),
                Rule::OffsetHalves => {
                    s.store(block.second, &mut self.second[b]);
                    s.store(block.offsets[0], &mut self.offsets[b][0]);
                    s.store(block.offsets[1], &mut self.offsets[b][1]);
                }
            }
        }
    }
}

impl<S: Simd> Source<S> for Unpacked {
    #[inline(always)]
    fn block(&self, s: S, b: usize) -> Block<S> {
        let mut codes = [s.codes(&self.codes[b][0]); 8];
        let mut v = 1;
        while v < 8 {
            codes[v] = s.codes(&self.codes[b][v]);
            v += 1;
        }
        Block {
            codes,
            scale: s.load(&self.scale[b]),
            second: s.load(&self.second[b]),
            offsets: [s.load(&self.offsets[b][0]), s.load(&self.offsets[b][1])],
            zeros: s.load_ints(&self.zeros[b]),
        }
    }

    #[inline(always)]
    fn vector(&self, s: S, b: usize, v: usize) -> S::Codes {
        s.codes(&self.codes[b][v % 8])
    }
}

/// At most 8 rows of activations. // [blocks, width]
#[derive(Clone, Copy)]
struct Panel<'a> {
    codes: &'a [[i8; BLOCK]],
    wide: &'a [WideColumns],
    scales: &'a [f32],
    terms: &'a [Terms],
    width: usize,
}

impl<'a> Panel<'a> {
    /// Creates panel `p`. Its terms are the first of `terms`.
    #[inline(always)]
    fn new(x: &'a QuantizedRows, p: usize, terms: &'a [Terms]) -> Self {
        let ((start, width), (codes, wide, scales)) = (x.panel(p), x.parts());
        let len = width * x.blocks();
        let all = start..start + len;
        Self { codes: &codes[all.clone()], wide: &wide[all.clone()], scales: &scales[all], terms: &terms[..len], width }
    }

    /// Returns the stored rows of rows `rows` of `total`; this is panel `p`. If they include the last row, the padding is
    /// included too, because one wider kernel costs less than several narrow ones.
    #[inline(always)]
    fn slots(&self, p: usize, rows: &Range<usize>, total: usize) -> Range<usize> {
        let first = rows.start.saturating_sub(p * PANEL);
        let end = if rows.end == total { self.width } else { self.width.min(rows.end - p * PANEL) };
        first..end
    }
}

/// Adds blocks `span` to the sums of rows `slot..slot + R` of a panel. Block 0 of `source` is the first of them.
#[inline(always)]
fn add_blocks<S: Simd, P: Shape, const R: usize>(
    s: S,
    source: &impl Source<S>,
    panel: &Panel<'_>,
    slot: usize,
    span: Range<usize>,
    sums: &mut [S::Floats; R],
) {
    let mut at = span.start * panel.width + slot;
    for b in 0..span.len() {
        let codes: &[[i8; BLOCK]; R] = chunk_at(panel.codes, at);
        let terms: &[Terms; R] = chunk_at(panel.terms, at);
        let scales: &[f32; R] = chunk_at(panel.scales, at);
        let wide: &[WideColumns; R] = chunk_at(panel.wide, at);
        at += panel.width;
        let block = source.block(s, b);
        let halves = matches!(P::RULE, Rule::Halves | Rule::OffsetHalves);
        let mut dots = [s.ints(0); R];
        let mut r = 0;
        while r < R {
            dots[r] = s.ints(if P::RULE == Rule::OffsetHalves { 0 } else { terms[r][0].to_int() });
            if P::RULE == Rule::RowZero {
                dots[r] = s.mul_add_short(block.zeros, terms[r][1].to_int(), dots[r]);
            }
            let upper = if halves { wide[r].of_half(0) } else { wide[r].upper };
            let vector = source.vector(s, b, wide[r].vector as usize);
            dots[r] = s.add_upper(s.dot_one(P::BITS, vector, upper), dots[r]);
            r += 1;
        }
        let split = if halves { 4 } else { 8 };
        s.dot(P::BITS, &block.codes, (0, split), codes, &mut dots);
        let mut products = [block.scale; R];
        let mut r = 0;
        while r < R {
            let dot = s.widen_ints(dots[r]);
            products[r] = match P::RULE {
                Rule::Offset => {
                    let sum = s.floats(terms[r][1].to_float());
                    s.mul_add(dot, block.scale, s.mul(block.second, sum))
                }
                Rule::OffsetHalves => {
                    let [first, second] = terms[r].map(|sum| s.floats(sum.to_float()));
                    let offsets = s.mul_add(block.offsets[1], second, s.mul(block.offsets[0], first));
                    s.mul_add(dot, block.scale, offsets)
                }
                _ => s.mul(dot, block.scale),
            };
            r += 1;
        }
        if halves {
            let mut r = 0;
            while r < R {
                let start = s.ints(if P::RULE == Rule::Halves { terms[r][1].to_int() } else { 0 });
                let vector = source.vector(s, b, wide[r].vector as usize);
                dots[r] = s.add_upper(s.dot_one(P::BITS, vector, wide[r].of_half(1)), start);
                r += 1;
            }
            s.dot(P::BITS, &block.codes, (4, 8), codes, &mut dots);
            let mut r = 0;
            while r < R {
                products[r] = s.mul_add(s.widen_ints(dots[r]), block.second, products[r]);
                r += 1;
            }
        }
        let mut r = 0;
        while r < R {
            sums[r] = s.mul_add(products[r], s.floats(scales[r]), sums[r]);
            r += 1;
        }
    }
}

/// Returns `R` values from `at` on.
#[inline(always)]
fn chunk_at<T, const R: usize>(values: &[T], at: usize) -> &[T; R] {
    match values[at..].first_chunk() {
        Some(chunk) => chunk,
        None => panic!("{R} values at {at} of {}", values.len()),
    }
}
