/// The place of a weight in the module tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The number of the layer; `None` for the embedding, the last norm and the output layer.
    pub layer: Option<usize>,
    /// The module's canonical name.
    pub module: &'static str,
}

/// The operation of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of rows, looked up by token.
    Embedding,
    /// A table of rows, looked up by position; never quantised.
    Positions,
    /// A table of rows, looked up by the type of a token; never quantised. All tokens have type 0, so its row is added to those
    /// of the positions when they are uploaded.
    TokenTypes,
    /// The product x W^T, plus a bias if the module has one.
    Linear,
    /// The gain of a norm, with a bias if the module has one.
    Norm,
}

/// The form in which Hugging Face stores a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HfForm {
    /// The form in which the weight is used.
    Same,
    /// A matrix `[in, out]` (the `Conv1D` of GPT-2).
    Transposed,
    /// A gain minus 1 (the norms of Gemma).
    MinusOne,
    /// A table that begins with this number of rows for padding (the positions of RoBERTa).
    Padded(usize),
}

/// The order in which a container stores the output rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// The order of Hugging Face.
    Same,
    /// GGUF's llama order of q and k: within each of `heads` heads, row 2i + s is Hugging Face's row s * E/2 + i.
    InterleavedHeads {
        /// The number of heads in the matrix.
        heads: usize,
    },
}

impl RowOrder {
    /// Returns the container's row that holds Hugging Face's row `row` of `rows`.
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

    /// Returns Hugging Face's row that the container stores as row `row` of `rows`.
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

/// The output channels of a module that the inputs of another module come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// The module with these output channels.
    pub module: &'static str,
    /// The first row (of a norm: value) of the channels; not 0 in a part of a fused projection.
    pub first: usize,
    /// The number of consecutive channels that form a head; 1 where there are no heads.
    pub head_width: usize,
    /// The number of consecutive heads of inputs that read the same head of channels (grouped-query attention); else 1.
    pub readers: usize,
}

impl Channels {
    /// Returns the row (of a norm: value) that input `input` comes from.
    #[must_use]
    pub fn row(&self, input: usize) -> usize {
        self.first + input / (self.head_width * self.readers) * self.head_width + input % self.head_width
    }
}

/// The description of one weight of an architecture: its shape as it is used, and its form in the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The canonical name, unique in its part of the tree: `q`, `down`, `attn_norm`, `embed`, `output`.
    pub name: &'static str,
    /// The Hugging Face name below the layer's prefix, without `.weight`: `self_attn.q_proj`.
    pub hf: &'static str,
    /// The GGUF name below `blk.N.`, without `.weight`: `attn_q`.
    pub gguf: &'static str,
    /// The operation.
    pub kind: Kind,
    /// The shape `[out, in]`; a vector of `n` values is `[1, n]`.
    pub shape: [usize; 2],
    /// `true` if the module has a bias: of `out` values, or of `n` for a norm.
    pub bias: bool,
    /// The place in the order of quantisation inside the layer. Modules of one stage share their input and are quantised
    /// together; stages follow in ascending order (GPTQ's true-sequential). Meaningless for norms.
    pub stage: u8,
    /// The channels that can absorb the scales of this module's inputs (AWQ); `None` if the architecture does not allow it.
    pub scaled_by: Option<Channels>,
    /// The channels that compute this module's inputs, for each of the projections before it: those of q, k and v for `o`, those of
    /// gate and up for `down`. The rows of a head or neuron in all of them, and its columns here, can only be removed together.
    /// Empty for a module that reads the hidden states.
    pub computed_by: Vec<Channels>,
    /// The order of the rows in GGUF.
    pub gguf_rows: RowOrder,
    /// The form in which Hugging Face stores the weight.
    pub hf_form: HfForm,
}

