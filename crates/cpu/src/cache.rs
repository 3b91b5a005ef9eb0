//! Paged keys and values. A page holds `page_len` cells of one head of one layer; keys are transposed.

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt;
use honelm_backend::{CacheSpec, CacheType, Edit, Step};
use honelm_tensor::AlignedVec;

use crate::TILE;

/// The number of values in a Q8_0 block.
pub(crate) const BLOCK: usize = 32;

/// The cells of a page times `width` values. Value `i` of cell `c` is `data[c * cell + i * value]`.
#[derive(Debug)]
pub(crate) struct Grid<T> {
    pub(crate) data: AlignedVec<T>,
    pub(crate) cell: usize,
    pub(crate) value: usize,
    pub(crate) width: usize,
}

impl<T: Pod> Grid<T> {
    fn new(cells: usize, width: usize, transposed: bool) -> Self {
        let (cell, value) = if transposed { (1, cells) } else { (width, 1) };
        Self { data: AlignedVec::zeroed(cells * width), cell, value, width }
    }

    /// Writes consecutive cells from `slot` on. // values: [cells, width]
    fn write(&mut self, slot: usize, values: &[T]) {
        if self.value == 1 {
            self.data[slot * self.cell..][..values.len()].copy_from_slice(values);
            return;
        }
        for i in 0..self.width {
            let line = &mut self.data[i * self.value + slot..][..values.len() / self.width];
            for (out, value) in line.iter_mut().zip(values.iter().skip(i).step_by(self.width)) {
                *out = *value;
            }
        }
    }

    fn copy_from(&mut self, other: &Self, from: usize, to: usize, cells: usize) {
        for c in 0..cells {
            for i in 0..self.width {
                self.data[(to + c) * self.cell + i * self.value] =
                    other.data[(from + c) * other.cell + i * other.value];
            }
        }
    }

    fn copy_within(&mut self, from: usize, to: usize) {
        for i in 0..self.width {
            self.data[to * self.cell + i * self.value] = self.data[from * self.cell + i * self.value];
        }
    }
}

/// The keys or the values of a page.
#[derive(Debug)]
pub(crate) enum Plane {
    F16(Grid<f16>),
    F32(Grid<f32>),
    Q8_0 { codes: Grid<i8>, scales: Grid<f16> },
}

impl Plane {
    fn new(element: CacheType, cells: usize, width: usize, transposed: bool) -> Self {
        match element {
            CacheType::F16 => Self::F16(Grid::new(cells, width, transposed)),
            CacheType::F32 => Self::F32(Grid::new(cells, width, transposed)),
            CacheType::Q8_0 => Self::Q8_0 {
                codes: Grid::new(cells, width, transposed),
                scales: Grid::new(cells, width / BLOCK, transposed),
            },
        }
    }

    /// Writes up to 16 consecutive cells from `slot` on. // x: [cells, width]
    fn write(&mut self, slot: usize, x: &[f32], halves: &mut Vec<f16>) {
        match self {
            Self::F32(grid) => grid.write(slot, x),
            Self::F16(grid) => {
                halves.resize(x.len(), f16::ZERO);
                halves.convert_from_f32_slice(x);
                grid.write(slot, halves);
            }
            Self::Q8_0 { codes, scales } => {
                for (c, cell) in x.chunks_exact(codes.width).enumerate() {
                    let mut rounded = [0i8; BLOCK];
                    for (b, block) in cell.as_chunks::<BLOCK>().0.iter().enumerate() {
                        let scale = round_block(block, &mut rounded);
                        scales.data[(slot + c) * scales.cell + b * scales.value] = scale;
                        for (i, code) in rounded.iter().enumerate() {
                            codes.data[(slot + c) * codes.cell + (b * BLOCK + i) * codes.value] = *code;
                        }
                    }
                }
            }
        }
    }

    fn copy_from(&mut self, other: &Self, from: usize, to: usize, cells: usize) {
        match (self, other) {
            (Self::F16(a), Self::F16(b)) => a.copy_from(b, from, to, cells),
            (Self::F32(a), Self::F32(b)) => a.copy_from(b, from, to, cells),
            (Self::Q8_0 { codes, scales }, Self::Q8_0 { codes: c, scales: s }) => {
                codes.copy_from(c, from, to, cells);
                scales.copy_from(s, from, to, cells);
            }
            _ => unreachable!("a cache has one number type"),
        }
    }

