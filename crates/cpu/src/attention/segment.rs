//! Attention of some rows of one sequence with one key-value head.

use std::ops::Range;

use honelm_backend::{Attention, Seen, StepGroup, hadamard};

use super::blocks::{self, Keys, Values};
use super::parts::{Parts, Totals, finish};
use super::source::{Cells, Source};
use crate::activation::{reduce, softcap_body};
use crate::kernel::{self, Lanes, STRIDE, Tiles, height, packed, strided, with_lanes};
use crate::math::exp;
use crate::{Isa, Output, TILE};

/// The number of positions in a chunk.
const CHUNK: usize = 256;
/// The number of rows in the largest panel.
const PANEL: usize = 12;
/// The largest number of vectors that read the cache directly; more share a chunk that is converted to f32.
const DIRECT: usize = 8;

/// The data that the rows of one sequence and one key-value head share.
pub(super) struct Segment<'a> {
    pub(super) cache: Cells<'a>,
    pub(super) step_group: &'a StepGroup,
    pub(super) options: &'a Attention,
    /// `true` if the cache holds rotated heads ([`hadamard`]).
    pub(super) rotated: bool,
    /// Queries. // [N, H * E]
    pub(super) q: &'a [f32],
    /// The first query head of the key-value head.
    pub(super) first_head: usize,
    /// The number of query heads of the key-value head.
    pub(super) heads: usize,
    /// The result. // [N, H * E]
    pub(super) out: &'a Output<'a>,
}

/// The working memory of one thread. A vector is one query head of one row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Queries. // [vectors, E]
    q: Vec<f32>,
    /// Queries in panels. // `[panels]`[E, vectors of the panel]
    panels: Vec<f32>,
    /// Keys of the chunk, and of the scattered cells that a row sees. // [E, STRIDE]
    k: [Vec<f32>; 2],
    /// Values of the same cells as `k`. // [CHUNK, padded E]
    v: [Vec<f32>; 2],
    /// Scores of a panel. // [PANEL, STRIDE]
    scores: Vec<f32>,
    /// Scores of one vector. // `[STRIDE]`
    line: Vec<f32>,
    /// Weighted values of the chunk. // [PANEL, padded E]
    part: Vec<f32>,
    /// The results of all chunks so far.
    totals: Totals,
    /// The row and chunk of the scattered cells that are loaded.
    scattered: Option<(usize, usize)>,
}

impl Scratch {
    fn prepare(&mut self, vectors: usize, width: usize) {
        let padded = width.next_multiple_of(TILE);
        let grow = |v: &mut Vec<f32>, len: usize| {
            if v.len() < len {
                v.resize(len, 0.0);
            }
        };
        grow(&mut self.q, vectors * width);
        grow(&mut self.panels, vectors * width);
        grow(&mut self.scores, PANEL * STRIDE);
        grow(&mut self.line, STRIDE);
        grow(&mut self.part, PANEL * padded);
        for i in 0..2 {
            grow(&mut self.k[i], width * STRIDE);
            grow(&mut self.v[i], CHUNK * padded);
        }
        self.totals.clear(vectors, width);
        self.scattered = None;
    }

    /// Returns the totals of all chunks.
    pub(super) fn totals(&mut self) -> &mut Totals {
        &mut self.totals
    }

    pub(crate) fn bytes(&self) -> usize {
        let all = [&self.q, &self.panels, &self.scores, &self.line, &self.part, &self.totals.values];
        all.into_iter().chain(&self.k).chain(&self.v).map(|v| v.capacity() * size_of::<f32>()).sum()
    }
}

/// The positions of a chunk that a vector sees, relative to the chunk: `start..cells` are cells of the sequence, `cells..end`
/// are scattered cells.
#[derive(Clone, Copy, Default)]
struct Span {
    start: usize,
    cells: usize,
    end: usize,
}

/// Returns the chunks that rows see.
pub(super) fn chunks(seen: &[Seen]) -> Range<usize> {
    let first = seen.iter().map(|r| r.first as usize).min().unwrap_or(0);
    let last = seen.iter().map(|r| r.end as usize + r.extra.len()).max().unwrap_or(0);
    first / CHUNK..last.div_ceil(CHUNK)
}

/// Computes the attention of `rows` of a sequence, which see `chunks`. With `parts`, these are some of the chunks that they see,
/// and the result of each goes there.
pub(super) fn run(
    isa: Isa,
    segment: &Segment<'_>,
    rows: &Range<usize>,
    chunks: &Range<usize>,
    parts: Option<&Parts<'_>>,
    s: &mut Scratch,
) {
    with_lanes!(
        isa,
        attend(
            segment: &Segment<'_>,
            rows: &Range<usize>,
            chunks: &Range<usize>,
            parts: Option<&Parts<'_>>,
            s: &mut Scratch,
        )
    );
}

