use crate::{
    BlockError, BlockMatrix, Encoding, Grid, GroupParams, ScaleType, WeightData,
    base::{Overflow, bounds, extreme},
    grid::check_pack,
    search,
};

/// The number of values per block of every encoding that is a grid.
const LEN: usize = 32;

/// The origin of the codes of a block.
pub(crate) enum Origin {
    /// This code stands for 0: w = d (q - code).
    Code(u8),
    /// Code 0 stands for a stored minimum: w = d q + m.
    Minimum,
}

/// The grid of an encoding with 32 values per block and parameters in half precision.
pub(crate) struct BlockGrid {
    pub encoding: Encoding,
    pub low: u8,
    pub high: u8,
    pub origin: Origin,
    /// Packs one block.
    pub pack_block: fn(GroupParams, &[u8; LEN], &mut [u8]),
}

impl BlockGrid {
    fn signed(scale: f32, zero: u8) -> GroupParams {
        GroupParams { scale, offset: -scale * f32::from(zero) }
    }
}

impl Grid for BlockGrid {
    fn group_size(&self) -> usize {
        LEN
    }

    fn codes(&self) -> (u8, u8) {
        (self.low, self.high)
    }

    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams {
        let plain = self.fit_plain(values);
        let (low, high) = (f32::from(self.low), f32::from(self.high));
        match self.origin {
            Origin::Code(zero) => {
                let codes = (low, high);
                let scale = search::fit_signed(plain.scale, f32::from(zero), codes, ScaleType::F16, values, importance);
                Self::signed(scale, zero)
            }
            Origin::Minimum => {
                let start = (plain.scale, plain.offset);
                let (scale, offset) = search::fit_minimum(start, high, ScaleType::F16, values, importance);
                GroupParams { scale, offset }
            }
        }
    }

    fn fit_plain(&self, values: &[f32]) -> GroupParams {
        match self.origin {
            Origin::Code(zero) => {
                // The extreme value gets the code that is farthest from zero.
                let reach = f32::from(self.low) - f32::from(zero);
                Self::signed(ScaleType::F16.round_from_zero(extreme(values) / reach), zero)
            }
            Origin::Minimum => {
                let (low, high) = bounds(values);
                GroupParams {
                    scale: ScaleType::F16.round_from_zero((high - low) / f32::from(self.high)),
                    offset: ScaleType::F16.round(low),
                }
            }
        }
    }

    fn with_scale(&self, p: GroupParams, scale: f32) -> GroupParams {
        let scale = ScaleType::F16.round(scale);
        match self.origin {
            Origin::Code(zero) => Self::signed(scale, zero),
            Origin::Minimum => GroupParams { scale, offset: p.offset },
        }
    }

    fn zero_code(&self) -> u8 {
        match self.origin {
            Origin::Code(zero) => zero,
            Origin::Minimum => 0,
        }
    }

    fn value(&self, p: GroupParams, q: u8) -> f32 {
        match self.origin {
            Origin::Code(zero) => p.scale * (f32::from(q) - f32::from(zero)),
            Origin::Minimum => p.scale * f32::from(q) + p.offset,
        }
    }

    fn pack(&self, rows: usize, cols: usize, params: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError> {
        let row_bytes = self.encoding.row_bytes(cols)?;
        check_pack(self, rows, cols, params, codes, (self.encoding.display_name(), ScaleType::F16.name()))?;
        let mut bytes = vec![0u8; rows.checked_mul(row_bytes).ok_or(BlockError::TooLarge { rows, cols })?];
        let blocks = bytes.chunks_exact_mut(self.encoding.block_bytes());
        for ((block, &p), codes) in blocks.zip(params).zip(codes.as_chunks::<LEN>().0) {
            (self.pack_block)(p, codes, block);
        }
        BlockMatrix::new(self.encoding, rows, cols, bytes.into()).map(WeightData::Blocks)
    }
}

/// Encodes one block of 32 values onto `grid` with searched parameters.
pub(crate) fn encode_searched<const B: usize>(
    grid: &BlockGrid,
    x: &[f32; 32],
    importance: &[f32; 32],
    out: &mut [u8; B],
) -> Result<(), Overflow> {
    let p = grid.fit(x, importance);
    if !p.is_finite() {
        return Err(Overflow(if p.scale.is_finite() { p.offset } else { p.scale }));
    }
    let codes = std::array::from_fn(|j| grid.round(p, x[j]));
    (grid.pack_block)(p, &codes, out);
    Ok(())
}
