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
    source::{Encoded, Source, Unpacked},
    terms::{Terms, compute_terms},
    tile::{CHUNK, Rule, Shape, TileFormat, TileLayout},
};
use crate::{OutputTile, TILE};

/// The largest number of activation panels per pass over the weights.
const PANELS_MAX: usize = 16;

/// The bytes of activation codes that stay in the L2 cache during a pass.
const PASS_BYTES: usize = 512 << 10;

/// Up to this many rows, reading the weights once per row is faster than unpacking them for all rows.
const ONE_BY_ONE: usize = 3;

/// Up to this many rows, kernels for up to 8 rows that take turns on each tile, which then lies in a cache, are faster than
/// unpacking the weights for all rows.
const IN_TURNS: usize = 16;

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
/// With few rows, weights go from memory directly to registers. More rows share unpacked codes in the L1 cache.
pub(super) fn multiply<S: Simd, F: TileFormat>(
    s: S,
    weights: &Packed<'_, F>,
    tiles: Range<usize>,
    x: &QuantizedRows,
    rows: Range<usize>,
    out: &mut OutputTile<'_>,
) {
    let few = match S::ROWS {
        _ if !F::FEW_ROWS => ONE_BY_ONE,
        // Encodings whose halves have scales of their own take longer to unpack.
        PANEL if !halves::<F::Shape>() => IN_TURNS,
        most => most.min(4),
    };
    let product = Product { weights, tiles, x, rows, out };
    if product.rows.len() <= few {
        in_turns(s, product);
    } else {
        s.launch(Wide(product));
    }
}

/// Computes each tile for a few rows at a time, so that its weights come from memory once.
fn in_turns<S: Simd, F: TileFormat>(s: S, product: Product<'_, '_, F>) {
    let Product { weights, tiles, x, rows, out } = product;
    let most = if F::FEW_ROWS { S::ROWS } else { 1 };
    let first = group::<F::Shape>(x, &rows, most);
    let step = if first.len() == rows.len() { tiles.len().max(1) } else { 1 };
    let panels = rows.start / PANEL..rows.end.div_ceil(PANEL);
    let mut terms = Vec::new();
    let stored = x.panel(panels.start).0;
    s.launch(ComputeTerms { format: weights.format, x, panels, terms: &mut terms });
    for start in tiles.clone().step_by(step) {
        let tiles = start..tiles.end.min(start + step);
        let mut left = rows.clone();
        while !left.is_empty() {
            let rows = group::<F::Shape>(x, &left, most);
            left.start = rows.end;
            let (count, tiles) = (rows.len(), tiles.clone());
            let terms = &terms[x.panel(rows.start / PANEL).0 - stored..];
            let product = Product { weights, tiles, x, rows, out: &mut *out };
            match count {
                2 if F::FEW_ROWS && S::ROWS > 1 => s.launch(Narrow::<F, 2> { product, terms }),
                3..=4 if F::FEW_ROWS && S::ROWS > 1 => s.launch(Narrow::<F, 4> { product, terms }),
                5.. if F::FEW_ROWS && S::ROWS == PANEL && !halves::<F::Shape>() => {
                    s.launch(Narrow::<F, 8> { product, terms });
                }
                _ => s.launch(Narrow::<F, 1> { product, terms }),
            }
        }
    }
}

/// Returns the first of `rows` that one kernel for 1, 2, 4 or 8 rows, at most `most`, computes. Some numbers of rows use a wider
/// kernel if padding is stored behind them: it costs less than two kernels. Weights of 8 bits take so long to read that this
/// holds for five rows already.
fn group<P: Shape>(x: &QuantizedRows, rows: &Range<usize>, most: usize) -> Range<usize> {
    let panel = rows.start / PANEL;
    let stored = x.panel(panel).1 - rows.start % PANEL;
    let left = rows.end.min((panel + 1) * PANEL) - rows.start;
    let eight = if P::BITS == 8 { 5 } else { 7 };
    let count = match left {
        _ if left >= eight && most >= 8 && stored >= 8 => 8,
        3.. if most >= 4 && stored >= 4 => 4,
        2.. if most >= 2 => 2,
        _ => 1,
    };
    rows.start..rows.start + count.min(left)
}

/// Returns `true` if the halves of a block are summed separately.
const fn halves<P: Shape>() -> bool {
    matches!(P::RULE, Rule::Halves | Rule::OffsetHalves)
}

/// A kernel that computes the terms of all blocks of `panels`, in storage order.
struct ComputeTerms<'a, F> {
    format: F,
    x: &'a QuantizedRows,
    panels: Range<usize>,
    terms: &'a mut Vec<Terms>,
}