#[inline(always)]
fn attend<L: Lanes>(
    l: L,
    segment: &Segment<'_>,
    rows: &Range<usize>,
    chunks: &Range<usize>,
    parts: Option<&Parts<'_>>,
    s: &mut Scratch,
) {
    let vectors = rows.len() * segment.heads;
    let padded = segment.cache.width.next_multiple_of(TILE);
    s.prepare(vectors, segment.cache.width);
    load_queries(segment, rows.clone(), L::HEIGHTS, s);
    let direct = vectors <= DIRECT && segment.cache.is_direct();
    for (n, chunk) in chunks.clone().enumerate() {
        if !direct {
            load_chunk(l, segment, rows, chunk, s);
        }
        let mut vector = 0;
        while vector < vectors {
            let h = height(vectors - vector, L::HEIGHTS);
            let results = attend_panel(l, segment, rows.start, (vector, h), chunk, direct, s);
            for (i, result) in results.into_iter().take(h).enumerate() {
                let values = &s.part[i * padded..][..padded];
                match (parts, result) {
                    (Some(parts), _) => parts.put(n * vectors + vector + i, values, result),
                    (None, Some(result)) => s.totals.merge(vector + i, values, result),
                    (None, None) => {}
                }
            }
            vector += h;
        }
    }
    if parts.is_none() {
        finish(segment, rows, &s.totals);
    }
}

/// Converts the cells of the sequence that the rows see.
#[inline(always)]
fn load_chunk<L: Lanes>(l: L, segment: &Segment<'_>, rows: &Range<usize>, chunk: usize, s: &mut Scratch) {
    let spans = segment.step_group.seen[rows.clone()].iter().map(|row| span(row, chunk));
    let seen = spans.filter(|s| s.start < s.cells).map(|s| s.start..s.cells);
    if let Some(union) = seen.reduce(|all, s| all.start.min(s.start)..all.end.max(s.end)) {
        let cells = chunk * CHUNK + union.start..chunk * CHUNK + union.end;
        let padded = segment.cache.width.next_multiple_of(TILE);
        segment.cache.load(l, cells, union.start, (&mut s.k[0], STRIDE), (&mut s.v[0], padded));
    }
}

#[inline(always)]
fn load_queries(segment: &Segment<'_>, rows: Range<usize>, heights: &[usize], s: &mut Scratch) {
    let (width, heads) = (segment.cache.width, segment.heads);
    let vectors = rows.len() * heads;
    let columns = segment.options.heads * width;
    for (r, out) in rows.zip(s.q.chunks_exact_mut(heads * width)) {
        out.copy_from_slice(&segment.q[r * columns + segment.first_head * width..][..heads * width]);
        if segment.rotated {
            out.chunks_exact_mut(width).for_each(hadamard);
        }
    }
    let mut first = 0;
    while first < vectors {
        let h = height(vectors - first, heights);
        let panel = &mut s.panels[first * width..(first + h) * width];
        for (i, q) in s.q[first * width..(first + h) * width].chunks_exact(width).enumerate() {
            panel.iter_mut().skip(i).step_by(h).zip(q).for_each(|(out, q)| *out = *q);
        }
        first += h;
    }
}

/// Returns the part of `seen` that lies in a chunk.
#[inline(always)]
fn span(seen: &Seen, chunk: usize) -> Span {
    let clamp = |position: usize| position.clamp(chunk * CHUNK, (chunk + 1) * CHUNK) - chunk * CHUNK;
    let end = seen.end as usize;
    Span { start: clamp(seen.first as usize), cells: clamp(end), end: clamp(end + seen.extra.len()) }
}

