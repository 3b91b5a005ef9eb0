//! The common parts of most decoders: settings, modules, and the forward pass around the layers.

use honelm_backend::{Activation, Attention, Backend, Cache, CacheKind, Rope, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use crate::architecture::CacheShape;
use crate::fields::Fields;
use crate::layers::{GatedMlp, SelfAttention};
use crate::rope::RopeShape;
use crate::weights::{LayerWeights, bound};
use crate::{Architecture, ModelError, Module, Tree, Weights, limits};

/// The values of settings that a configuration leaves out; `None` if a setting is required.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Defaults {
    /// `vocab_size`.
    pub vocabulary: Option<usize>,
    /// `num_attention_heads`.
    pub heads: Option<usize>,
    /// `num_key_value_heads`; by default the number of heads.
    pub kv_heads: Option<usize>,
    /// `head_dim`; by default the width divided by the number of heads.
    pub head_width: Option<usize>,
    /// `max_position_embeddings`.
    pub context: Option<usize>,
    /// `tie_word_embeddings`.
    pub tied: bool,
}

/// The sizes of a decoder. Each field gives the name in transformers' `LlamaConfig`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sizes {
    /// `vocab_size` (V).
    pub vocabulary: usize,
    /// `hidden_size` (D).
    pub width: usize,
    /// `intermediate_size` (F).
    pub ffn: usize,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `num_attention_heads` (H).
    pub heads: usize,
    /// `num_key_value_heads` (G).
    pub kv_heads: usize,
    /// `head_dim` (E).
    pub head_width: usize,
    /// `max_position_embeddings`.
    pub context: usize,
    /// `rms_norm_eps`.
    pub eps: f64,
    /// `tie_word_embeddings`.
    pub tied: bool,
}

/// The linear modules of a layer that have biases.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Biases {
    pub qkv: bool,
    pub o: bool,
    pub mlp: bool,
}

impl Sizes {
    /// Reads the fields; `tied` is the default of `tie_word_embeddings`.
    pub(crate) fn parse(f: &mut Fields<'_>, tied: bool) -> Result<Self, ModelError> {
        Self::parse_with(f, &Defaults { tied, ..Defaults::default() })
    }

