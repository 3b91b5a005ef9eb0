use crate::{
    BlockError, BlockMatrix, Encoding, Grid, GroupParams, WeightData, base::Overflow, grid::check_pack,
    k_quant::weights, table::Table,
};

/// The grid of an encoding whose codes index a table and whose groups of `G` values each have a scale of their own. A
/// code of the grid is an index into the table: the numbers rise with it.
pub(crate) struct TableGrid<const N: usize, const G: usize> {
    pub encoding: Encoding,
    pub table: &'static Table<N>,
    /// The number type of the scales, for errors.
    pub stored_as: &'static str,
    /// Returns the scale of least error of values weighted by the second argument.
    pub search: fn(&[f32; G], &[f32; G]) -> Result<f32, Overflow>,
    /// Returns the storable scale nearest to a number.
    pub nearest: fn(f32) -> f32,
    /// Returns the storable scales below and above one, where so few exist that a solved scale is of no use.
    pub around: Option<fn(f32) -> [f32; 2]>,
    /// Packs one block.
    pub pack_block: fn(&[GroupParams], &[u8], &mut [u8]),
}

impl<const N: usize, const G: usize> TableGrid<N, G> {
    fn params(scale: f32) -> GroupParams {
        GroupParams { scale, offset: 0.0 }
    }
}

impl<const N: usize, const G: usize> Grid for TableGrid<N, G> {
    fn group_size(&self) -> usize {
        G
    }

    fn has_plain_fit(&self) -> bool {
        false
    }

    fn codes(&self) -> (u8, u8) {
        (0, N as u8 - 1)
    }

    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams {
        let (mut x, mut given) = ([0.0; G], [0.0; G]);
        let n = values.len().min(importance.len()).min(G);
        x[..n].copy_from_slice(&values[..n]);
        given[..n].copy_from_slice(&importance[..n]);
        match (self.search)(&x, &weights(&x, Some(&given), G, |_, _| 1.0)) {
            Ok(scale) => Self::params(scale),
            Err(Overflow(scale)) => GroupParams { scale, offset: f32::INFINITY },
        }
    }

    fn fit_plain(&self, values: &[f32]) -> GroupParams {
        self.fit(values, &[1.0; G][..values.len().min(G)])
    }

    fn with_scale(&self, _: GroupParams, scale: f32) -> GroupParams {
        Self::params((self.nearest)(scale))
    }

    fn neighbours(&self, p: GroupParams) -> Option<[GroupParams; 2]> {
        self.around.map(|around| around(p.scale).map(Self::params))
    }

    fn round(&self, p: GroupParams, x: f32) -> u8 {
        self.table.code_under(p.scale, x)
    }

    fn zero_code(&self) -> u8 {
        self.table.code(0.0)
    }

    fn value(&self, p: GroupParams, q: u8) -> f32 {
        p.scale * self.table.0[usize::from(q)]
    }

    fn pack(&self, rows: usize, cols: usize, params: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError> {
        let row_bytes = self.encoding.row_bytes(cols)?;
        check_pack(self, rows, cols, params, codes, (self.encoding.display_name(), self.stored_as))?;
        let mut bytes = vec![0u8; rows.checked_mul(row_bytes).ok_or(BlockError::TooLarge { rows, cols })?];
        let len = self.encoding.block_len();
        let blocks = bytes.chunks_exact_mut(self.encoding.block_bytes());
        for ((block, params), codes) in blocks.zip(params.chunks_exact(len / G)).zip(codes.chunks_exact(len)) {
            (self.pack_block)(params, codes, block);
        }
        BlockMatrix::new(self.encoding, rows, cols, bytes.into()).map(WeightData::Blocks)
    }
}
