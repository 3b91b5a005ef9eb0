//! The chunks of a text that a model is scored on.

use honelm_eval::{Chunk, EvalError, Protocol};
use honelm_model::Checkpoint;
use honelm_text::Tokenizer;

use crate::{Error, RunOptions};

/// The chunks of a text, as a model reads them.
pub(crate) struct ChunkedText {
    pub chunks: Vec<Chunk>,
    /// The tokens of the text, as far as they are used.
    pub tokens: Vec<u32>,
    pub protocol: Protocol,
    /// `true` if chunks begin with BOS.
    pub bos: bool,
}

impl ChunkedText {
    /// Cuts a text into chunks for a model with a context of `context` tokens; with `limit`, keeps only that many.
    ///
    /// # Errors
    /// [`EvalError::ContextTooShort`] if a chunk is longer than the context, [`EvalError::TextTooShort`].
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        text: &str,
        protocol: Protocol,
        limit: Option<usize>,
        context: usize,
    ) -> Result<Self, Error> {
        Self::of(tokenizer, tokenizer.encode_running(text)?, protocol, limit, context)
    }

    /// As [`ChunkedText::new`], from the tokens of a text.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn of(
        tokenizer: &Tokenizer,
        mut tokens: Vec<u32>,
        protocol: Protocol,
        limit: Option<usize>,
        context: usize,
    ) -> Result<Self, Error> {
        if let Protocol::Gptq(wanted) = protocol
            && wanted > context
        {
            return Err(EvalError::ContextTooShort { protocol: protocol.to_string(), wanted, context }.into());
        }
        let bos = tokenizer.leading_bos();
        let mut chunks = protocol.chunks(&tokens, bos, context)?;
        if let Some(most) = limit {
            chunks.truncate(most);
            let used: usize = chunks.iter().map(|chunk| chunk.tokens.len()).sum();
            tokens.truncate(used);
        }
        Ok(Self { chunks, tokens, protocol, bos: bos.is_some() })
    }
}

/// Returns the context of an evaluation in tokens.
pub(crate) fn context_of(checkpoint: &Checkpoint, run: &RunOptions) -> usize {
    run.context.unwrap_or_else(|| checkpoint.facts().context.min(honelm_model::DEFAULT_CONTEXT))
}