impl Module {
    /// Describes a table `[rows, width]` of rows looked up by token.
    #[must_use]
    pub fn embedding(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2]) -> Self {
        Self::new(name, hf, gguf, Kind::Embedding, shape)
    }

    /// Describes a table `[rows, width]` of rows looked up by position.
    #[must_use]
    pub fn positions(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2]) -> Self {
        Self::new(name, hf, gguf, Kind::Positions, shape)
    }

    /// Describes a table `[types, width]` of rows looked up by the type of a token.
    #[must_use]
    pub fn token_types(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2]) -> Self {
        Self::new(name, hf, gguf, Kind::TokenTypes, shape)
    }

    /// Describes a norm of `width` values, without a bias.
    #[must_use]
    pub fn norm(name: &'static str, hf: &'static str, gguf: &'static str, width: usize) -> Self {
        Self::new(name, hf, gguf, Kind::Norm, [1, width])
    }

    /// Describes a linear module `[out, in]`.
    #[must_use]
    pub fn linear(name: &'static str, hf: &'static str, gguf: &'static str, shape: [usize; 2], bias: bool) -> Self {
        Self { bias, ..Self::new(name, hf, gguf, Kind::Linear, shape) }
    }

    fn new(name: &'static str, hf: &'static str, gguf: &'static str, kind: Kind, shape: [usize; 2]) -> Self {
        let (stage, gguf_rows, hf_form) = (0, RowOrder::Same, HfForm::Same);
        let (scaled_by, computed_by) = (None, Vec::new());
        Self { name, hf, gguf, kind, shape, bias: false, stage, scaled_by, computed_by, gguf_rows, hf_form }
    }

    /// Adds a bias.
    #[must_use]
    pub fn with_bias(mut self) -> Self {
        self.bias = true;
        self
    }

    /// Sets Hugging Face's form to [`HfForm::Transposed`].
    #[must_use]
    pub fn transposed(mut self) -> Self {
        self.hf_form = HfForm::Transposed;
        self
    }

    /// Sets Hugging Face's form to [`HfForm::MinusOne`].
    #[must_use]
    pub fn minus_one(mut self) -> Self {
        self.hf_form = HfForm::MinusOne;
        self
    }

    /// Sets Hugging Face's form to [`HfForm::Padded`].
    #[must_use]
    pub fn padded(mut self, rows: usize) -> Self {
        self.hf_form = HfForm::Padded(rows);
        self
    }

    /// Sets the stage of quantisation.
    #[must_use]
    pub fn stage(mut self, stage: u8) -> Self {
        self.stage = stage;
        self
    }

    /// Sets the module that can absorb the scales of this one's inputs.
    #[must_use]
    pub fn scaled_by(self, module: impl Into<Option<&'static str>>) -> Self {
        let channels = module.into().map(|module| Channels { module, first: 0, head_width: 1, readers: 1 });
        Self { scaled_by: channels, ..self }
    }

    /// Sets the module whose rows from `first` on can absorb the scales of this one's inputs.
    #[must_use]
    pub fn scaled_by_rows(self, module: &'static str, first: usize) -> Self {
        Self { scaled_by: Some(Channels { module, first, head_width: 1, readers: 1 }), ..self }
    }

    /// The same, with inputs from heads of `head_width` rows of `module`, from row `first` on. `readers` heads of inputs
    /// read each of them.
    #[must_use]
    pub fn scaled_by_heads(self, module: &'static str, first: usize, head_width: usize, readers: usize) -> Self {
        Self { scaled_by: Some(Channels { module, first, head_width, readers }), ..self }
    }

    /// Sets the channels that compute the inputs, in heads of `head_width`. Each projection is a module, its first row and the number
    /// of heads of inputs that read one of its heads.
    #[must_use]
    pub fn computed_by(mut self, head_width: usize, projections: &[(&'static str, usize, usize)]) -> Self {
        let channels = |&(module, first, readers): &_| Channels { module, first, head_width, readers };
        self.computed_by = projections.iter().map(channels).collect();
        self
    }

    /// Sets the row order in GGUF to the llama order of `heads` rotary heads.
    #[must_use]
    pub fn interleaved(mut self, heads: usize) -> Self {
        self.gguf_rows = RowOrder::InterleavedHeads { heads };
        self
    }

    /// Returns `true` if the module is linear.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.kind == Kind::Linear
    }

    /// Returns the length of the bias; 0 if there is none.
    #[must_use]
    pub fn bias_len(&self) -> usize {
        match self.kind {
            _ if !self.bias => 0,
            Kind::Norm => self.shape[1],
            _ => self.shape[0],
        }
    }

    /// Returns the number of values in weight and bias.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.shape[0] as u64 * self.shape[1] as u64 + self.bias_len() as u64
    }

    /// Returns the shape in GGUF, which is also that of Hugging Face before [`HfForm`] is applied: norms are vectors.
    #[must_use]
    pub fn stored_shape(&self) -> &[usize] {
        if self.kind == Kind::Norm { &self.shape[1..] } else { &self.shape }
    }
}

