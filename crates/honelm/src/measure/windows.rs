//! The windows of a text that a model is scored on.

use honelm_eval::{EvalError, Protocol, Window};
use honelm_model::Checkpoint;
use honelm_text::Tokenizer;

use crate::{Error, RunOptions};

/// The windows of a text, as a model reads them.
pub(crate) struct Windows {
    pub windows: Vec<Window>,
    /// The tokens of the text, as far as they are used.
    pub tokens: Vec<u32>,
    pub protocol: Protocol,
    /// `true` if windows begin with BOS.
    pub bos: bool,
}

impl Windows {
    /// Cuts a text into windows for a model with a context of `context` tokens; with `chunks`, keeps only the first
    /// ones.
    ///
    /// # Errors
    /// [`EvalError::ContextTooShort`] if a window is longer than the context, [`EvalError::TextTooShort`].
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        text: &str,
        protocol: Protocol,
        chunks: Option<usize>,
        context: usize,
    ) -> Result<Self, Error> {
        if let Protocol::Gptq(wanted) = protocol
            && wanted > context
        {
            return Err(EvalError::ContextTooShort { protocol: protocol.to_string(), wanted, context }.into());
        }
        let mut tokens = tokenizer.encode_running(text)?;
        let bos = tokenizer.leading_bos();
        let mut windows = protocol.windows(&tokens, bos, context)?;
        if let Some(most) = chunks {
            windows.truncate(most);
            let used: usize = windows.iter().map(|w| w.tokens.len()).sum();
            tokens.truncate(used);
        }
        Ok(Self { windows, tokens, protocol, bos: bos.is_some() })
    }
}

/// Returns the context of an evaluation in tokens.
pub(crate) fn context_of(checkpoint: &Checkpoint, run: &RunOptions) -> usize {
    run.context.unwrap_or_else(|| checkpoint.facts().context.min(honelm_model::DEFAULT_CONTEXT))
}