    fn copy_within(&mut self, from: usize, to: usize) {
        match self {
            Self::F16(grid) => grid.copy_within(from, to),
            Self::F32(grid) => grid.copy_within(from, to),
            Self::Q8_0 { codes, scales } => {
                codes.copy_within(from, to);
                scales.copy_within(from, to);
            }
        }
    }
}

/// Rounds 32 values to `scale * code` like ggml's Q8_0. A value that is not finite makes the scale NaN.
fn round_block(x: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> f16 {
    // Without their sign bits, floats have the order of their bit patterns, and NaN is above infinity.
    let top = f32::from_bits(x.iter().fold(0, |top, x| top.max(x.to_bits() & 0x7fff_ffff)));
    let scale = top / 127.0;
    if !top.is_finite() {
        *codes = [0; BLOCK];
        return f16::NAN;
    }
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (code, x) in codes.iter_mut().zip(x) {
        *code = (x * inverse).round() as i8;
    }
    f16::from_f32(scale)
}

/// A page of one head.
#[derive(Debug)]
pub(crate) struct Page {
    /// Keys. // [E, page_len]
    pub(crate) k: Plane,
    /// Values. // [page_len, E]
    pub(crate) v: Plane,
}

impl Page {
    fn copy_from(&mut self, other: &Self, from: usize, to: usize, cells: usize) {
        self.k.copy_from(&other.k, from, to, cells);
        self.v.copy_from(&other.v, from, to, cells);
    }

    fn copy_within(&mut self, from: usize, to: usize) {
        self.k.copy_within(from, to);
        self.v.copy_within(from, to);
    }
}

/// The pages of one key-value head of one layer.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) pages: Vec<Page>,
    rows: Vec<f32>,
    halves: Vec<f16>,
}

impl Head {
    /// Writes the step's keys and values of this head, columns `at..at + width` of `k` and `v`, to the cells of the rows.
    pub(crate) fn write(&mut self, step: &Step, group: usize, page_len: usize, k: Columns<'_>, v: Columns<'_>) {
        let mut rows = std::mem::take(&mut self.rows);
        let mut halves = std::mem::take(&mut self.halves);
        for (segment, table) in step.segments.iter().zip(&step.groups[group].tables) {
            let pages = &step.groups[group].pages[table.clone()];
            let mut r = segment.rows.start;
            while r < segment.rows.end {
                let cell = step.cells[r] as usize;
                let (page, slot) = (pages[cell / page_len] as usize, cell % page_len);
                // Consecutive cells of the page, up to the number that is transposed at once.
                let most = (segment.rows.end - r).min(page_len - slot).min(TILE);
                let run = (1..most).take_while(|i| step.cells[r + i] as usize == cell + i).count() + 1;
                let page = &mut self.pages[page];
                k.gather(r, run, &mut rows);
                page.k.write(slot, &rows, &mut halves);
                v.gather(r, run, &mut rows);
                page.v.write(slot, &rows, &mut halves);
                r += run;
            }
        }
        (self.rows, self.halves) = (rows, halves);
    }
}

/// Some columns of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) at: usize,
    pub(crate) width: usize,
}

impl Columns<'_> {
    fn gather(self, first: usize, rows: usize, out: &mut Vec<f32>) {
        out.clear();
        for r in first..first + rows {
            out.extend_from_slice(&self.data[r * self.stride + self.at..][..self.width]);
        }
    }
}

/// The cache of one model.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) spec: CacheSpec,
    /// The heads of each layer. // `[layers]`[G]
    pub(crate) layers: Vec<Vec<Head>>,
}

impl Store {
    pub(crate) fn new(spec: CacheSpec) -> Self {
        let heads = |count: usize| (0..count).map(|_| Head::default()).collect();
        let layers = spec.layers.iter().map(|l| heads(l.kv_heads)).collect();
        Self { spec, layers }
    }

    /// Allocates the pages that `step` needs.
    pub(crate) fn reserve(&mut self, step: &Step) {
        let (len, element) = (self.spec.page_len, self.spec.element);
        for (shape, heads) in self.spec.layers.iter().zip(&mut self.layers) {
            let count = step.groups.get(shape.group).map_or(0, |g| g.page_count as usize);
            for head in heads {
                while head.pages.len() < count {
                    head.pages.push(Page {
                        k: Plane::new(element, len, shape.head_width, true),
                        v: Plane::new(element, len, shape.head_width, false),
                    });
                }
            }
        }
    }

