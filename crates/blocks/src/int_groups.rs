use honelm_tensor::AlignedVec;

use crate::{
    BlockError, Grid, GroupMatrix, GroupParams, ScaleType, WeightData, Zeros, base::bounds, grid::check_pack, search,
};

/// The method by which [`IntGroups`] finds the parameters of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Takes the smallest and the largest value, as the reference code of GPTQ and RTN does.
    MinMax,
    /// Searches scales and zero points for the least error weighted by importance.
    Search,
}

/// The grid of integer groups (GPTQ, AWQ, compressed-tensors and others): w = scale (q - z).
///
/// Symmetric: z = 2^(bits-1) for every group, and the plain fit takes scale = 2 max|x| / (2^bits - 1). The search
/// also tries negative scales, so that the larger side of a group can use the extra code. Asymmetric: z is an
/// integer in 0..2^bits, and the range includes 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntGroups {
    /// The number of bits per code, 2..=8.
    pub bits: u8,
    /// The number of columns that share a scale; 0 means the whole row.
    pub group_size: usize,
    /// `true` if every zero point is 2^(bits-1).
    pub symmetric: bool,
    /// The number type of the scales.
    pub scale_type: ScaleType,
    /// The method that finds the parameters.
    pub fit: Fit,
}

impl IntGroups {
    /// Returns the largest code, 2^bits - 1.
    fn highest(&self) -> u8 {
        u8::MAX >> (8 - self.bits.clamp(1, 8))
    }

    /// Returns the zero point of symmetric groups, 2^(bits-1).
    fn middle(&self) -> u8 {
        self.highest() / 2 + 1
    }

    fn params(scale: f32, zero: f32) -> GroupParams {
        GroupParams { scale, offset: -scale * zero }
    }

    /// Returns the zero point of a group, recovered from its offset.
    fn zero(&self, p: GroupParams) -> u8 {
        if self.symmetric || p.scale == 0.0 { self.middle() } else { (-p.offset / p.scale + 0.5) as u8 }
    }

    /// Returns the bounds of the values, extended to include 0.
    fn range(values: &[f32]) -> (f32, f32) {
        let (low, high) = bounds(values);
        (low.min(0.0), high.max(0.0))
    }
}

impl Grid for IntGroups {
    fn group_size(&self) -> usize {
        self.group_size
    }

    fn codes(&self) -> (u8, u8) {
        (0, self.highest())
    }

    fn fit(&self, values: &[f32], importance: &[f32]) -> GroupParams {
        let plain = self.fit_plain(values);
        if self.fit == Fit::MinMax {
            return plain;
        }
        let (levels, storage) = (f32::from(self.highest()), self.scale_type);
        if self.symmetric {
            let zero = f32::from(self.middle());
            let scale = search::fit_signed(plain.scale, zero, (0.0, levels), storage, values, importance);
            return Self::params(scale, zero);
        }
        let start = (plain.scale, f32::from(self.zero(plain)));
        let (scale, zero) = search::fit_integer_zero(start, Self::range(values), levels, storage, values, importance);
        Self::params(scale, zero)
    }

    fn fit_plain(&self, values: &[f32]) -> GroupParams {
        let levels = f32::from(self.highest());
        let (low, high) = Self::range(values);
        if self.symmetric {
            let reach = high.max(-low);
            return Self::params(self.scale_type.round_from_zero(2.0 * reach / levels), f32::from(self.middle()));
        }
        let exact = (high - low) / levels;
        let scale = self.scale_type.round_from_zero(exact);
        if scale == 0.0 {
            return Self::params(0.0, f32::from(self.middle()));
        }
        Self::params(scale, (-low / scale).round().clamp(0.0, levels))
    }

    fn with_scale(&self, p: GroupParams, scale: f32) -> GroupParams {
        Self::params(self.scale_type.round(scale), f32::from(self.zero(p)))
    }

    fn zero_code(&self) -> u8 {
        self.middle()
    }

    fn value(&self, p: GroupParams, q: u8) -> f32 {
        p.scale * (f32::from(q) - f32::from(self.zero(p)))
    }

    fn pack(&self, rows: usize, cols: usize, params: &[GroupParams], codes: &[u8]) -> Result<WeightData, BlockError> {
        check_pack(self, rows, cols, params, codes, ("an integer group", self.scale_type.name()))?;
        let zeros = if self.symmetric {
            Zeros::Constant(self.middle())
        } else {
            Zeros::Integer(params.iter().map(|&p| self.zero(p)).collect())
        };
        let matrix = GroupMatrix {
            rows,
            cols,
            bits: self.bits,
            group_size: if self.group_size == 0 { cols.max(1) } else { self.group_size },
            scale_type: self.scale_type,
            codes: AlignedVec::from_slice(codes),
            scales: params.iter().map(|p| p.scale).collect(),
            zeros,
            order: None,
        };
        matrix.validated().map(WeightData::Groups)
    }
}
