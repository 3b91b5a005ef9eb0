use honelm_gpu::pack::{Fallback, GroupZeros, Layout, WeightKind, packed_bytes};
use honelm_model::{Checkpoint, StoredEncoding};

/// The layouts that a GPU gives the weights of a checkpoint, each once: what its kernels are tested for before the model is
/// loaded. A weight that has no layout is refused when it is uploaded, and left out here.
#[must_use]
pub fn gpu_layouts(checkpoint: &Checkpoint) -> Vec<Layout> {
    let tree = checkpoint.tree();
    let mut found = Vec::new();
    for slot in tree.slots() {
        let (Some(module), Ok(stored)) = (tree.module(slot), checkpoint.encoding(slot)) else { continue };
        let kinds = match stored {
            StoredEncoding::Blocks(encoding) => vec![WeightKind::Blocks(encoding)],
            StoredEncoding::Groups { bits, group_size, symmetric, scale_type } => {
                let middle = [GroupZeros::Constant(1 << (bits - 1))];
                let zeros: &[GroupZeros] = if symmetric { &middle } else { &[GroupZeros::Integer, GroupZeros::Bias] };
                zeros.iter().map(|&zeros| WeightKind::Groups { bits, group_size, scale_type, zeros }).collect()
            }
        };
        let [rows, cols] = module.shape;
        for kind in kinds {
            if let Ok((layout, _)) = packed_bytes(kind, rows, cols, Fallback::Refuse)
                && !found.contains(&layout)
            {
                found.push(layout);
            }
        }
    }
    found
}
