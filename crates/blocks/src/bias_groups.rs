use honelm_tensor::AlignedVec;

use crate::{
    BlockError, Fit, Grid, GroupMatrix, GroupParams, ScaleType, WeightData, Zeros,
    base::bounds,
    grid::check_pack,
    search::{self, Best, Line},
};

/// The grid of integer groups with a bias (MLX): w = scale q + bias, both in the same number type.
///
/// The plain fit follows MLX's `affine_quantize`: the end of the range that is farther from 0 becomes the bias, and the scale is
/// such that 0 is a code, unless the range is far from 0. The search chooses scale and bias freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiasGroups {
    /// The number of bits per code, 2..=8.
    pub bits: u8,
    /// The number of columns that share a scale; 0 means the whole row.
    pub group_size: usize,
    /// The number type of scales and biases.
    pub scale_type: ScaleType,
    /// The method that finds the parameters.
    pub fit: Fit,
}

impl BiasGroups {
    /// Returns the largest code, 2^bits - 1.
    fn highest(&self) -> u8 {
        u8::MAX >> (8 - self.bits.clamp(1, 8))
    }

    fn line(&self, p: GroupParams) -> Line {
        Line { scale: p.scale, offset: p.offset, low: 0.0, high: f32::from(self.highest()) }
    }
}

impl Grid for BiasGroups {
    fn group_size(&self) -> usize {
        self.group_size
    }

    fn codes(&self) -> (u8, u8) {
        (0, self.highest())
    }

    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams {
        let plain = self.fit_plain(values);
        if self.fit == Fit::MinMax || plain.scale == 0.0 || !plain.is_finite() {
            return plain;
        }
        let (levels, storage) = (f32::from(self.highest()), self.scale_type);
        let (low, high) = bounds(values);
        let start = (storage.round_from_zero((high - low) / levels), storage.round(low));
        let (scale, offset) = search::fit_minimum(start, levels, storage, values, importance);
        let mut best = Best::new(self.line(plain), values, importance);
        best.offer(self.line(GroupParams { scale, offset }), values, importance);
        GroupParams { scale: best.line.scale, offset: best.line.offset }
    }

    fn fit_plain(&self, values: &[f32]) -> GroupParams {
        let (low, high) = bounds(values);
        let range = (high - low) / f32::from(self.highest());
        let (edge, scale) = if low.abs() > high.abs() { (low, range) } else { (high, -range) };
        if scale == 0.0 {
            return GroupParams { scale: 0.0, offset: self.scale_type.round(edge) };
        }
        let code = (edge / scale).round_ties_even();
        let (scale, offset) = if code == 0.0 { (scale, 0.0) } else { (edge / code, edge) };
        GroupParams { scale: self.scale_type.round_from_zero(scale), offset: self.scale_type.round(offset) }
    }

    fn with_scale(&self, p: GroupParams, scale: f32) -> GroupParams {
        GroupParams { scale: self.scale_type.round(scale), ..p }
    }

    fn with_offset(&self, p: GroupParams, offset: f32) -> Option<GroupParams> {
        Some(GroupParams { offset: self.scale_type.round(offset), ..p })
    }

    fn zero_code(&self) -> u8 {
        0
    }

    fn pack(&self, rows: usize, cols: usize, params: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError> {
        check_pack(self, rows, cols, params, codes, ("an integer group", self.scale_type.name()))?;
        let matrix = GroupMatrix {
            rows,
            cols,
            bits: self.bits,
            group_size: if self.group_size == 0 { cols.max(1) } else { self.group_size },
            scale_type: self.scale_type,
            codes: AlignedVec::from_slice(codes),
            scales: params.iter().map(|p| p.scale).collect(),
            zeros: Zeros::Bias(params.iter().map(|p| p.offset).collect()),
            order: None,
        };
        matrix.validated().map(WeightData::Groups)
    }
}
