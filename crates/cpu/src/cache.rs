//! Paged keys and values. A page holds `page_len` cells of one head of one layer; keys are transposed. The heads of a rotated
//! cache are stored rotated ([`honelm_backend::hadamard`]).

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt;
use honelm_backend::{CacheSpec, CacheType, Edit, Step, hadamard};
use honelm_tensor::AlignedVec;

use crate::TILE;

/// The number of values in a block of codes.
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

/// The number type of codes in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    /// Signed bytes, one per value.
    I8,
    /// 4 bits that stand for -8 to 7. Byte i of a block has the codes of values i (low) and i + 16 (high).
    I4,
}

impl Codes {
    /// Returns the bytes of a block.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Self::I8 => BLOCK,
            Self::I4 => BLOCK / 2,
        }
    }

    /// Returns the byte of a head's value `i` among those of its blocks.
    #[inline(always)]
    pub(crate) fn byte_of(self, i: usize) -> usize {
        match self {
            Self::I8 => i,
            Self::I4 => i / BLOCK * (BLOCK / 2) + i % (BLOCK / 2),
        }
    }

    /// Returns the code of value `i` of a block in its byte.
    #[inline(always)]
    pub(crate) fn code(self, byte: u8, i: usize) -> f32 {
        match self {
            Self::I8 => f32::from(byte as i8),
            Self::I4 => f32::from((byte >> (i / (BLOCK / 2) * 4) & 15) as i8 - 8),
        }
    }
}

/// The keys or the values of a page.
#[derive(Debug)]
pub(crate) enum Plane {
    F16(Grid<f16>),
    F32(Grid<f32>),
    /// Blocks of 32 values along the head. A value is a scale times a code.
    Blocks {
        kind: Codes,
        codes: Grid<u8>,
        scales: Grid<f16>,
    },
}

impl Plane {
    fn new(element: CacheType, cells: usize, width: usize, transposed: bool) -> Self {
        let kind = match element {
            CacheType::F16 => return Self::F16(Grid::new(cells, width, transposed)),
            CacheType::F32 => return Self::F32(Grid::new(cells, width, transposed)),
            CacheType::Q8_0 => Codes::I8,
            CacheType::Q4_0 | CacheType::Q4_0Plain => Codes::I4,
        };
        Self::Blocks {
            kind,
            codes: Grid::new(cells, width / BLOCK * kind.block_bytes(), transposed),
            scales: Grid::new(cells, width / BLOCK, transposed),
        }
    }

    /// Writes up to 16 consecutive cells from `slot` on. // x: [cells, width]
    #[inline(always)]
    fn write(&mut self, slot: usize, x: &[f32], halves: &mut Vec<f16>) {
        match self {
            Self::F32(grid) => grid.write(slot, x),
            Self::F16(grid) => {
                halves.resize(x.len(), f16::ZERO);
                halves.convert_from_f32_slice(x);
                grid.write(slot, halves);
            }
            Self::Blocks { kind, codes, scales } => {
                let bytes = kind.block_bytes();
                for (c, cell) in x.chunks_exact(scales.width * BLOCK).enumerate() {
                    for (b, block) in cell.as_chunks::<BLOCK>().0.iter().enumerate() {
                        let (scale, rounded) = round_block(*kind, block);
                        scales.data[(slot + c) * scales.cell + b * scales.value] = scale;
                        for (i, code) in rounded[..bytes].iter().enumerate() {
                            codes.data[(slot + c) * codes.cell + (b * bytes + i) * codes.value] = *code;
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
            (Self::Blocks { codes, scales, .. }, Self::Blocks { codes: c, scales: s, .. }) => {
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
            Self::Blocks { codes, scales, .. } => {
                codes.copy_within(from, to);
                scales.copy_within(from, to);
            }
        }
    }
}

/// Rounds 32 values to a scale times codes as ggml does: the value of greatest magnitude becomes 127 or -127 of 8 bits, and -8 of
/// 4 bits. A value that is not finite makes the scale NaN. Returns the scale and the bytes of the block.
#[inline(always)]
fn round_block(kind: Codes, x: &[f32; BLOCK]) -> (f16, [u8; BLOCK]) {
    // Without their sign bits, floats have the order of their bit patterns, and NaN is above infinity.
    let top = f32::from_bits(x.iter().fold(0, |top, x| top.max(x.to_bits() & 0x7fff_ffff)));
    let mut bytes = [0; BLOCK];
    if !top.is_finite() {
        return (f16::NAN, bytes);
    }
    let scale = match kind {
        Codes::I8 => top / 127.0,
        Codes::I4 if x.iter().find(|x| x.abs() == top).is_some_and(|x| *x < 0.0) => top / 8.0,
        Codes::I4 => top / -8.0,
    };
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    match kind {
        Codes::I8 => {
            for (byte, x) in bytes.iter_mut().zip(x) {
                *byte = (x * inverse).round() as i8 as u8;
            }
        }
        Codes::I4 => {
            let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
            let (low, high) = x.split_at(BLOCK / 2);
            for (byte, (low, high)) in bytes.iter_mut().zip(low.iter().zip(high)) {
                *byte = code(*low) | code(*high) << 4;
            }
        }
    }
    (f16::from_f32(scale), bytes)
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
    #[inline(always)]
    pub(crate) fn write(&mut self, step: &Step, (group, spec): (usize, &CacheSpec), k: Columns<'_>, v: Columns<'_>) {
        let (page_len, rotated) = (spec.page_len, spec.element.is_rotated());
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
                for (columns, plane) in [(k, &mut page.k), (v, &mut page.v)] {
                    columns.gather(r, run, &mut rows);
                    if rotated {
                        rows.chunks_exact_mut(columns.width).for_each(hadamard);
                    }
                    plane.write(slot, &rows, &mut halves);
                }
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
        let mut x: [f32; BLOCK] = std::array::from_fn(|i| i as f32 - 12.0);
        for kind in [Codes::I8, Codes::I4] {
            for _ in 0..2 {
                x.iter_mut().for_each(|x| *x = -*x);
                let (scale, bytes) = round_block(kind, &x);
                let scale = scale.to_f32();
                for (i, x) in x.iter().enumerate() {
                    let found = scale * kind.code(bytes[kind.byte_of(i)], i);
                    // The largest code of 4 bits is 7, but that of the opposite sign is 8.
                    let most = if kind == Codes::I4 && (x / scale) > 7.5 { 1.0 } else { 0.51 };
                    assert!((x - found).abs() <= scale.abs() * most + 0.01, "{kind:?} {x}: {found}");
                }
            }
            assert!(round_block(kind, &[f32::NAN; BLOCK]).0.is_nan());
            assert!(round_block(kind, &[f32::INFINITY; BLOCK]).0.is_nan());
            assert_eq!(round_block(kind, &[0.0; BLOCK]).0.to_f32(), 0.0);
            let mut mixed = [1.0; BLOCK];
            mixed[3] = f32::NAN;
            assert!(round_block(kind, &mixed).0.is_nan());
        }
    }

    #[test]
    fn copies_cells_within_and_between_pages() {
        for element in CacheType::ALL {
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
            Plane::Blocks { kind, codes, scales } => {
                let scale = scales.data[slot * scales.cell].to_f32();
                let bytes: Vec<u8> = (0..codes.width).map(|i| codes.data[at(codes.cell, codes.value, i)]).collect();
                (0..32).map(|i| scale * kind.code(bytes[kind.byte_of(i)], i)).collect()
            }
        }
    }
}
