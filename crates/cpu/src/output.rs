//! The results of matrix products: each task owns some of the columns.

use std::marker::PhantomData;
use std::ops::Range;

use crate::TILE;

/// A row-major result `[rows, cols]` that several tasks fill by columns at the same time.
#[derive(Debug)]
pub struct Output<'a> {
    base: *mut f32,
    rows: usize,
    cols: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: shared only to create `OutputTile`s, whose columns do not overlap (the contract of `tiles`).
unsafe impl Sync for Output<'_> {}
// SAFETY: the value stands for an exclusive borrow of floats.
unsafe impl Send for Output<'_> {}

impl<'a> Output<'a> {
    /// Borrows `values` `[rows, cols]` for writing.
    ///
    /// # Panics
    /// Panics if the length of `values` is not `rows * cols`.
    #[must_use]
    pub fn new(values: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows} x {cols} result");
        Self { base: values.as_mut_ptr(), rows, cols, owner: PhantomData }
    }

    /// Returns the number of tiles of 16 columns; the last may be partial.
    #[must_use]
    pub fn tile_count(&self) -> usize {
        self.cols.div_ceil(TILE)
    }

    /// Returns the columns of `tiles`.
    ///
    /// # Safety
    /// A tile must not be in two parts that are alive at the same time.
    ///
    /// # Panics
    /// Panics if `tiles` ends past the last tile.
    #[must_use]
    pub unsafe fn tiles(&self, tiles: Range<usize>) -> OutputTile<'_> {
        assert!(tiles.start <= tiles.end && tiles.end <= self.tile_count(), "tiles {tiles:?} of {}", self.tile_count());
        OutputTile { base: self.base, rows: self.rows, cols: self.cols, tiles, owner: PhantomData }
    }
}

impl Output<'_> {
    /// Returns columns `cols` of row `row`.
    ///
    /// # Safety
    /// Spans that are alive at the same time must not overlap each other or a part from [`Output::tiles`].
    ///
    /// # Panics
    /// Panics if the row or the columns are out of bounds.
    #[inline]
    #[must_use]
    #[allow(clippy::mut_from_ref, reason = "the caller ensures that spans do not overlap")]
    pub unsafe fn span(&self, row: usize, cols: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && cols.start <= cols.end && cols.end <= self.cols, "row {row}, columns {cols:?}");
        // SAFETY: the span lies in the slice that `Output::new` borrowed; by contract there is no other reference to it.
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
    /// Returns the tiles that may be written.
    #[must_use]
    pub fn tiles(&self) -> Range<usize> {
        self.tiles.clone()
    }

    /// Returns the number of rows of the result.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the columns of the result that the tiles cover.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.tiles.start * TILE..(self.tiles.end * TILE).min(self.cols)
    }

    /// Returns the part of `row` that lies in `tiles`: 16 values per tile, fewer at the right edge.
    ///
    /// # Panics
    /// Panics if the row or the tiles are out of bounds.
    #[inline(always)]
    pub fn row(&mut self, row: usize, tiles: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && tiles.start >= self.tiles.start && tiles.end <= self.tiles.end, "{row} {tiles:?}");
        let start = tiles.start * TILE;
        let len = (tiles.end * TILE).min(self.cols) - start.min(self.cols);
        // SAFETY: `row < rows` and the columns are below `cols`, so the part lies in the slice that `Output::new`
        // borrowed. No other part has these tiles, and `&mut self` excludes a second reference through this one.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(row * self.cols + start), len) }
    }

    /// Writes 16 values at (`row`, `tile * 16`), except those past the right edge.
    ///
    /// # Panics
    /// Panics if the row or the tile is out of bounds.
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
