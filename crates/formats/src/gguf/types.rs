use honelm_blocks::Encoding;

use crate::{ElementType, IntegerType};

/// A tensor type of ggml: what it stands for, and its block where that is known.
pub(super) struct GgmlType {
    pub(super) element: ElementType,
    /// Values and bytes of a block.
    pub(super) block: Option<(u64, u64)>,
}

/// The type with ggml's number `id`. Encodings that we can decode come from `honelm-blocks`; the rest
/// is known by name, so that a file can be listed and refused by tensor.
pub(super) fn ggml_type(id: u32) -> GgmlType {
    if let Some(encoding) = Encoding::from_ggml_id(id) {
        let block = Some((encoding.block_len() as u64, encoding.block_bytes() as u64));
        return GgmlType { element: ElementType::Weights(encoding), block };
    }
    let integer = |integer: IntegerType| GgmlType {
        element: ElementType::Integer(integer),
        block: Some((1, integer.width() as u64)),
    };
    let other = |name: &'static str, len, bytes| GgmlType {
        element: ElementType::Other(name.into()),
        block: Some((len, bytes)),
    };
    match id {
        24 => integer(IntegerType::I8),
        25 => integer(IntegerType::I16),
        26 => integer(IntegerType::I32),
        27 => integer(IntegerType::I64),
        10 => other("Q2_K", 256, 84),
        11 => other("Q3_K", 256, 110),
        13 => other("Q5_K", 256, 176),
        16 => other("IQ2_XXS", 256, 66),
        17 => other("IQ2_XS", 256, 74),
        18 => other("IQ3_XXS", 256, 98),
        19 => other("IQ1_S", 256, 50),
        20 => other("IQ4_NL", 32, 18),
        21 => other("IQ3_S", 256, 110),
        22 => other("IQ2_S", 256, 82),
        23 => other("IQ4_XS", 256, 136),
        28 => other("F64", 1, 8),
        29 => other("IQ1_M", 256, 56),
        34 => other("TQ1_0", 256, 54),
        35 => other("TQ2_0", 256, 66),
        39 => other("MXFP4", 32, 17),
        40 => other("NVFP4", 64, 36),
        41 => other("Q1_0", 128, 18),
        _ => GgmlType { element: ElementType::Other(format!("type {id}").into()), block: None },
    }
}
