/// Where a weight stands: a module of the tree, in a layer or outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Layer number; `None` for the embedding, the last norm and the output.
    pub layer: Option<usize>,
    /// The module's canonical name.
    pub module: &'static str,
}

/// What a module computes with its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of rows, looked up by token.
    Embedding,
    /// A table of rows, looked up by position; never quantised.
    Positions,
    /// x W^T, with a bias where the module has one.
    Linear,
    /// A norm's gain vector, with a bias where the module has one.
    Norm,
}

/// How Hugging Face stores a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HfForm {
    /// As it is used.
    Same,
    /// A matrix as `[in, out]` (the `Conv1D` of GPT-2).
    Transposed,
    /// A gain as what it differs from 1 by (gemma's norms).
    MinusOne,
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

/// Output channels of a module, as many as another one has inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// The module.
    pub module: &'static str,
    /// Its first row (of a norm: value) that is meant; not 0 in a part of a fused projection.
    pub first: usize,
}

/// One weight of an architecture, as data: shapes and values as they are used, with what containers do differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Canonical name, unique in its part of the tree: `q`, `down`, `attn_norm`, `embed`, `output`.
    pub name: &'static str,
    /// Hugging Face name below the layer's prefix, without `.weight`: `self_attn.q_proj`.
    pub hf: &'static str,
    /// GGUF name below `blk.N.`, without `.weight`: `attn_q`.
    pub gguf: &'static str,
    /// What it is.
    pub kind: Kind,
    /// `[out, in]`; `[n]` for a vector is `[1, n]`.
    pub shape: [usize; 2],
    /// Whether the checkpoint has a bias for it: of `out` values, of a norm `n`.
    pub bias: bool,
    /// Order of quantisation inside the layer: modules of one stage share their input and are quantised together,
    /// stages in ascending order (true-sequential). Meaningless for norms.
    pub stage: u8,
    /// The channels that can take over scales of this one's input (AWQ), where the architecture allows it.
    pub scaled_by: Option<Channels>,
    /// Row order in GGUF.
    pub gguf_rows: RowOrder,
    /// How Hugging Face stores it.
    pub hf_form: HfForm,
}

impl Module {
    /// A table of rows looked up by token, `[rows, width]`.
    #[must_use]
    pub fn embedding(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2]) -> Self {
        Self::new(name, hf, gguf, Kind::Embedding, shape)
    }

    /// A table of rows looked up by position, `[rows, width]`.
    #[must_use]
    pub fn positions(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2]) -> Self {
        Self::new(name, hf, gguf, Kind::Positions, shape)
    }

    /// A norm of `width` values, without a bias.
    #[must_use]
    pub fn norm(name: &'static str, hf: &'static str, gguf: &'static str, width: usize) -> Self {
        Self::new(name, hf, gguf, Kind::Norm, [1, width])
    }

    /// A linear layer `[out, in]`.
    #[must_use]
    pub fn linear(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2], bias: bool) -> Self {
        Self { bias, ..Self::new(name, hf, gguf, Kind::Linear, shape) }
    }

    fn new(name: &'static str, hf: &'static str, gguf: &'static str, kind: Kind, shape: [usize; 2]) -> Self {
        let (stage, gguf_rows, hf_form) = (0, RowOrder::Same, HfForm::Same);
        Self { name, hf, gguf, kind, shape, bias: false, stage, scaled_by: None, gguf_rows, hf_form }
    }

    /// The same, with a bias.
    #[must_use]
    pub fn with_bias(mut self) -> Self {
        self.bias = true;
        self
    }

    /// The same, stored as `[in, out]` by Hugging Face.
    #[must_use]
    pub fn transposed(mut self) -> Self {
        self.hf_form = HfForm::Transposed;
        self
    }

    /// The same, stored as what it differs from 1 by by Hugging Face.
    #[must_use]
    pub fn minus_one(mut self) -> Self {
        self.hf_form = HfForm::MinusOne;
        self
    }

    /// The same, quantised in stage `stage` of its layer.
    #[must_use]
    pub fn stage(mut self, stage: u8) -> Self {
        self.stage = stage;
        self
    }

    /// The same, with inputs that `module` can take over scales of.
    #[must_use]
    pub fn scaled_by(self, module: impl Into<Option<&'static str>>) -> Self {
        let channels = module.into().map(|module| Channels { module, first: 0 });
        Self { scaled_by: channels, ..self }
    }

    /// The same, with inputs that the rows of `module` from `first` on can take over scales of.
    #[must_use]
    pub fn scaled_by_rows(self, module: &'static str, first: usize) -> Self {
        Self { scaled_by: Some(Channels { module, first }), ..self }
    }

    /// The same, with rows of `heads` rotary heads in GGUF's llama order.
    #[must_use]
    pub fn interleaved(mut self, heads: usize) -> Self {
        self.gguf_rows = RowOrder::InterleavedHeads { heads };
        self
    }

    /// Whether it is a linear layer.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.kind == Kind::Linear
    }

    /// Length of its bias; 0 where it has none.
    #[must_use]
    pub fn bias_len(&self) -> usize {
        match self.kind {
            _ if !self.bias => 0,
            Kind::Norm => self.shape[1],
            _ => self.shape[0],
        }
    }

    /// Numbers in weight and bias.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.shape[0] as u64 * self.shape[1] as u64 + self.bias_len() as u64
    }

    /// The shape as GGUF has it, and Hugging Face but for what [`HfForm`] changes: a norm is a vector.
    #[must_use]
    pub fn stored_shape(&self) -> &[usize] {
        if self.kind == Kind::Norm { &self.shape[1..] } else { &self.shape }
    }
}

