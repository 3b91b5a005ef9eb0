use honelm_blocks::Encoding;

use crate::{ElementType, IntegerType};

/// A tensor type of ggml: its elements, and its block if it is known.
pub(super) struct GgmlType {
    pub(super) element: ElementType,
    /// The number of values and of bytes per block.
    pub(super) block: Option<(u64, u64)>,
}

/// Returns the type with ggml's number `id`. Types that `honelm-blocks` can decode become its encodings. Other
/// types are known by name only, so that a file can be listed and errors can name the tensor.
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
        28 => other("F64", 1, 8),
        _ => GgmlType { element: ElementType::Other(format!("type {id}").into()), block: None },
    }
}
