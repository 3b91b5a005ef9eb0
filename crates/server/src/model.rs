//! A model as the server sees it.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use honelm_engine::{EmbeddingSettings, Generation, LoadedModel};
use honelm_text::Tokenizer;
use serde::Serialize;

/// Facts about a loaded model.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// The name under which it is served.
    pub name: String,
    /// The folder or file.
    pub path: PathBuf,
    /// The digest of the weights ([`honelm::model_digest`]), which is computed beside the first answers.
    pub digest: Arc<OnceLock<String>>,
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// The number of parameters.
    pub parameters: u64,
    /// The number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// The digest of the vocabulary ([`vocabulary_digest`]).
    pub vocabulary_digest: String,
    /// The most tokens of prompt and answer together.
    pub context: usize,
    /// The default settings.
    pub generation: Generation,
    /// The source of the chat template, if there is one.
    pub template: Option<String>,
    /// The SHA-256 of the chat template.
    pub template_digest: Option<String>,
    /// `true` if the template separates reasoning from the answer.
    pub reasons: bool,
    /// `true` if requests may have images, because an upstream of a gateway reads them.
    pub images: bool,
    /// The texts of BOS and EOS.
    pub ends: (Option<String>, Option<String>),
    /// What the model's files say about embeddings.
    pub embedding: Option<EmbeddingSettings>,
    /// `true` for an encoder, which only makes embeddings.
    pub encoder: bool,
    /// The back end and its kernels.
    pub device: String,
    /// The time that loading took, in seconds.
    pub load_seconds: f64,
}

/// Returns a digest of a vocabulary as 64 hexadecimal digits. Where two models have the same one, a token has the same bytes and
/// the same role in both. Rows behind the last token do not count, since models pad them differently.
#[must_use]
pub fn vocabulary_digest(tokenizer: &Tokenizer) -> String {
    let mut text = String::new();
    for id in 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX) {
        let (bytes, is_special) = (tokenizer.token_bytes(id).unwrap_or_default(), tokenizer.special(id));
        if is_special || !bytes.is_empty() {
            // Writing to a string cannot fail.
            let _ =
                write!(text, "{id} {is_special} {} ", tokenizer.token(id).filter(|_| is_special).unwrap_or_default());
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
    }
    honelm::text_digest(&text)
}

/// The memory that a model needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The weights.
    pub weights: u64,
    /// The cached keys and values of all answers.
    pub cache: u64,
    /// The working memory of a step.
    pub scratch: u64,
}

impl Need {
    /// Returns the sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.scratch)
    }
}

/// A model that a worker answers with. It stays on the worker's thread.
pub trait Served {
    /// Returns the model.
    fn loaded(&mut self) -> &mut LoadedModel;

    /// Returns the facts about it.
    fn card(&self, name: &str) -> ModelCard;

    /// Checks that no file that weights are still read from has changed.
    ///
    /// # Errors
    /// The change.
    fn check(&self) -> Result<(), honelm::Error> {
        Ok(())
    }
}

impl Served for honelm::Model {
    fn loaded(&mut self) -> &mut LoadedModel {
        self.loaded_mut()
    }

    fn card(&self, name: &str) -> ModelCard {
        let (facts, special) = (self.facts(), self.tokenizer().special_tokens());
        ModelCard {
            name: name.to_owned(),
            path: self.path().to_owned(),
            digest: Arc::default(),
            architecture: facts.architecture.to_owned(),
            parameters: facts.parameters,
            vocabulary: facts.vocabulary,
            vocabulary_digest: vocabulary_digest(self.tokenizer()),
            context: self.context(),
            generation: self.generation(),
            template: self.chat_template().map(str::to_owned),
            template_digest: self.chat_template().map(honelm::text_digest),
            reasons: self.reasoning().is_some(),
            images: false,
            ends: (special.bos, special.eos),
            embedding: self.embedding(),
            encoder: facts.encoder,
            device: self.describe().to_owned(),
            load_seconds: self.load_seconds(),
        }
    }

    fn check(&self) -> Result<(), honelm::Error> {
        self.check_unchanged()
    }
}

impl ModelCard {
    /// Returns what the model can do, in Ollama's words.
    #[must_use]
    pub fn capabilities(&self) -> Vec<&'static str> {
        honelm_engine::capabilities(self.encoder, self.reasons)
    }
}
