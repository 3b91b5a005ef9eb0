//! BERT (Devlin et al. 2018; transformers' `modeling_bert.py`) and RoBERTa (Liu et al. 2019; `modeling_roberta.py`), as
//! encoders.
//!
//! Differences from Llama: every token attends to the whole text, learned positions and the row of the first token type are
//! added to the embedding, which has a norm of its own, norms are layer norms with biases after the residual sums, all linear
//! modules have biases, and the feed-forward network is a GELU without a gate. The final hidden states are the result: heads
//! for other tasks, the pooler among them, are ignored. Older checkpoints call gain and bias of a norm `gamma` and `beta`. RoBERTa's table of positions begins with two rows for padding.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, CacheKind, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::fields::Fields;
use crate::gguf_keys::{Form, Key, count, number};
use crate::weights::bound;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights, limits};

/// The rows for padding at the start of RoBERTa's table of positions.
const PADDING: usize = 2;

/// `BertConfig`, `RobertaConfig`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    vocabulary: usize,
    /// `type_vocab_size`.
    types: usize,
    width: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    context: usize,
    eps: f64,
    roberta: bool,
}

/// Fields that affect only training, and heads for other tasks.
const UNUSED: &[&str] = &[
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "directionality",
    "gradient_checkpointing",
    "output_past",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "tie_word_embeddings",
];

impl Config {
    fn parse(mut f: Fields<'_>, roberta: bool) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("gelu"))?;
        f.only("position_embedding_type", &json!("absolute"))?;
        f.only("is_decoder", &json!(false))?;
        f.only("add_cross_attention", &json!(false))?;
        let (width, heads) = (f.count("hidden_size", limits::WIDTH)?, f.count("num_attention_heads", limits::HEADS)?);
        if !width.is_multiple_of(heads) {
            return Err(f.wrong("hidden_size", &json!(width), format!("a multiple of {heads} heads")));
        }
        let rows = f.count("max_position_embeddings", limits::CONTEXT)?;
        let padding = if roberta { PADDING } else { 0 };
        let context = rows.checked_sub(padding).filter(|&context| context > 0);
        let few = || f.wrong("max_position_embeddings", &json!(rows), format!("a number above {padding}"));
        let context = context.ok_or_else(few)?;
        let config = Self {
            vocabulary: f.count("vocab_size", limits::VOCABULARY)?,
            types: f.optional_count("type_vocab_size", limits::VOCABULARY)?.unwrap_or(2),
            width,
            ffn: f.count("intermediate_size", limits::WIDTH)?,
            layers: f.count("num_hidden_layers", limits::LAYERS)?,
            heads,
            context,
            eps: f.optional_number("layer_norm_eps")?.unwrap_or(1e-12),
            roberta,
        };
        f.finish(&[HARMLESS, UNUSED].concat())?;
        Ok(config)
    }
}

/// The settings' keys in GGUF, but for the number of positions.
const KEYS: &[Key] = &[
    count("hidden_size", "embedding_length"),
    count("num_hidden_layers", "block_count"),
    count("intermediate_size", "feed_forward_length"),
    count("num_attention_heads", "attention.head_count"),
    number("layer_norm_eps", "attention.layer_norm_epsilon"),
    Key { field: "", gguf: "attention.causal", form: Form::Always(false) },
    Key { field: "type_vocab_size", gguf: "token_types.weight", form: Form::TokenTypes },
];

/// The registry's entry of BERT.
pub(super) const FAMILY: Family = Family {
    model_type: "bert",
    gguf: "bert",
    keys: &[&[count("max_position_embeddings", "context_length")], KEYS],
    rope: false,
    define: |fields| Ok(Rc::new(Config::parse(fields, false)?)),
};

