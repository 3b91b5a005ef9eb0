//! Embeddings of texts.

use honelm_engine::{Completion, EmbeddingSettings, EngineError, Pooling, Request, scale_to_one};
use honelm_text::EncodeOptions;

use crate::together::{Call, CallLimits};
use crate::{Cancel, Error, Model};

/// The embedding of a text.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Embedding {
    /// The values; the vector has length 1. // `[D]`
    pub values: Vec<f32>,
    /// The number of tokens of the text.
    pub tokens: usize,
}

impl Model {
    /// Returns what the model's files say about embeddings; `None` if they say nothing.
    #[must_use]
    pub fn embedding(&self) -> Option<EmbeddingSettings> {
        self.embedding
    }

    /// Returns the embedding of each text. `pooling` is by default that of the model's files, or else the mean.
    ///
    /// ```no_run
    /// use honelm::{Cancel, Model, RunOptions};
    ///
    /// # fn main() -> Result<(), honelm::Error> {
    /// let mut model = Model::open("all-MiniLM-L6-v2".as_ref(), &RunOptions::default(), &mut |_| true)?;
    /// let found = model.embed(&["The cat sat on the mat.", "A cat is sitting."], None, &Cancel::new())?;
    /// let cosine: f32 = found[0].values.iter().zip(&found[1].values).map(|(a, b)| a * b).sum();
    /// println!("{cosine}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A text without tokens or longer than the context, a device that fails, [`Error::Interrupted`] if `cancel` is set.
    pub fn embed(
        &mut self,
        texts: &[impl AsRef<str>],
        pooling: Option<Pooling>,
        cancel: &Cancel,
    ) -> Result<Vec<Embedding>, Error> {
        self.check_unchanged()?;
        let pooling = pooling.or(self.embedding.map(|own| own.pooling)).unwrap_or_default();
        let encode = EncodeOptions { add_special: true, parse_special: false };
        let request = |text: &_| -> Result<Request, Error> {
            Ok(Request::embedding(self.tokenizer().encode(AsRef::as_ref(text), encode)?, pooling))
        };
        let requests = texts.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let all = Call::new(CallLimits::default(), cancel).complete(self, requests)?;
        all.into_iter().map(embedded).collect()
    }
}

/// Returns the embedding of a completion.
fn embedded(done: Completion) -> Result<Embedding, Error> {
    let mut values = done.embedding.ok_or(EngineError::MissingOutput { what: "embedding" })?;
    scale_to_one(&mut values);
    Ok(Embedding { values, tokens: done.prompt_tokens })
}
