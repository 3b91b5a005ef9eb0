use half::{bf16, f16};

/// The number type of stored scales (and of zero points that are floats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// Single precision.
    F32,
}

impl ScaleType {
    /// Returns `F16`, `BF16` or `F32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F32 => "F32",
        }
    }

    /// Returns the number of bytes per number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
        }
    }

    /// Rounds to the nearest number of this type, ties to even. The result is infinite beyond its range.
    #[must_use]
    pub fn round(self, x: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(x).to_f32(),
            Self::BF16 => bf16::from_f32(x).to_f32(),
            Self::F32 => x,
        }
    }

    /// Rounds as [`ScaleType::round`] does, except that a non-zero number never becomes 0 but the smallest number of
    /// its sign. A scale of 0 would erase a group that the smallest scale can still represent.
    #[must_use]
    pub fn round_from_zero(self, x: f32) -> f32 {
        let rounded = self.round(x);
        if rounded == 0.0 && x != 0.0 { self.smallest().copysign(x) } else { rounded }
    }

    /// Returns the smallest number above 0.
    fn smallest(self) -> f32 {
        match self {
            Self::F16 => f16::from_bits(1).to_f32(),
            Self::BF16 => bf16::from_bits(1).to_f32(),
            Self::F32 => f32::from_bits(1),
        }
    }
}
