//! Cached keys and values of one head of one sequence, by cell.

use std::ops::Range;

use half::f16;
use honelm_backend::Step;

use super::blocks::{Keys, Values};
use crate::TILE;
use crate::cache::{BLOCK, Codes, Page, Plane};
use crate::kernel::{Lanes, Number, Tiles};

/// The cells of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    table: &'a [u32],
    pages: &'a [Page],
    page_len: usize,
    pub(super) width: usize,
}

/// Keys or values in the number type of the cache: tiles, or blocks of codes (`C`).
pub(super) enum Source<'a, C> {
    F32(Tiles<'a, f32>),
    F16(Tiles<'a, f16>),
    Codes(C),
}

impl<'a> Cells<'a> {
    pub(super) fn new(
        step: &'a Step,
        group: usize,
        segment: usize,
        pages: &'a [Page],
        page_len: usize,
        width: usize,
    ) -> Self {
        let group = &step.groups[group];
        Self { table: &group.pages[group.tables[segment].clone()], pages, page_len, width }
    }

    /// Returns the page and slot of a cell.
    #[inline(always)]
    fn at(&self, cell: usize) -> (&'a Page, usize) {
        (&self.pages[self.table[cell / self.page_len] as usize], cell % self.page_len)
    }

    /// Splits `cells` by page. Returns the page, its first slot and the cells.
    #[inline(always)]
    pub(super) fn pieces(self, cells: Range<usize>) -> impl Iterator<Item = (&'a Page, usize, Range<usize>)> {
        let mut next = cells.start;
        std::iter::from_fn(move || {
            (next < cells.end).then(|| {
                let (page, slot) = self.at(next);
                let end = cells.end.min(next - slot + self.page_len);
                let piece = next..end;
                next = end;
                (page, slot, piece)
            })
        })
    }

    /// Returns `true` if products can read the pages directly.
    pub(super) fn is_direct(&self) -> bool {
        self.page_len.is_multiple_of(TILE) && self.width.is_multiple_of(TILE)
    }

    /// Returns keys of a page as tiles of 16 cells from `slot` on. The cache must be direct ([`Cells::is_direct`]).
    #[inline(always)]
    pub(super) fn keys(&self, page: &'a Page, slot: usize) -> Source<'a, Keys<'a>> {
        let (tile, step) = (TILE, self.page_len);
        match &page.k {
            Plane::F32(g) => Source::F32(Tiles { data: &g.data[slot..], tile, step }),
            Plane::F16(g) => Source::F16(Tiles { data: &g.data[slot..], tile, step }),
            Plane::Blocks { kind, codes, scales } => {
                Source::Codes(Keys { kind: *kind, codes: &codes.data[slot..], scales: &scales.data[slot..], step })
            }
        }
    }

    /// Returns values of a page from `slot` on as tiles of 16 columns. The cache must be direct ([`Cells::is_direct`]).
    #[inline(always)]
    pub(super) fn values(&self, page: &'a Page, slot: usize) -> Source<'a, Values<'a>> {
        let (tile, step) = (TILE, self.width);
        match &page.v {
            Plane::F32(g) => Source::F32(Tiles { data: &g.data[slot * step..], tile, step }),
            Plane::F16(g) => Source::F16(Tiles { data: &g.data[slot * step..], tile, step }),
            Plane::Blocks { kind, codes, scales } => Source::Codes(Values {
                kind: *kind,
                codes: &codes.data[slot * codes.cell..],
                scales: &scales.data[slot * scales.cell..],
            }),
        }
    }

    /// Copies the keys of `cells` to columns `at..` of `k` `[E, stride]` and the values to rows `at..` of `v` `[.., padded]`.
    #[inline(always)]
    pub(super) fn load<L: Lanes>(
        &self,
        l: L,
        cells: Range<usize>,
        at: usize,
        (k, stride): (&mut [f32], usize),
        (v, padded): (&mut [f32], usize),
    ) {
        let start = cells.start;
        // The scales of one block of each key; a page has at most 256 cells.
        let mut block_scales = [0.0; 256];
        for (page, slot, piece) in self.pieces(cells) {
            let (at, n) = (at + piece.start - start, piece.len());
            for e in 0..self.width {
                let out = &mut k[e * stride + at..][..n];
                match &page.k {
                    Plane::F32(g) => out.copy_from_slice(&g.data[e * g.value + slot..][..n]),
                    Plane::F16(g) => widen(l, &g.data[e * g.value + slot..][..n], out),
                    Plane::Blocks { kind, codes, scales } => {
                        let scale = &mut block_scales[..n];
                        if e % BLOCK == 0 {
                            widen(l, &scales.data[e / BLOCK * scales.value + slot..][..n], scale);
                        }
                        let codes = &codes.data[kind.byte_of(e) * codes.value + slot..][..n];
                        for ((out, code), scale) in out.iter_mut().zip(codes).zip(scale) {
                            *out = *scale * kind.code(*code, e % BLOCK);
                        }
                    }
                }
            }
            for i in 0..n {
                let out = &mut v[(at + i) * padded..][..self.width];
                match &page.v {
                    Plane::F32(g) => out.copy_from_slice(&g.data[(slot + i) * g.cell..][..self.width]),
                    Plane::F16(g) => widen(l, &g.data[(slot + i) * g.cell..][..self.width], out),
                    Plane::Blocks { kind, codes, scales } => {
                        let codes = codes.data[(slot + i) * codes.cell..].chunks_exact(kind.block_bytes());
                        let scales = &scales.data[(slot + i) * scales.cell..][..scales.width];
                        for ((out, codes), scale) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(codes).zip(scales) {
                            decode(*kind, codes, scale.to_f32(), out);
                        }
                    }
                }
            }
        }
    }
}

/// Decodes the values of a block.
#[inline(always)]
fn decode(kind: Codes, codes: &[u8], scale: f32, out: &mut [f32; BLOCK]) {
    match kind {
        Codes::I8 => {
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(*code as i8);
            }
        }
        Codes::I4 => {
            let (low, high) = out.split_at_mut(BLOCK / 2);
            for ((low, high), code) in low.iter_mut().zip(high).zip(codes) {
                *low = scale * f32::from((code & 15) as i8 - 8);
                *high = scale * f32::from((code >> 4) as i8 - 8);
            }
        }
    }
}

#[inline(always)]
pub(super) fn widen<L: Lanes, W: Number>(l: L, x: &[W], out: &mut [f32]) {
    let (whole, rest) = x.as_chunks::<TILE>();
    let (out, out_rest) = out.as_chunks_mut::<TILE>();
    for (out, x) in out.iter_mut().zip(whole) {
        l.store(W::load(l, x), out);
    }
    for (out, x) in out_rest.iter_mut().zip(rest) {
        *out = x.to_f32();
    }
}