/// All weights of a model, by the part of the forward pass that uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What token embeddings are made with: the table first, then positions and projections where there are any.
    pub embed: Vec<Module>,
    /// Modules of each layer, in the order that the architecture binds them.
    pub layers: Vec<Vec<Module>>,
    /// What stands between the last layer and the output layer: the last norm.
    pub finish: Vec<Module>,
    /// Output layer; `None` where it is tied to the embedding.
    pub output: Option<Module>,
    /// Hugging Face's prefix of layer `i` is `{hf_layers}.{i}.`: `model.layers`.
    pub hf_layers: &'static str,
    /// Other beginnings that names in a folder may have: (ours, theirs). The first pair under which the embedding is found
    /// holds for all.
    pub hf_aliases: &'static [(&'static str, &'static str)],
    /// Ends of names in a folder that are no weights: masks and frequencies that older files carry along.
    pub hf_buffers: &'static [&'static str],
}

impl Tree {
    /// The tree of most decoders: `model.embed_tokens`, `model.layers`, `model.norm` and `lm_head`, which is tied to the
    /// embedding or not. The embedding is `[vocabulary, width]`.
    #[must_use]
    pub fn decoder([vocabulary, width]: [usize; 2], layers: Vec<Vec<Module>>, tied: bool) -> Self {
        let output = || Module::linear("output", "lm_head", "output", [vocabulary, width], false);
        Self {
            embed: vec![Module::embedding("embed", "model.embed_tokens", "token_embd", [vocabulary, width])],
            layers,
            finish: vec![Module::norm("norm", "model.norm", "output_norm", width)],
            output: (!tied).then(output),
            hf_layers: "model.layers",
            hf_aliases: &[("model.", "")],
            hf_buffers: &["rotary_emb.inv_freq"],
        }
    }

    /// The table of token embeddings.
    ///
    /// # Panics
    /// When the tree has none: an architecture that is wrong.
    #[must_use]
    pub fn embedding(&self) -> &Module {
        self.embed.first().expect("a tree begins with the table of token embeddings")
    }

    /// The module that logits are computed with: the output layer, or the embedding where the two are tied.
    #[must_use]
    pub fn output_matrix(&self) -> &Module {
        self.output.as_ref().unwrap_or_else(|| self.embedding())
    }

    /// Width of the hidden states (D): that of the embedding, or of what it is projected to.
    #[must_use]
    pub fn width(&self) -> usize {
        let projection = self.embed.iter().rfind(|m| m.is_linear());
        projection.map_or(self.embedding().shape[1], |m| m.shape[0])
    }

    /// The modules outside of the layers.
    pub fn outer(&self) -> impl Iterator<Item = &Module> {
        self.embed.iter().chain(&self.finish).chain(&self.output)
    }

    /// The module of a slot.
    #[must_use]
    pub fn module(&self, slot: Slot) -> Option<&Module> {
        match slot.layer {
            Some(i) => self.layers.get(i)?.iter().find(|m| m.name == slot.module),
            None => self.outer().find(|m| m.name == slot.module),
        }
    }

    /// Every slot: embedding, layers in order, last norm, output.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let slots = |layer: Option<usize>, modules: &[Module]| -> Vec<Slot> {
            modules.iter().map(|m| Slot { layer, module: m.name }).collect()
        };
        let layers = self.layers.iter().enumerate();
        slots(None, &self.embed)
            .into_iter()
            .chain(layers.flat_map(move |(i, layer)| slots(Some(i), layer)))
            .chain(slots(None, &self.finish))
            .chain(slots(None, self.output.as_slice()))
    }

    /// Hugging Face's name of a slot's module, without `.weight`: `model.layers.0.self_attn.q_proj`.
    #[must_use]
    pub fn hf_name(&self, slot: Slot) -> Option<String> {
        let module = self.module(slot)?;
        Some(slot.layer.map_or_else(|| module.hf.to_owned(), |i| format!("{}.{i}.{}", self.hf_layers, module.hf)))
    }

    /// GGUF's name of a slot's module, without `.weight`: `blk.0.attn_q`.
    #[must_use]
    pub fn gguf_name(&self, slot: Slot) -> Option<String> {
        let module = self.module(slot)?;
        Some(slot.layer.map_or_else(|| module.gguf.to_owned(), |i| format!("blk.{i}.{}", module.gguf)))
    }

    /// The linear modules of layer `i`, grouped by stage in ascending order.
    #[must_use]
    pub fn stages(&self, i: usize) -> Vec<Vec<&Module>> {
        let mut linear: Vec<_> = self.layers[i].iter().filter(|m| m.is_linear()).collect();
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