/// Processes one chunk for the vectors of one panel. Returns the maximum and sum of each that sees any cell.
#[inline(always)]
fn attend_panel<L: Lanes>(
    l: L,
    segment: &Segment<'_>,
    first_row: usize,
    (vector, h): (usize, usize),
    chunk: usize,
    direct: bool,
    s: &mut Scratch,
) -> [Option<(f32, f32)>; PANEL] {
    let width = segment.cache.width;
    let padded = width.next_multiple_of(TILE);
    let mut spans = [Span::default(); PANEL];
    let spans = &mut spans[..h];
    let row = |i: usize| first_row + (vector + i) / segment.heads;
    for (i, span_of) in spans.iter_mut().enumerate() {
        *span_of = span(&segment.step_group.seen[row(i)], chunk);
    }
    score_cells(l, segment, (vector, h), spans, chunk, direct, s);
    s.part[..h * padded].fill(0.0);
    let mut sums = [None; PANEL];
    for (i, &span) in spans.iter().enumerate().take(h) {
        if span.cells < span.end {
            load_scattered(l, segment, row(i), chunk, span, s);
            score_scattered(l, width, vector + i, i, span, s);
        }
        if span.start < span.end {
            let scores = &mut s.scores[i * STRIDE..][..STRIDE];
            sums[i] = Some(weigh(scores, span.start..span.end, segment.options));
        }
    }
    sum_values(l, segment, spans, chunk, direct, s);
    for (i, &span) in spans.iter().enumerate().take(h) {
        if span.cells < span.end {
            load_scattered(l, segment, row(i), chunk, span, s);
            let weights = &s.scores[i * STRIDE + span.cells..];
            let values = Tiles { data: &s.v[1][span.cells * padded..], tile: TILE, step: padded };
            let mut out = kernel::Scratch { data: &mut s.part, stride: padded };
            let size = (span.end - span.cells, padded / TILE);
            strided(l, (weights, 1), values, size, &mut out, (i, 0), true);
        }
    }
    sums
}

/// Computes the scores of the cells of the sequence that any vector of the panel sees.
#[inline(always)]
fn score_cells<L: Lanes>(
    l: L,
    segment: &Segment<'_>,
    (vector, h): (usize, usize),
    spans: &[Span],
    chunk: usize,
    direct: bool,
    s: &mut Scratch,
) {
    let width = segment.cache.width;
    let seen = spans.iter().filter(|s| s.start < s.cells);
    let Some(start) = seen.clone().map(|s| s.start).min() else { return };
    let end = seen.map(|s| s.cells).max().unwrap_or(start);
    let q = (&s.panels[vector * width..(vector + h) * width], h);
    let mut out = kernel::Scratch { data: &mut s.scores, stride: STRIDE };
    if !direct {
        let keys = Tiles { data: &s.k[0][start / TILE * TILE..], tile: TILE, step: STRIDE };
        score(l, q, Source::F32(keys), start..end, width, &mut out);
        return;
    }
    for (page, slot, cells) in segment.cache.pieces(chunk * CHUNK + start..chunk * CHUNK + end) {
        let keys = segment.cache.keys(page, slot / TILE * TILE);
        score(l, q, keys, cells.start - chunk * CHUNK..cells.end - chunk * CHUNK, width, &mut out);
    }
}

// Functions instead of closures: only inlined code is compiled for the instruction set, and a closure cannot be
// `#[inline(always)]`.
#[inline(always)]
fn score<L: Lanes>(
    l: L,
    q: (&[f32], usize),
    keys: Source<'_, Keys<'_>>,
    positions: Range<usize>,
    width: usize,
    out: &mut kernel::Scratch<'_>,
) {
    let tiles = positions.start / TILE..positions.end.div_ceil(TILE);
    let (size, at) = ((width, tiles.len()), (0, tiles.start));
    match keys {
        Source::F32(keys) => packed(l, q, keys, size, out, at, false),
        Source::F16(keys) => packed(l, q, keys, size, out, at, false),
        Source::Codes(keys) => blocks::score(l, q, keys, tiles.len(), out, tiles.start),
    }
}

/// Adds the weighted values of the cells of the sequence to `part`: for all vectors together if they see the same cells,
/// otherwise one by one.
#[inline(always)]
fn sum_values<L: Lanes>(l: L, segment: &Segment<'_>, spans: &[Span], chunk: usize, direct: bool, s: &mut Scratch) {
    let padded = segment.cache.width.next_multiple_of(TILE);
    let start = spans.iter().map(|s| s.start).max().unwrap_or(0);
    let end = spans.iter().map(|s| s.cells).min().unwrap_or(0).max(start);
    let mut jobs = [const { (0, 0, 0..0) }; 2 * PANEL + 1];
    let mut count = 0;
    let mut push = |i: usize, h: usize, positions: Range<usize>| {
        if positions.start < positions.end {
            jobs[count] = (i, h, positions);
            count += 1;
        }
    };
    if start == end {
        spans.iter().enumerate().for_each(|(i, span)| push(i, 1, span.start..span.cells));
    } else {
        spans.iter().enumerate().for_each(|(i, span)| push(i, 1, span.start..start));
        push(0, spans.len(), start..end);
        spans.iter().enumerate().for_each(|(i, span)| push(i, 1, end..span.cells));
    }
    let mut out = kernel::Scratch { data: &mut s.part, stride: padded };
    for (i, h, positions) in &jobs[..count] {
        let weights = |start: usize| (&s.scores[i * STRIDE + start..], *h);
        if !direct {
            let values = Tiles { data: &s.v[0][positions.start * padded..], tile: TILE, step: padded };
            let size = (positions.len(), padded / TILE);
            sum(l, weights(positions.start), Source::F32(values), size, (&mut out, *i), &mut []);
            continue;
        }
        let cells = chunk * CHUNK + positions.start..chunk * CHUNK + positions.end;
        for (page, slot, cells) in segment.cache.pieces(cells) {
            let size = (cells.len(), padded / TILE);
            let (weights, values) = (weights(cells.start - chunk * CHUNK), segment.cache.values(page, slot));
            sum(l, weights, values, size, (&mut out, *i), &mut s.v[0]);
        }
    }
}

