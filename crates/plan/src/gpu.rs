//! The layouts of a checkpoint's weights on a GPU.

use honelm_gpu::pack::{Fallback, GroupZeros, Layout, WeightKind, packed_bytes};
use honelm_model::{Checkpoint, StoredEncoding};

/// Returns the layouts of a checkpoint's weights on a GPU, each once. The GPU's kernels are tested for these before the
/// model is loaded. Weights without an exact layout are held in F16.
#[must_use]
pub fn gpu_layouts(checkpoint: &Checkpoint) -> Vec<Layout> {
    let tree = checkpoint.tree();
    let mut found = Vec::new();
    for slot in tree.slots() {
        let (Some(module), Ok(stored)) = (tree.module(slot), checkpoint.encoding(slot)) else { continue };
        for kind in kinds(stored) {
            if let Ok((layout, _)) = packed_bytes(kind, module.shape[0], module.shape[1], Fallback::F16)
                && !found.contains(&layout)
            {
                found.push(layout);
            }
        }
    }
    found
}

/// Returns the kinds of weights that an encoding can have, which depend on the zero points.
pub(crate) fn kinds(stored: StoredEncoding) -> Vec<WeightKind> {
    match stored {
        StoredEncoding::Blocks(encoding) => vec![WeightKind::Blocks(encoding)],
        StoredEncoding::Groups { bits, group_size, symmetric, scale_type } => {
            let middle = [GroupZeros::Constant(1 << (bits - 1))];
            let zeros: &[GroupZeros] = if symmetric { &middle } else { &[GroupZeros::Integer, GroupZeros::Bias] };
            zeros.iter().map(|&zeros| WeightKind::Groups { bits, group_size, scale_type, zeros }).collect()
        }
    }
}

/// A weight on a GPU.
pub(crate) struct Held {
    pub bytes: u64,
    /// `true` if no layout holds its values exactly.
    pub rounded: bool,
}

/// Returns the size of a weight `[rows, cols]` on a GPU, the largest if it depends on the zero points; `None` if the encoding
/// does not allow that number of columns.
pub(crate) fn held(stored: StoredEncoding, [rows, cols]: [usize; 2]) -> Option<Held> {
    let held = |kind| {
        let (_, bytes) = packed_bytes(kind, rows, cols, Fallback::F16).ok()?;
        Some(Held { bytes, rounded: packed_bytes(kind, rows, cols, Fallback::Refuse).is_err() })
    };
    kinds(stored).into_iter().filter_map(held).max_by_key(|held| held.bytes)
}

#[cfg(test)]
mod tests {
    use honelm_blocks::{Encoding, ScaleType};

    use super::*;

    #[test]
    fn groups_that_end_within_a_vector_are_rounded() {
        let groups =
            |group_size| StoredEncoding::Groups { bits: 4, group_size, symmetric: true, scale_type: ScaleType::F16 };
        let of = |stored| held(stored, [64, 96]).map(|held| (held.bytes, held.rounded));
        assert_eq!(of(groups(12)), Some((64 * 96 * 2, true)));
        assert_eq!(
            of(groups(32)),
            Some((64 * (96 / 2 + 16), false)),
            "the codes, and three scales in a vector of four words"
        );
        assert_eq!(of(StoredEncoding::Blocks(Encoding::Q8_0)).map(|(_, rounded)| rounded), Some(false));
        assert_eq!(of(StoredEncoding::Blocks(Encoding::Q4K)), None, "96 columns are not a whole block");
    }
}
