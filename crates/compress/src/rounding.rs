//! Targets as grids, and rounding without error feedback.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use honelm_blocks::{BiasGroups, BlockError, BlockMatrix, Encoding, Fit, Grid, GroupParams, IntGroups, WeightData};
use honelm_tensor::Matrix;

use crate::methods::Scales;
use crate::parallel::for_each;
use crate::target::{GroupNumbers, Target};

/// The grid that a target rounds onto.
pub(crate) enum AnyGrid {
    Blocks(&'static dyn Grid),
    Groups(IntGroups),
    Biases(BiasGroups),
}

impl Deref for AnyGrid {
    type Target = dyn Grid;
    fn deref(&self) -> &(dyn Grid + 'static) {
        match self {
            Self::Blocks(grid) => *grid,
            Self::Groups(grid) => grid,
            Self::Biases(grid) => grid,
        }
    }
}

/// Returns the grid of a target; `None` for an encoding that can only be made by search or conversion.
pub(crate) fn grid(target: Target, fit: Fit) -> Option<AnyGrid> {
    match target {
        Target::Keep => None,
        Target::Block(e) => e.grid().map(AnyGrid::Blocks),
        Target::Groups { bits, group_size, symmetric: false, numbers: GroupNumbers { scale_type, has_bias: true } } => {
            Some(AnyGrid::Biases(BiasGroups { bits, group_size, scale_type, fit }))
        }
        Target::Groups { bits, group_size, symmetric, numbers: GroupNumbers { scale_type, .. } } => {
            Some(AnyGrid::Groups(IntGroups { bits, group_size, symmetric, scale_type, fit }))
        }
    }
}

/// Returns the columns of a group or superblock, where 0 stands for the whole row.
pub(crate) fn size_of(size: usize, cols: usize) -> usize {
    if size == 0 { cols.max(1) } else { size }
}

/// A matrix as codes of a grid.
pub(crate) struct Codes {
    pub rows: usize,
    pub cols: usize,
    /// The parameters of the groups. // [rows, groups]
    pub params: Vec<GroupParams>,
    /// The codes. // [rows, cols]
    pub codes: Vec<u8>,
}

impl Codes {
    /// Returns a matrix of zero codes.
    pub(crate) fn new(rows: usize, cols: usize, grid: &dyn Grid) -> Self {
        let groups = cols.div_ceil(size_of(grid.group_size(), cols)).max(1);
        let params = vec![GroupParams { scale: 0.0, offset: 0.0 }; rows * groups];
        Self { rows, cols, params, codes: vec![0; rows * cols] }
    }

    /// Returns the number of groups per row.
    pub(crate) fn groups(&self) -> usize {
        self.params.len() / self.rows.max(1)
    }

    pub(crate) fn pack(&self, grid: &dyn Grid) -> Result<WeightData, BlockError> {
        grid.pack(self.rows, self.cols, &self.params, &self.codes)
    }
}

/// Rounds every group (or superblock) of W `[M, K]` on its own; `importance` `[K]` weights the columns in a search for scales.
pub(crate) fn round_to(w: &Matrix, importance: Option<&[f32]>, grid: &dyn Grid, threads: usize) -> Codes {
    let k = w.cols;
    let (g, superblock) = (size_of(grid.group_size(), k), size_of(grid.superblock(), k));
    let unit = grid.unit();
    let metric: Vec<f32> = (0..unit * unit).map(|i| f32::from(u8::from(i / unit == i % unit))).collect();
    // The columns of a group that are rounded at once.
    let together = if unit == 1 { g.max(1) } else { unit };
    let mut rounded = Codes::new(w.rows, k, grid);
    let groups = rounded.groups();
    let tasks: Vec<_> = rounded.codes.chunks_mut(k).zip(rounded.params.chunks_mut(groups)).collect();
    for_each(tasks, threads, |r, (codes, params)| {
        let row = w.row(r);
        match importance {
            Some(importance) => {
                let superblocks =
                    row.chunks(superblock).zip(importance.chunks(superblock)).zip(params.chunks_mut(superblock / g));
                superblocks.for_each(|((values, importance), params)| grid.fit_superblock(values, importance, params));
            }
            None => row.chunks(g).zip(params.iter_mut()).for_each(|(values, p)| *p = grid.fit_plain(values)),
        }
        for ((values, codes), p) in row.chunks(g).zip(codes.chunks_mut(g)).zip(params) {
            for (x, codes) in values.chunks(together).zip(codes.chunks_mut(together)) {
                grid.round_unit(*p, x, &metric, codes);
            }
        }
    });
    rounded
}

/// Rounds W `[M, K]` to its target, every group on its own. `importance` `[K]` weights the columns in the search for scales.
///
/// [`Target::Keep`] gives the values in F32.
pub(crate) fn round(
    w: &Matrix,
    target: Target,
    scales: Scales,
    importance: Option<&[f32]>,
    threads: usize,
) -> Result<WeightData, BlockError> {
    let fit = if scales == Scales::MinMax { Fit::MinMax } else { Fit::Search };
    let ones = (scales == Scales::Search).then(|| vec![1.0; w.cols]);
    match (grid(target, fit).filter(|grid| grid.has_plain_fit()), target) {
        (Some(grid), _) => round_to(w, importance.or(ones.as_deref()), &*grid, threads).pack(&*grid),
        (None, Target::Block(encoding)) => Ok(search(w, encoding, importance, threads)?.into()),
        (None, _) => Ok(search(w, Encoding::F32, None, threads)?.into()),
    }
}

/// [`BlockMatrix::quantize`] on `threads` threads.
pub(crate) fn search(
    w: &Matrix,
    encoding: Encoding,
    importance: Option<&[f32]>,
    threads: usize,
) -> Result<BlockMatrix, BlockError> {
    let row_bytes = encoding.row_bytes(w.cols)?;
    let mut bytes = vec![0u8; row_bytes * w.rows];
    let failed = Mutex::new(None);
    for_each(bytes.chunks_mut(row_bytes.max(1)).collect(), threads, |r, out| {
        if let Err(e) = encoding.quantize_row(w.row(r), importance, out) {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e.at_row(r));
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e),
        None => BlockMatrix::new(encoding, w.rows, w.cols, bytes.into()),
    }
}