/// The registry's entry of RoBERTa. GGUF has no rows for padding, so a file of it is read as BERT.
pub(super) const ROBERTA: Family = Family {
    model_type: "roberta",
    keys: &[
        &[Key { field: "max_position_embeddings", gguf: "context_length", form: Form::CountAfter(PADDING as u32) }],
        KEYS,
    ],
    define: |fields| Ok(Rc::new(Config::parse(fields, true)?)),
    ..FAMILY
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let (d, f, v, e) = (self.width, self.ffn, self.vocabulary, self.width / self.heads);
        let norm = |name, hf, gguf| Module::norm(name, hf, gguf, d).with_bias();
        let heads = [("q", 0, 1), ("k", 0, 1), ("v", 0, 1)];
        let linear = |name, hf, gguf, shape| Module::linear(name, hf, gguf, shape, true);
        // A norm's output is also the residual, so that no norm can absorb scales.
        let layer = vec![
            linear("q", "attention.self.query", "attn_q", [d, d]),
            linear("k", "attention.self.key", "attn_k", [d, d]),
            linear("v", "attention.self.value", "attn_v", [d, d]),
            linear("o", "attention.output.dense", "attn_output", [d, d]).stage(1).scaled_by("v").computed_by(e, &heads),
            norm("attn_norm", "attention.output.LayerNorm", "attn_output_norm"),
            linear("up", "intermediate.dense", "ffn_up", [f, d]).stage(2),
            linear("down", "output.dense", "ffn_down", [d, f]).stage(3).computed_by(1, &[("up", 0, 1)]),
            norm("mlp_norm", "output.LayerNorm", "layer_output_norm"),
        ];
        let positions =
            Module::positions("positions", "embeddings.position_embeddings", "position_embd", [self.context, d]);
        Tree {
            embed: vec![
                Module::embedding("embed", "embeddings.word_embeddings", "token_embd", [v, d]),
                if self.roberta { positions.padded(PADDING) } else { positions },
                Module::token_types("types", "embeddings.token_type_embeddings", "token_types", [self.types, d]),
                norm("embed_norm", "embeddings.LayerNorm", "token_embd_norm"),
            ],
            finish: Vec::new(),
            hf_layers: "encoder.layer",
            hf_aliases: &[("", "bert."), ("", "roberta.")],
            hf_buffers: &["embeddings.position_ids"],
            ..Tree::decoder([v, d], vec![layer; self.layers], true)
        }
    }

    fn is_encoder(&self) -> bool {
        true
    }

    fn context(&self) -> usize {
        self.context
    }

    fn cache(&self, _layer: usize) -> CacheShape {
        CacheShape { kind: CacheKind::Bidirectional, kv_heads: self.heads, head_width: self.width / self.heads }
    }

    fn config(&self) -> Map<String, Json> {
        let (class, name) = if self.roberta { ("RobertaModel", "roberta") } else { ("BertModel", "bert") };
        let fields = [
            ("architectures", json!([class])),
            ("model_type", json!(name)),
            ("vocab_size", json!(self.vocabulary)),
            ("type_vocab_size", json!(self.types)),
            ("hidden_size", json!(self.width)),
            ("intermediate_size", json!(self.ffn)),
            ("num_hidden_layers", json!(self.layers)),
            ("num_attention_heads", json!(self.heads)),
            ("max_position_embeddings", json!(self.context + if self.roberta { PADDING } else { 0 })),
            ("hidden_act", json!("gelu")),
            ("position_embedding_type", json!("absolute")),
            ("layer_norm_eps", json!(self.eps)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn bind(&self, w: &Weights, _context: usize, _b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let scale = 1.0 / ((self.width / self.heads) as f32).sqrt();
        let layer = |i: usize| {
            let w = w.layer(i)?;
            let [q, k, v, o, attn_norm] = ["q", "k", "v", "o", "attn_norm"].map(|name| w.take(name));
            let [up, down, mlp_norm] = ["up", "down", "mlp_norm"].map(|name| w.take(name));
            Some(Layer { q, k, v, o, attn_norm, up, down, mlp_norm, cache: w.cache_layer() })
        };
        Ok(Box::new(Bert {
            eps: self.eps as f32,
            how: Attention { heads: self.heads, scale, softcap: None },
            embed: w.outer("embed"),
            positions: w.outer("positions"),
            embed_norm: w.outer("embed_norm"),
            layers: (0..self.layers).map(layer).collect(),
        }))
    }
}

struct Layer {
    q: Weight,
    k: Weight,
    v: Weight,
    o: Weight,
    attn_norm: Weight,
    up: Weight,
    down: Weight,
    mlp_norm: Weight,
    cache: usize,
}

struct Bert {
    eps: f32,
    how: Attention,
    embed: Option<Weight>,
    /// The positions plus the first token type.
    positions: Option<Weight>,
    embed_norm: Option<Weight>,
    layers: Vec<Option<Layer>>,
}

impl Architecture for Bert {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        let x = b.embed(bound(&self.embed));
        let p = b.positions(bound(&self.positions), 0);
        let x = b.add(x, &p);
        b.layer_norm(&x, bound(&self.embed_norm), self.eps)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let layer = bound(&self.layers[i]);
        let [q, k, v] = [&layer.q, &layer.k, &layer.v].map(|w| b.linear(&x, w));
        let a = b.attention(&q, &k, &v, cache, layer.cache, &self.how);
        let x = b.linear_add(&a, &layer.o, x);
        let x = b.layer_norm(&x, &layer.attn_norm, self.eps);
        let h = b.linear(&x, &layer.up);
        let h = b.activate(h, Activation::Gelu);
        let x = b.linear_add(&h, &layer.down, x);
        b.layer_norm(&x, &layer.mlp_norm, self.eps)
    }

    fn finish(&self, x: &Tensor, _b: &mut dyn Backend) -> Tensor {
        x.clone()
    }

    fn logits(&self, _x: &Tensor, _b: &mut dyn Backend) -> Tensor {
        panic!("an encoder has no output layer, and steps that want logits are refused")
    }
}