#[inline(always)]
fn sum<L: Lanes>(
    l: L,
    weights: (&[f32], usize),
    values: Source<'_, Values<'_>>,
    size: (usize, usize),
    (out, i): (&mut kernel::Scratch<'_>, usize),
    scratch: &mut [f32],
) {
    match values {
        Source::Codes(values) => blocks::sum(l, weights, values, size, (out, i), scratch),
        Source::F32(values) => strided(l, weights, values, size, out, (i, 0), true),
        Source::F16(values) => strided(l, weights, values, size, out, (i, 0), true),
    }
}

/// Loads the scattered cells that `row` sees in this chunk, unless they are loaded already.
#[inline(always)]
fn load_scattered<L: Lanes>(l: L, segment: &Segment<'_>, row: usize, chunk: usize, span: Span, s: &mut Scratch) {
    if s.scattered == Some((row, chunk)) {
        return;
    }
    s.scattered = Some((row, chunk));
    let seen = &segment.step_group.seen[row];
    let extra = &segment.step_group.extra[seen.extra.start as usize..seen.extra.end as usize];
    let padded = segment.cache.width.next_multiple_of(TILE);
    for position in span.cells..span.end {
        let cell = extra[chunk * CHUNK + position - seen.end as usize] as usize;
        segment.cache.load(l, cell..cell + 1, position, (&mut s.k[1], STRIDE), (&mut s.v[1], padded));
    }
}

/// Computes the scores of the scattered cells of one vector, row `i` of the panel.
#[inline(always)]
fn score_scattered<L: Lanes>(l: L, width: usize, vector: usize, i: usize, span: Span, s: &mut Scratch) {
    let tiles = span.cells / TILE..span.end.div_ceil(TILE);
    let keys = Tiles { data: &s.k[1][tiles.start * TILE..], tile: TILE, step: STRIDE };
    let q = &s.q[vector * width..][..width];
    let mut out = kernel::Scratch { data: &mut s.line, stride: STRIDE };
    packed(l, (q, 1), keys, (width, tiles.len()), &mut out, (0, tiles.start), false);
    s.scores[i * STRIDE..][span.cells..span.end].copy_from_slice(&s.line[span.cells..span.end]);
}

/// Turns the scores at `positions` into weights `exp(score - maximum)`, with zeros in the rest of their tiles. Returns the
/// maximum and the sum.
#[inline(always)]
fn weigh(scores: &mut [f32], positions: Range<usize>, options: &Attention) -> (f32, f32) {
    let tiles = positions.start / TILE * TILE..positions.end.next_multiple_of(TILE);
    let seen = &mut scores[positions.clone()];
    seen.iter_mut().for_each(|score| *score *= options.scale);
    if let Some(cap) = options.softcap {
        softcap_body(seen, cap);
    }
    scores[tiles.start..positions.start].fill(f32::NEG_INFINITY);
    scores[positions.end..tiles.end].fill(f32::NEG_INFINITY);
    let scores = scores[tiles].as_chunks_mut::<TILE>().0;
    let mut tops = [f32::NEG_INFINITY; TILE];
    for scores in scores.iter() {
        for i in 0..TILE {
            tops[i] = if scores[i] > tops[i] { scores[i] } else { tops[i] };
        }
    }
    let top = tops.iter().fold(f32::NEG_INFINITY, |top, x| if *x > top { *x } else { top });
    let mut sums = [0.0; TILE];
    for scores in scores.iter_mut() {
        for i in 0..TILE {
            scores[i] = exp(scores[i] - top);
            sums[i] += scores[i];
        }
    }
    (top, reduce(sums))
}
