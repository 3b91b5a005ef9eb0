use honelm_blocks::{Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_formats::quantized;

/// The encoding of a weight in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredEncoding {
    /// Blocks of GGML, or floats.
    Blocks(Encoding),
    /// Integer groups.
    Groups {
        /// The bits per code.
        bits: u8,
        /// The columns per group.
        group_size: usize,
        /// `true` if every zero point is the middle code.
        symmetric: bool,
        /// The number type of the scales.
        scale_type: ScaleType,
    },
}

impl From<quantized::Form> for StoredEncoding {
    fn from(form: quantized::Form) -> Self {
        match form {
            quantized::Form::Blocks(encoding) => Self::Blocks(encoding),
            quantized::Form::Groups { bits, group_size, symmetric, scale_type } => {
                Self::Groups { bits, group_size, symmetric, scale_type }
            }
        }
    }
}

impl From<&WeightData> for StoredEncoding {
    fn from(weight: &WeightData) -> Self {
        match weight {
            WeightData::Blocks(matrix) => Self::Blocks(matrix.encoding),
            &WeightData::Groups(GroupMatrix { bits, group_size, scale_type, ref zeros, .. }) => {
                let symmetric = *zeros == Zeros::Constant(1 << (bits - 1));
                Self::Groups { bits, group_size, symmetric, scale_type }
            }
        }
    }
}
