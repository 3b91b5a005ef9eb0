mod run;

use std::ops::ControlFlow;

use honelm_backend::SequenceId;
use honelm_model::Runner;
use honelm_text::Tokenizer;
use run::Run;

use crate::{Completion, EngineError, Generation, Update};

/// Seconds since any fixed moment.
pub type Clock<'c> = &'c dyn Fn() -> f64;

/// Hears of everything that happens while a text is generated, and may end it at any time.
pub type OnUpdate<'u> = &'u mut dyn FnMut(Update<'_>) -> ControlFlow<()>;

/// Rows of a prefill step: enough to use wide kernels, few enough to cancel soon.
const PREFILL_ROWS: usize = 512;

/// A model, one sequence of it, and the texts that are generated on it.
///
/// What a new prompt has in common with the cached tokens is not computed again.
pub struct Session {
    runner: Box<dyn Runner>,
    sequence: SequenceId,
    /// The tokens that the sequence holds.
    cached: Vec<u32>,
    prefill_rows: usize,
}

impl Session {
    /// A session with an empty sequence.
    #[must_use]
    pub fn new(mut runner: Box<dyn Runner>) -> Self {
        let sequence = runner.open();
        let prefill_rows = PREFILL_ROWS.min(runner.step_rows());
        Self { runner, sequence, cached: Vec::new(), prefill_rows }
    }

    /// Prefills in steps of `rows` rows, 1 at least.
    #[must_use]
    pub fn with_prefill_rows(mut self, rows: usize) -> Self {
        self.prefill_rows = rows.max(1);
        self
    }

    /// The model, for other sequences of it.
    pub fn runner(&mut self) -> &mut dyn Runner {
        &mut *self.runner
    }

    /// The model, once the session is not needed any more; its sequence is closed.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn into_runner(mut self) -> Result<Box<dyn Runner>, EngineError> {
        self.runner.close(self.sequence)?;
        Ok(self.runner)
    }

    /// Most tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.runner.context()
    }

    /// The tokens that are cached now.
    #[must_use]
    pub fn cached(&self) -> &[u32] {
        &self.cached
    }

    /// Forgets everything that is cached.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn clear(&mut self) -> Result<(), EngineError> {
        self.keep(0).map(drop)
    }

    /// Generates a text after `prompt`, in the tokens of the model's own `tokenizer`.
    ///
    /// # Errors
    /// Settings without meaning, an empty prompt or one that does not fit, what the model refuses, logits that are
    /// no numbers. The session can be used again after any of them.
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

    /// [`Session::generate`] where a thread must not wait: in the browser.
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

    /// Forgets the cached tokens from `len` on; returns how many remain, fewer where a window's pages are gone.
    fn keep(&mut self, len: usize) -> Result<usize, EngineError> {
        if len < self.cached.len() {
            let kept = self.runner.truncate(self.sequence, len)?.len;
            self.cached.truncate(kept);
        }
        Ok(self.cached.len())
    }
}
