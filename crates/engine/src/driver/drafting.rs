//! Drafts for the next step, and the memory that the draft model shares with the model.

use std::rc::Rc;

use honelm_model::{CacheUse, ModelError, Runner};
use honelm_text::Tokenizer;

use super::{Clock, Driver};
use crate::EngineError;
use crate::answer::Answer;
use crate::speculative::{Ask, Draft, DraftModel, Speculation, SpeculationCounts};

impl Driver {
    /// Adds a draft model for [`crate::Speculate::Draft`] and [`crate::Speculate::Auto`], with its tokenizer. If the vocabulary
    /// is not that of the model, drafts are translated through their text.
    ///
    /// # Errors
    /// [`EngineError::InvalidDraft`].
    pub fn set_draft(&mut self, runner: Box<dyn Runner>, tokenizer: Rc<Tokenizer>) -> Result<(), EngineError> {
        self.speculation.set_model(runner, tokenizer, &self.tokenizer)?;
        if let (None, Some(model)) = (self.options.cache_bytes, self.speculation.model()) {
            self.cache_bytes = self.runner.sequence_bytes(self.runner.context()) + model.context_bytes();
        }
        self.is_pressed = false;
        self.limit_memory();
        Ok(())
    }

    /// Returns the counts of verified drafts.
    #[must_use]
    pub fn speculation(&self) -> &SpeculationCounts {
        self.speculation.counts()
    }

    /// Returns the seconds of a step with `rows` rows while answers are being written, and those of a step of the draft model,
    /// as they were measured by the clock of the steps. A number of rows that was not measured is interpolated. `None` before the
    /// first step.
    #[must_use]
    pub fn step_seconds(&self, rows: usize) -> (Option<f64>, Option<f64>) {
        self.speculation.step_seconds(rows)
    }

    /// Returns the error of the draft model's device that ended its use. Answers go on without it.
    #[must_use]
    pub fn draft_failure(&self) -> Option<&ModelError> {
        self.speculation.failure()
    }

    /// Returns the draft model's use of memory for cached keys and values; `None` without a draft model.
    #[must_use]
    pub fn draft_cache_use(&self) -> Option<CacheUse> {
        self.speculation.model().map(DraftModel::cache_use)
    }

    /// Collects drafts for the next step. Beside a prefill there are none: its rows take all of the device.
    pub(super) async fn propose(&mut self, clock: Clock<'_>) {
        self.active.iter_mut().for_each(Answer::reset_draft);
        if self.active.iter().any(Answer::prefills) {
            return;
        }
        self.relax();
        let asks = asks(&self.active, &self.speculation);
        if asks.is_empty() {
            return;
        }
        let answers = self.active.len();
        let room = self.runner.step_rows().saturating_sub(answers);
        let drafts = self.speculation.propose(&asks, answers, room, clock).await;
        for (id, draft) in drafts {
            if let Some(answer) = self.active.iter_mut().find(|answer| answer.id == id) {
                answer.set_draft(draft);
            }
        }
    }

    /// Returns `true` if an answer can get a draft, which follows tokens that the host knows, or has one in its request.
    pub(super) fn wants_drafts(&self) -> bool {
        self.active.iter().any(|answer| !answer.given.is_empty()) || !asks(&self.active, &self.speculation).is_empty()
    }

    /// Removes the drafts of the next step. Returns `false` if there are none.
    pub(super) fn drop_drafts(&mut self) -> bool {
        let mut drafts = self.active.iter_mut().map(|answer| &mut answer.draft).filter(|draft| !draft.is_empty());
        let has_drafts = drafts.next().map(|draft| *draft = Draft::default()).is_some();
        drafts.for_each(|draft| *draft = Draft::default());
        has_drafts
    }

    /// Returns the bytes that the sequences of the model may hold while the draft model has its share.
    fn share(&self) -> usize {
        let whole = self.runner.sequence_bytes(self.runner.context());
        let total = self.cache_bytes;
        self.speculation.model().map_or(total, |model| {
            let share = whole as f64 / (whole + model.context_bytes()).max(1) as f64;
            (total as f64 * share).ceil() as usize
        })
    }

    /// Divides the memory between the model and the draft model in proportion to their contexts, or gives all of it to the
    /// model.
    pub(super) fn limit_memory(&mut self) {
        let (share, total) = (self.share(), self.cache_bytes);
        let own = if self.is_pressed { total } else { share };
        self.runner.set_cache_limit(Some(own));
        if let Some(model) = self.speculation.model_mut() {
            model.set_limit(total - own.min(total));
        }
    }

    /// Closes the draft model's sequences and gives their memory to the model. Returns `false` if it has it already.
    pub(super) fn press(&mut self) -> Result<bool, EngineError> {
        let Some(model) = self.speculation.model_mut().filter(|_| !self.is_pressed) else { return Ok(false) };
        model.clear()?;
        self.is_pressed = true;
        self.limit_memory();
        Ok(true)
    }

    /// Gives the draft model its memory back once the model needs only its own share and no answer waits.
    fn relax(&mut self) {
        if self.is_pressed && self.waiting.is_empty() && self.runner.cache_use().held <= self.share() {
            self.is_pressed = false;
            self.limit_memory();
        }
    }
}

/// Returns the answers that can get a draft.
fn asks<'a>(active: &'a [Answer], speculation: &Speculation) -> Vec<Ask<'a>> {
    let asks = active.iter().filter_map(|answer| answer.ask(speculation.default));
    asks.filter(|ask| speculation.serves(ask.how)).collect()
}