/// The modules of a model, by the parts of the forward pass that use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The modules of the token embedding: the table first, then positions, token types, projections and a norm if there are any.
    pub embed: Vec<Module>,
    /// The modules of each layer.
    pub layers: Vec<Vec<Module>>,
    /// The modules between the last layer and the output layer: the last norm.
    pub finish: Vec<Module>,
    /// The output layer; `None` if it is tied to the embedding.
    pub output: Option<Module>,
    /// The Hugging Face name of the list of layers, such as `model.layers`: names of layer `i` begin with
    /// `{hf_layers}.{i}.`.
    pub hf_layers: &'static str,
    /// Alternative prefixes of names in a folder, as pairs of the usual and the other prefix. The first pair with which the
    /// embedding is found applies to all names.
    pub hf_aliases: &'static [(&'static str, &'static str)],
    /// The suffixes of tensors in a folder that are not weights: masks and frequencies in older files.
    pub hf_buffers: &'static [&'static str],
    /// `true` if transformers opens a folder only where the width is a multiple of the number of heads.
    pub heads_divide_width: bool,
}

impl Tree {
    /// Returns the tree of most decoders: `model.embed_tokens` `[vocabulary, width]`, `model.layers`, `model.norm` and
    /// `lm_head`, unless that is tied to the embedding.
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
            heads_divide_width: false,
        }
    }

    /// Returns the table of token embeddings.
    ///
    /// # Panics
    /// Panics if the tree has none, which is a bug of the architecture.
    #[must_use]
    pub fn embedding(&self) -> &Module {
        self.embed.first().expect("a tree begins with the table of token embeddings")
    }

    /// Returns the module that computes logits: the output layer, or the embedding if the two are tied.
    #[must_use]
    pub fn output_matrix(&self) -> &Module {
        self.output.as_ref().unwrap_or_else(|| self.embedding())
    }

    /// Returns the width of the hidden states (D): that of the embedding, or of the projection after it.
    #[must_use]
    pub fn width(&self) -> usize {
        let projection = self.embed.iter().rfind(|m| m.is_linear());
        projection.map_or(self.embedding().shape[1], |m| m.shape[0])
    }

    /// Returns the modules outside of the layers.
    pub fn outer(&self) -> impl Iterator<Item = &Module> {
        self.embed.iter().chain(&self.finish).chain(&self.output)
    }

    /// Returns the module of a slot.
    #[must_use]
    pub fn module(&self, slot: Slot) -> Option<&Module> {
        match slot.layer {
            Some(i) => self.layers.get(i)?.iter().find(|m| m.name == slot.module),
            None => self.outer().find(|m| m.name == slot.module),
        }
    }

    /// Returns the token types that are added to the positions, if there are any.
    #[must_use]
    pub fn token_types(&self) -> Option<Slot> {
        let types = self.embed.iter().find(|module| module.kind == Kind::TokenTypes)?;
        Some(Slot { layer: None, module: types.name })
    }

    /// Returns all slots: embedding, layers in ascending order, last norm, output layer.
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

    /// Returns the Hugging Face name of a module, without `.weight`: `model.layers.0.self_attn.q_proj`.
    #[must_use]
    pub fn hf_name(&self, slot: Slot) -> Option<String> {
        let module = self.module(slot)?;
        Some(slot.layer.map_or_else(|| module.hf.to_owned(), |i| format!("{}.{i}.{}", self.hf_layers, module.hf)))
    }

    /// Returns the GGUF name of a module, without `.weight`: `blk.0.attn_q`.
    #[must_use]
    pub fn gguf_name(&self, slot: Slot) -> Option<String> {
        let module = self.module(slot)?;
        Some(slot.layer.map_or_else(|| module.gguf.to_owned(), |i| format!("blk.{i}.{}", module.gguf)))
    }

    /// Returns the linear modules of layer `i`, grouped by stage in ascending order.
    #[must_use]
    pub fn stages(&self, i: usize) -> Vec<Vec<&Module>> {
        let mut linear: Vec<_> = self.layers[i].iter().filter(|m| m.is_linear()).collect();
        linear.sort_by_key(|m| m.stage);
        linear.chunk_by(|a, b| a.stage == b.stage).map(<[_]>::to_vec).collect()
    }

    /// Returns `true` if the inputs of a stage of layer `i` come from a norm, so that hidden states soon give them.
    #[must_use]
    pub fn is_behind_norm(&self, i: usize, stage: &[&Module]) -> bool {
        let scaled_by = stage.first().and_then(|module| module.scaled_by);
        let before = scaled_by.and_then(|by| self.module(Slot { layer: Some(i), module: by.module }));
        before.is_some_and(|module| module.kind == Kind::Norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_inputs_share_the_rows_that_they_read() {
        let channels = Channels { module: "v", first: 8, head_width: 2, readers: 3 };
        let rows: Vec<usize> = (0..12).map(|input| channels.row(input)).collect();
        assert_eq!(rows, [8, 9, 8, 9, 8, 9, 10, 11, 10, 11, 10, 11]);
        assert_eq!(Channels { head_width: 1, readers: 1, ..channels }.row(5), 13);
    }

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