    /// Reads the fields with an architecture's defaults.
    pub(crate) fn parse_with(f: &mut Fields<'_>, defaults: &Defaults) -> Result<Self, ModelError> {
        let count = |f: &mut Fields<'_>, name, limit, default: Option<usize>| match f.optional_count(name, limit)? {
            Some(given) => Ok(given),
            None => default.map_or_else(|| f.count(name, limit), Ok),
        };
        let width = f.count("hidden_size", limits::WIDTH)?;
        let heads = count(f, "num_attention_heads", limits::HEADS, defaults.heads)?;
        let kv_heads = count(f, "num_key_value_heads", heads, defaults.kv_heads.or(Some(heads)))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(f.wrong("num_key_value_heads", &json!(kv_heads), format!("a divisor of {heads} heads")));
        }
        let head_width = match f.optional_count("head_dim", limits::WIDTH / heads)?.or(defaults.head_width) {
            Some(given) => given,
            None if width.is_multiple_of(heads) => width / heads,
            None => return Err(f.wrong("hidden_size", &json!(width), format!("a multiple of {heads} heads"))),
        };
        if !head_width.is_multiple_of(2) {
            return Err(f.wrong("head_dim", &json!(head_width), "an even number"));
        }
        Ok(Self {
            vocabulary: count(f, "vocab_size", limits::VOCABULARY, defaults.vocabulary)?,
            width,
            ffn: f.count("intermediate_size", limits::WIDTH)?,
            layers: f.count("num_hidden_layers", limits::LAYERS)?,
            heads,
            kv_heads,
            head_width,
            context: count(f, "max_position_embeddings", limits::CONTEXT, defaults.context)?,
            eps: f.optional_number("rms_norm_eps")?.unwrap_or(1e-6),
            tied: f.optional_flag("tie_word_embeddings")?.unwrap_or(defaults.tied),
        })
    }

    /// Returns a configuration with these settings, without omitting any.
    pub(crate) fn config(&self, model_type: &str, class: &str) -> Map<String, Json> {
        let fields = [
            ("architectures", json!([class])),
            ("model_type", json!(model_type)),
            ("vocab_size", json!(self.vocabulary)),
            ("hidden_size", json!(self.width)),
            ("intermediate_size", json!(self.ffn)),
            ("num_hidden_layers", json!(self.layers)),
            ("num_attention_heads", json!(self.heads)),
            ("num_key_value_heads", json!(self.kv_heads)),
            ("head_dim", json!(self.head_width)),
            ("max_position_embeddings", json!(self.context)),
            ("rms_norm_eps", json!(self.eps)),
            ("tie_word_embeddings", json!(self.tied)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the settings of a rotary embedding of whole heads whose default base is `theta`.
    pub(crate) fn rope(&self, theta: f64) -> RopeShape {
        RopeShape { head_width: self.head_width, context: self.context, theta, partial: false }
    }

    /// Returns the numbers of rows of the query projection and of the key and value projections.
    pub(crate) fn projections(&self) -> [usize; 2] {
        [self.heads * self.head_width, self.kv_heads * self.head_width]
    }

    /// Returns the modules of a Llama layer.
    pub(crate) fn layer(&self, biases: Biases) -> Vec<Module> {
        let (d, f, [q, kv]) = (self.width, self.ffn, self.projections());
        let readers = self.heads / self.kv_heads;
        vec![
            Module::norm("attn_norm", "input_layernorm", "attn_norm", d),
            Module::linear("q", "self_attn.q_proj", "attn_q", [q, d], biases.qkv).scaled_by("attn_norm"),
            Module::linear("k", "self_attn.k_proj", "attn_k", [kv, d], biases.qkv).scaled_by("attn_norm"),
            Module::linear("v", "self_attn.v_proj", "attn_v", [kv, d], biases.qkv).scaled_by("attn_norm"),
            Module::linear("o", "self_attn.o_proj", "attn_output", [d, q], biases.o)
                .stage(1)
                .scaled_by_heads("v", 0, self.head_width, readers)
                .computed_by(self.head_width, &[("q", 0, 1), ("k", 0, readers), ("v", 0, readers)]),
            Module::norm("mlp_norm", "post_attention_layernorm", "ffn_norm", d),
            Module::linear("gate", "mlp.gate_proj", "ffn_gate", [f, d], biases.mlp).stage(2).scaled_by("mlp_norm"),
            Module::linear("up", "mlp.up_proj", "ffn_up", [f, d], biases.mlp).stage(2).scaled_by("mlp_norm"),
            Module::linear("down", "mlp.down_proj", "ffn_down", [d, f], biases.mlp)
                .stage(3)
                .scaled_by("up")
                .computed_by(1, &[("gate", 0, 1), ("up", 0, 1)]),
        ]
    }

    /// Returns the modules of [`Sizes::layer`] with q and k in GGUF's llama order.
    pub(crate) fn interleaved_layer(&self, biases: Biases) -> Vec<Module> {
        let ordered = |module: Module| match module.name {
            "q" => module.interleaved(self.heads),
            "k" => module.interleaved(self.kv_heads),
            _ => module,
        };
        self.layer(biases).into_iter().map(ordered).collect()
    }

    /// Returns the tree in which all layers have the modules `layer`.
    pub(crate) fn tree(&self, layer: Vec<Module>) -> Tree {
        Tree::decoder([self.vocabulary, self.width], vec![layer; self.layers], self.tied)
    }

    /// Returns the cache shape of a layer that attends to the positions of `kind`.
    pub(crate) fn cache(&self, kind: CacheKind) -> CacheShape {
        CacheShape { kind, kv_heads: self.kv_heads, head_width: self.head_width }
    }

    /// Returns attention with scores divided by sqrt(E).
    pub(crate) fn how(&self) -> Attention {
        Attention { heads: self.heads, scale: 1.0 / (self.head_width as f32).sqrt(), softcap: None }
    }

    /// Binds the attention of the modules `attn_norm`, `q`, `k`, `v` and `o`, without head norms.
    pub(crate) fn attention(&self, w: &LayerWeights<'_>, rope: Option<Rope>, how: Attention) -> SelfAttention {
        SelfAttention {
            norm: w.take("attn_norm"),
            q: w.take("q"),
            k: w.take("k"),
            v: w.take("v"),
            o: w.take("o"),
            head_norms: None,
            eps: self.eps as f32,
            rope,
            how,
            layer: w.cache_layer(),
        }
    }

    /// Binds the feed-forward network of the modules `mlp_norm`, `gate`, `up` and `down`.
    pub(crate) fn mlp(&self, w: &LayerWeights<'_>, f: Activation) -> GatedMlp {
        let (gate, up, down) = (w.take("gate"), w.take("up"), w.take("down"));
        GatedMlp { norm: w.take("mlp_norm"), gate, up, down, eps: self.eps as f32, f }
    }
}

/// The embedding, the last RMS norm and the output layer, as far as they have been uploaded.
pub(crate) struct Ends {
    embed: Option<Weight>,
    norm: Option<Weight>,
    output: Option<Weight>,
    eps: f32,
}

impl Ends {
    /// Binds the modules that [`Tree::decoder`] has outside of the layers.
    pub(crate) fn bind(w: &Weights, sizes: &Sizes) -> Self {
        let output = w.outer(if sizes.tied { "embed" } else { "output" });
        Self { embed: w.outer("embed"), norm: w.outer("norm"), output, eps: sizes.eps as f32 }
    }

    /// Computes the token embeddings. // -> [N, D]
    pub(crate) fn embed(&self, b: &mut dyn Backend) -> Tensor {
        b.embed(bound(&self.embed))
    }

    /// Applies the last norm. // [N, D] -> [N, D]
    pub(crate) fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.rms_norm(x, bound(&self.norm), self.eps)
    }

    /// Applies the output layer. // [N, D] -> [N, V]
    pub(crate) fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.linear(x, bound(&self.output))
    }
}

/// The forward pass of Llama: x += attention(norm(x)), x += mlp(norm(x)) in every layer.
pub(crate) struct PreNorm {
    ends: Ends,
    layers: Vec<Option<(SelfAttention, GatedMlp)>>,
}

impl PreNorm {
    /// Binds all uploaded layers; `layer` binds one, given its number and weights.
    pub(crate) fn bind(
        w: &Weights,
        sizes: &Sizes,
        layer: impl Fn(usize, &LayerWeights<'_>) -> (SelfAttention, GatedMlp),
    ) -> Box<dyn Architecture> {
        let layers = (0..sizes.layers).map(|i| w.layer(i).map(|weights| layer(i, &weights))).collect();
        Box::new(Self { ends: Ends::bind(w, sizes), layers })
    }
}

impl Architecture for PreNorm {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        self.ends.embed(b)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let (attention, mlp) = bound(&self.layers[i]);
        let x = attention.forward(x, b, cache);
        mlp.forward(x, b)
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        self.ends.finish(x, b)
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        self.ends.logits(x, b)
    }
}
