//! The registry of architectures. Each architecture is one file and one line here.

mod bert;
mod gemma2;
mod gemma3;
mod gpt2;
mod granite;
mod llama;
mod mistral;
mod opt;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;

use std::rc::Rc;

use serde_json::Value as Json;

use crate::fields::Fields;
use crate::gguf_keys::Key;
use crate::{Blueprint, Definition, ModelError};

type Constructor = fn(Fields<'_>) -> Result<Rc<dyn Definition>, ModelError>;

/// An architecture in the registry.
pub(crate) struct Family {
    /// Hugging Face's `model_type`.
    pub model_type: &'static str,
    /// GGUF's `general.architecture`. If several families have the same one, files are read as the first of them.
    pub gguf: &'static str,
    /// The settings' keys in GGUF.
    pub keys: &'static [&'static [Key]],
    /// `true` if the architecture has a rotary embedding.
    pub rope: bool,
    /// Parses a configuration.
    pub define: Constructor,
}

/// All architectures.
pub(crate) const FAMILIES: &[&Family] = &[
    &bert::FAMILY,
    &bert::ROBERTA,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &gemma3::MULTIMODAL,
    &gpt2::FAMILY,
    &granite::FAMILY,
    &llama::FAMILY,
    &mistral::FAMILY,
    &mistral::MINISTRAL,
    &opt::FAMILY,
    &phi3::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &smollm3::FAMILY,
];

/// Returns the names of all supported architectures: Hugging Face's `model_type` and GGUF's `general.architecture`.
#[must_use]
pub fn architectures() -> Vec<(&'static str, &'static str)> {
    FAMILIES.iter().map(|family| (family.model_type, family.gguf)).collect()
}

/// Fields of a config.json that do not change a model's results on given tokens.
pub(crate) const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "cls_token_id",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuned",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "min_new_tokens",
    "model_max_length",
    "model_type",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "quantization",
    "quantization_config",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "trust_remote_code",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_gradient_checkpointing",
];

/// Parses a configuration in Hugging Face's form. Errors name it as `file`; `name` is the model's name.
pub(crate) fn blueprint(file: &str, name: String, config: &Json) -> Result<Blueprint, ModelError> {
    let mut fields = Fields::new(file, config)?;
    let found = fields.text("model_type")?.ok_or_else(|| fields.missing("model_type", "a name"))?;
    let family = FAMILIES.iter().find(|family| family.model_type == found);
    let family = family.ok_or_else(|| unknown(file, found))?;
    Ok(Blueprint::new(family.model_type, name, (family.define)(fields)?))
}

/// Returns the family of a blueprint.
pub(crate) fn family_of(blueprint: &Blueprint) -> &'static Family {
    let family = FAMILIES.iter().find(|family| family.model_type == blueprint.facts.architecture);
    family.expect("every blueprint has a registered architecture")
}

/// Returns the error for an architecture that is not in the registry.
pub(crate) fn unknown(file: &str, found: &str) -> ModelError {
    let found = format!("{:?}", found.chars().take(80).collect::<String>());
    let known: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
    ModelError::UnknownArchitecture { file: file.to_owned(), found, known: known.join(", ") }
}
