//! Where the tasks of a matrix product write: each owns some columns of the result.

use std::marker::PhantomData;
use std::ops::Range;

use crate::TILE;

/// A row-major result `[rows, cols]` that tasks fill by columns, at the same time.
#[derive(Debug)]
pub struct Output<'a> {
    base: *mut f32,
    rows: usize,
    cols: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: shared only to make `OutputTile`s, whose columns do not overlap (contract of `tiles`).
unsafe impl Sync for Output<'_> {}
// SAFETY: it stands for an exclusive borrow of floats.
unsafe impl Send for Output<'_> {}

impl<'a> Output<'a> {
    /// Takes `values` `[rows, cols]` to be written.
    ///
    /// # Panics
    /// When `values` has another length.
    #[must_use]
    pub fn new(values: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows} x {cols} result");
        Self { base: values.as_mut_ptr(), rows, cols, owner: PhantomData }
    }

    /// Number of tiles of 16 columns, the last perhaps partial.
    #[must_use]
    pub fn tile_count(&self) -> usize {
        self.cols.div_ceil(TILE)
    }

    /// The part of the columns of `tiles`.
    ///
    /// # Safety
    /// Of two parts that live at the same time, no tile may be in both.
    ///
    /// # Panics
    /// When `tiles` reaches past the last tile.
    #[must_use]
    pub unsafe fn tiles(&self, tiles: Range<usize>) -> OutputTile<'_> {
        assert!(tiles.start <= tiles.end && tiles.end <= self.tile_count(), "tiles {tiles:?} of {}", self.tile_count());
        OutputTile { base: self.base, rows: self.rows, cols: self.cols, tiles, owner: PhantomData }
    }
}

impl Output<'_> {
    /// Columns `cols` of row `row`.
    ///
    /// # Safety
    /// No two spans that live at the same time may overlap, nor a span and a part from [`Output::tiles`].
    ///
    /// # Panics
    /// When row or columns are outside.
    #[inline]
    #[must_use]
    #[allow(clippy::mut_from_ref, reason = "the caller keeps the spans apart")]
    pub unsafe fn span(&self, row: usize, cols: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && cols.start <= cols.end && cols.end <= self.cols, "row {row}, columns {cols:?}");
        // SAFETY: inside the slice that `Output::new` borrowed, and by contract the only reference to it.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(row * self.cols + cols.start), cols.len()) }
    }
}

/// All rows of some tiles of 16 columns of a result, owned by one task.
#[derive(Debug)]
pub struct OutputTile<'a> {
    base: *mut f32,
    rows: usize,
    cols: usize,
    tiles: Range<usize>,
    owner: PhantomData<&'a mut [f32]>,
}

impl OutputTile<'_> {
    /// The tiles that may be written.
    #[must_use]
    pub fn tiles(&self) -> Range<usize> {
        self.tiles.clone()
    }

    /// Rows of the result.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns of the result that the tiles cover.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.tiles.start * TILE..(self.tiles.end * TILE).min(self.cols)
    }

    /// The part of `row` that lies in `tiles`: 16 values a tile, fewer at the right edge.
    ///
    /// # Panics
    /// When row or tiles are outside.
    #[inline(always)]
    pub fn row(&mut self, row: usize, tiles: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && tiles.start >= self.tiles.start && tiles.end <= self.tiles.end, "{row} {tiles:?}");
        let start = tiles.start * TILE;
        let len = (tiles.end * TILE).min(self.cols) - start.min(self.cols);
        // SAFETY: `row < rows` and the columns lie below `cols`, so inside the slice that `Output::new` borrowed; no
        // other part has these tiles, and `&mut self` makes this the only reference through this one.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(row * self.cols + start), len) }
    }

    /// Writes 16 values at (`row`, `tile * 16`); those past the right edge are left out.
    ///
    /// # Panics
    /// When row or tile are outside.
    #[inline(always)]
    pub fn write(&mut self, row: usize, tile: usize, values: &[f32; TILE]) {
        let out = self.row(row, tile..tile + 1);
        if out.len() == TILE {
            out.copy_from_slice(values);
        } else {
            out.copy_from_slice(&values[..out.len()]);
        }
    }
}
