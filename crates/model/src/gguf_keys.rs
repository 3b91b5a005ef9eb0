//! The names of settings in config.json and in GGUF: the tables that architectures give.

/// A row of a table: a field of config.json and its key in GGUF.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The field.
    pub field: &'static str,
    /// The key without `ARCH.`; for [`Form::Tensor`] the name of a tensor.
    pub gguf: &'static str,
    /// The conversion between the two.
    pub form: Form,
}

/// The conversion between a field and a key. If the key is missing, the field is left out, unless the form gives a default.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// A whole number above 0. A 0 in the file is the same as no key.
    Count,
    /// A [`Form::Count`] whose absence is written as 0, because some readers require the key.
    CountOrZero,
    /// A [`Form::Count`] with the default of GGUF's readers.
    CountOr(u32),
    /// A [`Form::Count`] that is smaller in GGUF by this number.
    CountAfter(u32),
    /// A number.
    Number,
    /// A [`Form::Number`] with the default of GGUF's readers.
    NumberOr(f64),
    /// The head width, which GGUF gives separately for keys and values.
    HeadWidth,
    /// A boolean that is true if the file has the tensor.
    Tensor,
    /// A boolean that is true if the file has the key, which another row writes.
    Present,
    /// A boolean in both.
    Flag,
    /// No field; the value in the file must be this one (true is 1) or absent.
    Only(i128),
    /// No field; the value in the file must be this one or absent, and is written.
    Always(bool),
    /// The number of rows of the tensor, which is also written as `tokenizer.ggml.token_type_count`.
    TokenTypes,
    /// `layer_types`: a boolean per layer, true if the layer has a window. A number `n` in the place of the list means that
    /// all layers but every n-th have a window; `every` is the default of that number.
    LayerTypes { every: usize },
    /// `no_rope_layers`: 1 for each layer with rotary embedding. For `every` see [`Form::LayerTypes`].
    RopeLayers { every: usize },
    /// `query_pre_attn_scalar`, in GGUF its inverse square root. Other readers of GGUF have no such key: they use the head
    /// width, or for the model of the family with `wide` layers the width divided by the number of heads. The key is
    /// written only if the value differs.
    QueryScalar { wide: usize },
}

pub(crate) const fn count(field: &'static str, gguf: &'static str) -> Key {
    Key { field, gguf, form: Form::Count }
}

pub(crate) const fn number(field: &'static str, gguf: &'static str) -> Key {
    Key { field, gguf, form: Form::Number }
}

pub(crate) const fn flag(field: &'static str, gguf: &'static str) -> Key {
    Key { field, gguf, form: Form::Flag }
}

/// Returns the row of a field that is true if the file has the tensor `gguf`.
pub(crate) const fn tensor(field: &'static str, gguf: &'static str) -> Key {
    Key { field, gguf, form: Form::Tensor }
}

pub(crate) const fn only(gguf: &'static str, value: i128) -> Key {
    Key { field: "", gguf, form: Form::Only(value) }
}

/// The width of sliding windows.
pub(crate) const WINDOW: Key = count("sliding_window", "attention.sliding_window");

/// Returns the row of the layers with a window.
pub(crate) const fn layer_types(every: usize) -> Key {
    Key { field: "layer_types", gguf: "attention.sliding_window_pattern", form: Form::LayerTypes { every } }
}

/// The sizes of a decoder, by the names in Llama's configuration.
pub(crate) const DECODER: &[Key] = &[
    count("max_position_embeddings", "context_length"),
    count("hidden_size", "embedding_length"),
    count("num_hidden_layers", "block_count"),
    count("intermediate_size", "feed_forward_length"),
    count("num_attention_heads", "attention.head_count"),
    count("num_key_value_heads", "attention.head_count_kv"),
    Key { field: "head_dim", gguf: "attention.key_length", form: Form::HeadWidth },
    number("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
];

/// The rows of all architectures that have no row of their own for the key.
pub(crate) const COMMON: &[Key] = &[
    count("vocab_size", "vocab_size"),
    only("expert_count", 0),
    only("expert_used_count", 0),
    only("leading_dense_block_count", 0),
    only("attention.causal", 1),
];

/// Keys that do not change the model's results.
pub(crate) const HARMLESS: &[&str] = &["tensor_data_layout", "pooling_type", "rope.scaling.finetuned"];

/// The fields and keys of token ids.
pub(crate) const TOKENS: &[(&str, &str)] = &[
    ("bos_token_id", "tokenizer.ggml.bos_token_id"),
    ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ("pad_token_id", "tokenizer.ggml.padding_token_id"),
];
