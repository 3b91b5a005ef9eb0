use half::{bf16, f16};

/// The number type that scales (and float zero points) are stored in.
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
    /// `F16`, `BF16` or `F32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F32 => "F32",
        }
    }

    /// Bytes a number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
        }
    }

    /// The nearest number of this type, ties to even; infinite beyond its range.
    #[must_use]
    pub fn round(self, x: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(x).to_f32(),
            Self::BF16 => bf16::from_f32(x).to_f32(),
            Self::F32 => x,
        }
    }

    /// As [`ScaleType::round`], but what would round to 0 becomes the smallest number of its sign:
    /// a scale of 0 would erase a group that the smallest scale still tells apart.
    #[must_use]
    pub fn round_from_zero(self, x: f32) -> f32 {
        let rounded = self.round(x);
        if rounded == 0.0 && x != 0.0 { self.smallest().copysign(x) } else { rounded }
    }

    /// Smallest number above 0.
    fn smallest(self) -> f32 {
        match self {
            Self::F16 => f16::from_bits(1).to_f32(),
            Self::BF16 => bf16::from_bits(1).to_f32(),
            Self::F32 => f32::from_bits(1),
        }
    }
}
