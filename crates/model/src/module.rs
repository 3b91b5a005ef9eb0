/// Where a weight stands: a module of the tree, in a block or outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Block number; `None` for the embedding, the last norm and the output.
    pub block: Option<usize>,
    /// The module's canonical name.
    pub module: &'static str,
}

/// What a module computes with its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of rows, looked up by token.
    Embedding,
    /// x W^T, with a bias where `bias` is set.
    Linear {
        /// Whether the checkpoint has a bias for it.
        bias: bool,
    },
    /// A norm's gain vector.
    Norm,
}

/// How a container orders the output rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As Hugging Face does.
    Same,
    /// GGUF's llama order of q and k: within each of `heads` heads, row 2i + s is Hugging Face's row s * E/2 + i.
    InterleavedHeads {
        /// Heads of the matrix.
        heads: usize,
    },
}

impl RowOrder {
    /// The container's row that holds Hugging Face's row `row` of `rows`.
    #[must_use]
    pub fn container_row(self, row: usize, rows: usize) -> usize {
        match self {
            Self::Same => row,
            Self::InterleavedHeads { heads } => {
                let width = rows / heads;
                let (head, inside) = (row / width, row % width);
                let (half, i) = (inside / (width / 2), inside % (width / 2));
                head * width + 2 * i + half
            }
        }
    }

    /// Hugging Face's row that the container holds as row `row` of `rows`.
    #[must_use]
    pub fn canonical_row(self, row: usize, rows: usize) -> usize {
        match self {
            Self::Same => row,
            Self::InterleavedHeads { heads } => {
                let width = rows / heads;
                let (head, inside) = (row / width, row % width);
                head * width + (inside % 2) * (width / 2) + inside / 2
            }
        }
    }
}

/// One weight of an architecture, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Canonical name, unique in its part of the tree: `q`, `down`, `attn_norm`, `embed`, `output`.
    pub name: &'static str,
    /// Hugging Face name below the block's prefix, without `.weight`: `self_attn.q_proj`.
    pub hf: &'static str,
    /// GGUF name below `blk.N.`, without `.weight`: `attn_q`.
    pub gguf: &'static str,
    /// What it is.
    pub kind: Kind,
    /// `[out, in]`; `[n]` for a vector is `[1, n]`.
    pub shape: [usize; 2],
    /// Order of quantisation inside the block: modules of one stage share their input and are quantised together,
    /// stages in ascending order (true-sequential). Meaningless for norms.
    pub stage: u8,
    /// The module whose output channels can take over scales of this one's input (AWQ), where the architecture allows it.
    pub scaled_by: Option<&'static str>,
    /// Row order in GGUF.
    pub gguf_rows: RowOrder,
}

impl Module {
    /// A table of rows, `[rows, width]`.
    #[must_use]
    pub fn embedding(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2]) -> Self {
        Self::new(name, hf, gguf, Kind::Embedding, shape)
    }

    /// A norm of `width` values.
    #[must_use]
    pub fn norm(name: &'static str, hf: &'static str, gguf: &'static str, width: usize) -> Self {
        Self::new(name, hf, gguf, Kind::Norm, [1, width])
    }

    /// A linear layer `[out, in]`.
    #[must_use]
    pub fn linear(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2], bias: bool) -> Self {
        Self::new(name, hf, gguf, Kind::Linear { bias }, shape)
    }

    fn new(name: &'static str, hf: &'static str, gguf: &'static str, kind: Kind, shape: [usize; 2]) -> Self {
        Self { name, hf, gguf, kind, shape, stage: 0, scaled_by: None, gguf_rows: RowOrder::Same }
    }

    /// The same, quantised in stage `stage` of its block.
    #[must_use]
    pub fn stage(mut self, stage: u8) -> Self {
        self.stage = stage;
        self
    }

    /// The same, with inputs that `module` can take over scales of.
    #[must_use]
    pub fn scaled_by(mut self, module: impl Into<Option<&'static str>>) -> Self {
        self.scaled_by = module.into();
        self
    }

    /// The same, with rows of `heads` rotary heads in GGUF's llama order.
    #[must_use]
    pub fn interleaved(mut self, heads: usize) -> Self {
        self.gguf_rows = RowOrder::InterleavedHeads { heads };
        self
    }

    /// Whether the checkpoint has a bias for it.
    #[must_use]
    pub fn has_bias(&self) -> bool {
        self.kind == Kind::Linear { bias: true }
    }

    /// The shape as containers have it: a norm is a vector.
    #[must_use]
    pub fn stored_shape(&self) -> &[usize] {
        if self.kind == Kind::Norm { &self.shape[1..] } else { &self.shape }
    }
}

/// All weights of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Token embedding.
    pub embedding: Module,
    /// Modules of each block, in the order that the architecture binds them.
    pub blocks: Vec<Vec<Module>>,
    /// Last norm.
    pub norm: Module,
    /// Output layer; `None` where it is tied to the embedding.
    pub output: Option<Module>,
    /// Hugging Face's prefix of block `i` is `{hf_blocks}.{i}.`: `model.layers`.
    pub hf_blocks: &'static str,
}

impl Tree {
    /// The module of a slot.
    #[must_use]
    pub fn module(&self, slot: Slot) -> Option<&Module> {
        match slot.block {
            Some(i) => self.blocks.get(i)?.iter().find(|m| m.name == slot.module),
            None => [Some(&self.embedding), Some(&self.norm), self.output.as_ref()]
                .into_iter()
                .flatten()
                .find(|m| m.name == slot.module),
        }
    }

    /// Every slot: embedding, blocks in order, norm, output.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let outside = |m: &Module| Slot { block: None, module: m.name };
        let blocks = self.blocks.iter().enumerate();
        std::iter::once(outside(&self.embedding))
            .chain(blocks.flat_map(|(i, b)| b.iter().map(move |m| Slot { block: Some(i), module: m.name })))
            .chain(std::iter::once(outside(&self.norm)))
            .chain(self.output.as_ref().map(outside))
    }

    /// Hugging Face's name of a slot's module, without `.weight`: `model.layers.0.self_attn.q_proj`.
    #[must_use]
    pub fn hf_name(&self, slot: Slot) -> Option<String> {
        let module = self.module(slot)?;
        Some(slot.block.map_or_else(|| module.hf.to_owned(), |i| format!("{}.{i}.{}", self.hf_blocks, module.hf)))
    }

    /// GGUF's name of a slot's module, without `.weight`: `blk.0.attn_q`.
    #[must_use]
    pub fn gguf_name(&self, slot: Slot) -> Option<String> {
        let module = self.module(slot)?;
        Some(slot.block.map_or_else(|| module.gguf.to_owned(), |i| format!("blk.{i}.{}", module.gguf)))
    }

    /// The linear modules of block `i`, grouped by stage in ascending order.
    #[must_use]
    pub fn stages(&self, i: usize) -> Vec<Vec<&Module>> {
        let mut linear: Vec<_> = self.blocks[i].iter().filter(|m| matches!(m.kind, Kind::Linear { .. })).collect();
        linear.sort_by_key(|m| m.stage);
        linear.chunk_by(|a, b| a.stage == b.stage).map(<[_]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_orders_are_inverse_to_each_other() {
        let order = RowOrder::InterleavedHeads { heads: 3 };
        for row in 0..24 {
            assert_eq!(order.canonical_row(order.container_row(row, 24), 24), row);
        }
        // Head 1 (rows 8..16): its first half goes to the even rows.
        assert_eq!((0..8).map(|i| order.container_row(8 + i, 24)).collect::<Vec<_>>(), [8, 10, 12, 14, 9, 11, 13, 15]);
    }
}