    /// Makes the changes in order, in every layer of their groups.
    pub(crate) fn apply(&mut self, edits: &[Edit]) {
        for edit in edits {
            let (Edit::CopyPage { group, .. } | Edit::CopyCell { group, .. }) = *edit;
            for (shape, heads) in self.spec.layers.iter().zip(&mut self.layers) {
                if shape.group == group {
                    heads.iter_mut().for_each(|head| apply(&mut head.pages, *edit));
                }
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let pages = |group: usize| {
            let mut layers = self.spec.layers.iter().zip(&self.layers).filter(|(l, _)| l.group == group);
            layers.next().and_then(|(_, heads)| heads.first()).map_or(0, |head| head.pages.len())
        };
        (0..self.spec.groups.len()).map(|group| pages(group) * self.spec.page_bytes(group)).sum()
    }
}

fn apply(pages: &mut [Page], edit: Edit) {
    let (from, to, cells) = match edit {
        Edit::CopyPage { from, to, cells, .. } => ((from, 0), (to, 0), cells),
        Edit::CopyCell { from, to, .. } => (from, to, 1),
    };
    let (a, b) = (from.0 as usize, to.0 as usize);
    if a == b {
        pages[a].copy_within(from.1 as usize, to.1 as usize);
    } else if let Ok([source, target]) = pages.get_disjoint_mut([a, b]) {
        target.copy_from(source, from.1 as usize, to.1 as usize, cells as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_blocks_to_the_nearest_code() {
        let x: [f32; BLOCK] = std::array::from_fn(|i| i as f32 - 12.0);
        let mut codes = [0; BLOCK];
        let scale = round_block(&x, &mut codes).to_f32();
        for (x, code) in x.iter().zip(codes) {
            assert!((x - scale * f32::from(code)).abs() <= scale * 0.51 + 0.01, "{x}");
        }
        assert!(round_block(&[f32::NAN; BLOCK], &mut codes).is_nan());
        assert!(round_block(&[f32::INFINITY; BLOCK], &mut codes).is_nan());
        assert_eq!(round_block(&[0.0; BLOCK], &mut codes).to_f32(), 0.0);
        let mut mixed = [1.0; BLOCK];
        mixed[3] = f32::NAN;
        assert!(round_block(&mixed, &mut codes).is_nan());
    }

    #[test]
    fn copies_cells_within_and_between_pages() {
        for element in [CacheType::F16, CacheType::F32, CacheType::Q8_0] {
            let page = || Page { k: Plane::new(element, 4, 32, true), v: Plane::new(element, 4, 32, false) };
            let mut pages = vec![page(), page()];
            let mut halves = Vec::new();
            let x: Vec<f32> = (0..2 * 32).map(|i| i as f32).collect();
            pages[0].k.write(0, &x, &mut halves);
            pages[0].v.write(0, &x, &mut halves);
            apply(&mut pages, Edit::CopyPage { group: 0, from: 0, to: 1, cells: 2 });
            apply(&mut pages, Edit::CopyCell { group: 0, from: (1, 1), to: (1, 3) });
            apply(&mut pages, Edit::CopyCell { group: 0, from: (1, 0), to: (0, 2) });
            assert_eq!(cell(&pages[1].k, 3), cell(&pages[0].k, 1), "{element:?}");
            assert_eq!(cell(&pages[1].v, 1), cell(&pages[0].v, 1), "{element:?}");
            assert_eq!(cell(&pages[0].v, 2), cell(&pages[0].v, 0), "{element:?}");
            assert_ne!(cell(&pages[0].v, 1), cell(&pages[0].v, 0), "{element:?}");
        }
    }

    fn cell(plane: &Plane, slot: usize) -> Vec<f32> {
        let at = |c: usize, v: usize, i: usize| slot * c + i * v;
        match plane {
            Plane::F16(g) => (0..32).map(|i| g.data[at(g.cell, g.value, i)].to_f32()).collect(),
            Plane::F32(g) => (0..32).map(|i| g.data[at(g.cell, g.value, i)]).collect(),
            Plane::Q8_0 { codes, scales } => {
                let scale = scales.data[slot * scales.cell].to_f32();
                (0..32).map(|i| scale * f32::from(codes.data[at(codes.cell, codes.value, i)])).collect()
            }
        }
    }
}