impl<S: Simd, F: TileFormat> Kernel<S> for ComputeTerms<'_, F> {
    #[inline(always)]
    fn run(self, _s: S) {
        let Self { format, x, panels, terms } = self;
        let (start, _) = x.panel(panels.start);
        let (last, width) = x.panel(panels.end - 1);
        let sums = &x.sums()[start..last + width * x.blocks()];
        compute_terms::<F::Shape>(sums, S::code_shift(F::Shape::BITS), format.zero(), terms);
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

    /// Returns chunk `c` of a tile.
    #[inline(always)]
    fn chunk<'t>(&self, tile: &'t [u8], c: usize) -> Encoded<'t, F> {
        Encoded { format: self.weights.format, chunk: self.weights.layout.chunk(tile, c) }
    }
}

/// A kernel for at most `R` rows of one panel, with weights directly from memory.
struct Narrow<'a, 'o, F, const R: usize> {
    product: Product<'a, 'o, F>,
    /// The terms of the panel, and others after them.
    terms: &'a [Terms],
}

impl<S: Simd, F: TileFormat, const R: usize> Kernel<S> for Narrow<'_, '_, F, R> {
    #[inline(always)]
    fn run(self, s: S) {
        let Self { product, terms } = self;
        let rows = product.rows.clone();
        let panel = Panel::new(product.x, rows.start / PANEL, terms);
        for t in product.tiles.clone() {
            let tile = product.tile(t);
            let mut sums = [s.floats(0.0); R];
            for c in 0..product.weights.layout.chunks() {
                let chunk = product.chunk(tile, c);
                let span = c * CHUNK..c * CHUNK + chunk.chunk.len;
                add_blocks::<S, F::Shape, _, R>(s, &chunk, &panel, rows.start % PANEL, span, &mut sums);
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
        let mut terms = Vec::new();
        let all = rows.start / PANEL..rows.end.div_ceil(PANEL);
        for first_panel in all.clone().step_by(most) {
            let panels = first_panel..all.end.min(first_panel + most);
            let format = product.weights.format;
            ComputeTerms { format, x, panels: panels.clone(), terms: &mut terms }.run(s);
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
        add_blocks::<S, P, _, R>(s, unpacked, panel, slot, span, &mut held);
        let mut r = 0;
        while r < R {
            s.store(held[r], &mut sums[r]);
            r += 1;
        }
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
fn add_blocks<S: Simd, P: Shape, W: Source<S>, const R: usize>(
    s: S,
    source: &W,
    panel: &Panel<'_>,
    slot: usize,
    span: Range<usize>,
    sums: &mut [S::Floats; R],
) {
    let halves = halves::<P>();
    let upper_last = W::SLOW_VECTORS && S::ROWS == PANEL && (R == 1 || !halves);
    let mut at = span.start * panel.width + slot;
    for b in 0..span.len() {
        let codes: &[[i8; BLOCK]; R] = chunk_at(panel.codes, at);
        let terms: &[Terms; R] = chunk_at(panel.terms, at);
        let scales: &[f32; R] = chunk_at(panel.scales, at);
        let wide: &[WideColumns; R] = chunk_at(panel.wide, at);
        at += panel.width;
        let block = source.block(s, b);
        let mut dots = [s.ints(0); R];
        let mut uppers = [s.ints(0); R];
        let mut r = 0;
        while r < R {
            dots[r] = s.ints(if P::RULE == Rule::OffsetHalves { 0 } else { terms[r][0].to_int() });
            if P::RULE == Rule::RowZero {
                dots[r] = s.mul_add_short(block.zeros, terms[r][1].to_int(), dots[r]);
            }
            let upper = if halves { wide[r].of_half(0) } else { wide[r].upper };
            let vector = source.vector(s, b, wide[r].vector as usize);
            uppers[r] = s.dot_one(P::BITS, vector, upper);
            if !upper_last {
                dots[r] = s.add_upper(uppers[r], dots[r]);
            }
            r += 1;
        }
        let split = if halves { 4 } else { 8 };
        s.dot(P::BITS, &block.codes, (0, split), codes, &mut dots);
        let mut products = [block.scale; R];
        let mut r = 0;
        while r < R {
            let dot = if upper_last { s.add_upper(uppers[r], dots[r]) } else { dots[r] };
            let dot = s.widen_ints(dot);
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
                dots[r] = s.ints(if P::RULE == Rule::Halves { terms[r][1].to_int() } else { 0 });
                let vector = source.vector(s, b, wide[r].vector as usize);
                uppers[r] = s.dot_one(P::BITS, vector, wide[r].of_half(1));
                if !upper_last {
                    dots[r] = s.add_upper(uppers[r], dots[r]);
                }
                r += 1;
            }
            s.dot(P::BITS, &block.codes, (4, 8), codes, &mut dots);
            let mut r = 0;
            while r < R {
                let dot = if upper_last { s.add_upper(uppers[r], dots[r]) } else { dots[r] };
                products[r] = s.mul_add(s.widen_ints(dot), block.second, products[r]);
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
