mod run;

use std::ops::ControlFlow;

use honelm_backend::SequenceId;
use honelm_model::Runner;
use honelm_text::Tokenizer;
use run::Run;

use crate::{Completion, EngineError, Generation, Update};

/// A function that returns the seconds since a fixed moment.
pub type Clock<'c> = &'c dyn Fn() -> f64;

/// A callback for the events of generating text, which can end the answer at any time.
pub type OnUpdate<'u> = &'u mut dyn FnMut(Update<'_>) -> ControlFlow<()>;

/// The number of rows in a prefill step: enough for wide kernels, and few enough to be cancelled soon.
const PREFILL_ROWS: usize = 512;

/// A model with one sequence, on which texts are generated.
///
/// Tokens at the beginning of a prompt that are cached are not computed again.
pub struct Session {
    runner: Box<dyn Runner>,
    sequence: SequenceId,
    /// The tokens that the sequence holds.
    cached: Vec<u32>,
    prefill_rows: usize,
}

impl Session {
    /// Creates a session with an empty sequence.
    #[must_use]
    pub fn new(mut runner: Box<dyn Runner>) -> Self {
        let sequence = runner.open();
        let prefill_rows = PREFILL_ROWS.min(runner.step_rows());
        Self { runner, sequence, cached: Vec::new(), prefill_rows }
    }

    /// Sets the number of rows in a prefill step, at least 1.
    #[must_use]
    pub fn with_prefill_rows(mut self, rows: usize) -> Self {
        self.prefill_rows = rows.max(1);
        self
    }

    /// Returns the model, for use with other sequences.
    pub fn runner(&mut self) -> &mut dyn Runner {
        &mut *self.runner
    }

    /// Closes the sequence and returns the model.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn into_runner(mut self) -> Result<Box<dyn Runner>, EngineError> {
        self.runner.close(self.sequence)?;
        Ok(self.runner)
    }

    /// Returns the maximum number of tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.runner.context()
    }

    /// Returns the cached tokens.
    #[must_use]
    pub fn cached(&self) -> &[u32] {
        &self.cached
    }

    /// Removes all cached tokens.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn clear(&mut self) -> Result<(), EngineError> {
        self.keep(0).map(drop)
    }

    /// Generates a text after `prompt`; `tokenizer` is that of the model.
    ///
    /// # Errors
    /// Invalid settings, an empty or too long prompt, an error of the model, logits that are not numbers. The session can
    /// be used again after an error.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &[u32],
        how: &Generation,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        honelm_backend::block_on(self.generate_async(tokenizer, prompt, how, clock, on_update))
    }

    /// Generates as [`Session::generate`] does without blocking a thread, as browsers require.
    ///
    /// # Errors
    /// The same.
    pub async fn generate_async(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &[u32],
        how: &Generation,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        how.check(self.runner.facts().vocabulary, self.runner.context())?;
        Run::new(self, tokenizer, prompt, how)?.complete(clock, on_update).await
    }

    /// Removes the cached tokens from position `len` on, and returns the number of remaining ones. That is less than `len`
    /// if a sliding window has dropped their pages.
    fn keep(&mut self, len: usize) -> Result<usize, EngineError> {
        if len < self.cached.len() {
            let kept = self.runner.truncate(self.sequence, len)?.len;
            self.cached.truncate(kept);
        }
        Ok(self.cached.len())
    }
}
