//! The files that a job would write, without the work.

use std::collections::BTreeMap;

use honelm_compress::{Scheme, Target};
use honelm_model::Checkpoint;
use honelm_model::export;
use honelm_text::Tokenizer;
use serde::Serialize;

use crate::fallback::{self, fallback_lines};
use crate::open::{open, tokenizer_of, weight_bytes};
use crate::quantize::{gguf_metadata, gguf_vocab, scheme_of};
use crate::types::tensor_types;
use crate::{Error, Events, Fallback, QuantizeOptions};

/// A file that would be written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// The name of the candidate; absent for [`plan_quantize`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// The size of the original's files of weights in bytes.
    pub original_bytes: u64,
    /// The bits of the file divided by the number of parameters.
    pub bits_per_weight: f64,
    /// The encoding of every matrix, by its name in the file.
    pub tensor_types: BTreeMap<String, String>,
    /// The matrices that would have another encoding than the one asked for.
    pub fallbacks: Vec<Fallback>,
}

impl Planned {
    pub(crate) fn new(
        name: Option<String>,
        checkpoint: &Checkpoint,
        tokenizer: &Tokenizer,
        scheme: &Scheme,
        original_bytes: u64,
    ) -> Result<Self, Error> {
        let size_bytes = gguf_size(checkpoint, tokenizer, scheme)?;
        Ok(Self {
            name,
            size_bytes,
            original_bytes,
            bits_per_weight: size_bytes as f64 * 8.0 / checkpoint.facts().parameters as f64,
            tensor_types: tensor_types(checkpoint, scheme, true),
            fallbacks: fallback::of(checkpoint, scheme),
        })
    }
}

/// Returns what [`crate::quantize`] would write to a GGUF file. Reads no weights and writes nothing.
///
/// # Errors
/// An invalid model or option; [`Error::Fallback`] with [`QuantizeOptions::strict`]; [`Error::Usage`] for a folder of
/// integer groups.
pub fn plan_quantize(options: &QuantizeOptions, events: Events<'_>) -> Result<Planned, Error> {
    if !options.target.is_gguf() {
        return Err(Error::Usage("--dry-run: needs an encoding or a mix for a GGUF file".to_owned()));
    }
    let checkpoint = open(&options.model, &options.run, events)?;
    let scheme = scheme_of(options, &checkpoint)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let planned = Planned::new(None, &checkpoint, &tokenizer, &scheme, weight_bytes(&options.model)?)?;
    if options.strict && !planned.fallbacks.is_empty() {
        return Err(Error::Fallback { problems: fallback_lines(&planned.fallbacks) });
    }
    Ok(planned)
}

/// Returns the size in bytes of the GGUF file that `scheme` makes of a model.
pub(crate) fn gguf_size(checkpoint: &Checkpoint, tokenizer: &Tokenizer, scheme: &Scheme) -> Result<u64, Error> {
    let (vocab, _) = gguf_vocab(checkpoint, tokenizer, true)?;
    let tree = checkpoint.tree();
    let choose = |slot| match scheme.target(tree, slot, tree.module(slot)?) {
        Target::Block(encoding) => Some(encoding),
        _ => None,
    };
    let metadata = gguf_metadata(checkpoint, &vocab, scheme.file_type);
    Ok(export::gguf_size(checkpoint.blueprint(), checkpoint, metadata, &choose)?)
}
