//! How a setting is called in both worlds: rows of the tables that architectures give.

/// A field of config.json and its key in GGUF.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The field.
    pub field: &'static str,
    /// The key behind `ARCH.`; of [`Form::Tensor`] a tensor's name.
    pub gguf: &'static str,
    /// How the one becomes the other.
    pub form: Form,
}

/// How a field becomes a key and the reverse. A key that is missing leaves its field out, unless the form says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// A whole number above 0. A file's 0 means that there is none.
    Count,
    /// As [`Form::Count`], written as 0 where there is none: some readers want the key.
    CountOrZero,
    /// As [`Form::Count`], with what readers of GGUF take where the key is missing.
    CountOr(u32),
    /// A number.
    Number,
    /// As [`Form::Number`], with what readers of GGUF take where the key is missing.
    NumberOr(f64),
    /// The head width, of keys and of values.
    HeadWidth,
    /// True where the file has the tensor.
    Tensor,
    /// True where the file has the key. It is written by another row.
    Present,
    /// True or false, in both.
    Flag,
    /// No field: the file's value has to be this one (true is 1), or missing.
    Only(i128),
    /// `layer_types`: whether each layer has a window. A number `n`, in a file or as the default that `every` is, says that
    /// every layer has one but each n-th.
    LayerTypes { every: usize },
    /// `no_rope_layers`: 1 for each layer that rotates. `every` as in [`Form::LayerTypes`].
    RopeLayers { every: usize },
    /// `query_pre_attn_scalar`, in GGUF its inverse square root. Readers of GGUF know no key for it: they take the head width,
    /// and the width divided by the heads in the size of the family that has `wide` layers. The key is written where they
    /// are wrong.
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

/// A field that is true where the file has the tensor `gguf`.
pub(crate) const fn tensor(field: &'static str, gguf: &'static str) -> Key {
    Key { field, gguf, form: Form::Tensor }
}

pub(crate) const fn only(gguf: &'static str, value: i128) -> Key {
    Key { field: "", gguf, form: Form::Only(value) }
}

/// Positions that rows of layers with a window see.
pub(crate) const WINDOW: Key = count("sliding_window", "attention.sliding_window");

/// Which layers have a window.
pub(crate) const fn layer_types(every: usize) -> Key {
    Key { field: "layer_types", gguf: "attention.sliding_window_pattern", form: Form::LayerTypes { every } }
}

/// The sizes of a decoder as Llama's configuration names them.
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

/// What every architecture has.
pub(super) const COMMON: &[Key] = &[
    count("vocab_size", "vocab_size"),
    only("expert_count", 0),
    only("expert_used_count", 0),
    only("leading_dense_block_count", 0),
    only("attention.causal", 1),
];

/// Keys that do not change what a model computes.
pub(super) const HARMLESS: &[&str] = &["tensor_data_layout", "pooling_type", "rope.scaling.finetuned"];

/// Token ids, the same in both worlds.
pub(super) const TOKENS: &[(&str, &str)] = &[
    ("bos_token_id", "tokenizer.ggml.bos_token_id"),
    ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ("pad_token_id", "tokenizer.ggml.padding_token_id"),
];
