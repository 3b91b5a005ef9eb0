//! The driver: many answers of one model, stepped together.

mod admission;
mod drafting;
mod flights;
mod loss;
mod saving;
mod stepping;

use std::rc::Rc;
use std::sync::Arc;

use honelm_backend::SequenceId;
use honelm_model::{ModelError, Runner};
use honelm_text::Tokenizer;

use flights::Flights;

use crate::answer::Answer;
use crate::prefixes::{Prefixes, common};
use crate::speculative::Speculation;
use crate::{Cancel, Completion, EngineError, FinishReason, OnUpdate, Request, Speculate, Update};

/// A function that returns the seconds since a fixed moment.
pub type Clock<'c> = &'c dyn Fn() -> f64;

/// The identifier of an answer within its [`Driver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnswerId(pub u64);

/// A change of one answer.
#[derive(Debug)]
pub enum Event {
    /// Progress.
    Update(Update),
    /// The end of the answer.
    Done(Completion),
    /// The end of the answer by an error. Other answers are not affected, unless the device failed.
    Failed(EngineError),
}

/// The limits of a [`Driver`].
#[derive(Debug, Clone)]
pub struct DriverOptions {
    /// The largest number of answers that are computed at the same time, at least 1. Others wait.
    pub answers: usize,
    /// The largest number of rows in a prefill step: enough for wide kernels, and few enough to be cancelled soon.
    pub prefill_rows: usize,
    /// The same beside answers that are being written, which wait for the step.
    pub prefill_rows_beside: usize,
    /// The largest number of cached prefixes that no answer uses; 0 keeps none.
    pub prefixes: usize,
    /// The largest number of bytes of all cached keys and values; by default those of one full context, of the model and of the
    /// draft model.
    pub cache_bytes: Option<usize>,
    /// The source of drafts for requests that name none.
    pub speculate: Speculate,
    /// The number of steps that are submitted before the first of them is read, 8 at most; by default what the device wants
    /// ([`honelm_model::Runner::steps_in_flight`]).
    pub steps_in_flight: Option<usize>,
    /// Keeps the answers if the device is lost, until [`Driver::replace`]. Otherwise they fail.
    pub survives_loss: bool,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            answers: 16,
            prefill_rows: 512,
            prefill_rows_beside: 128,
            prefixes: 64,
            cache_bytes: None,
            speculate: Speculate::Auto,
            steps_in_flight: None,
            survives_loss: false,
        }
    }
}

/// The number of events of each kind since the driver was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps of the model.
    pub steps: u64,
    /// Rows of all steps.
    pub rows: u64,
    /// Steps that were submitted while no other one was in flight, so that the device had to wait for the host.
    pub waits: u64,
    /// Rows whose outputs were not used, because their answer had ended or was set back.
    pub discarded: u64,
    /// Answers whose pages were given back before their end.
    pub preempted: u64,
    /// Prefixes that were closed to make room.
    pub evicted: u64,
}

/// The driver of a model's answers.
///
/// [`Driver::step`] runs one step of the model for all active answers: the next row of each that is being written, and
/// some rows of those whose prompt is read. Answers that share a prefix share its cached keys and values. If memory is
/// short, unused prefixes are closed first, then the newest answer of the lowest priority is set back and computed again
/// later. On the CPU, an answer has the same bits as if it were alone, with and without drafts.
pub struct Driver {
    runner: Box<dyn Runner>,
    tokenizer: Rc<Tokenizer>,
    options: DriverOptions,
    cache_bytes: usize,
    /// The answers without a sequence, in the order in which they are admitted.
    waiting: Vec<Answer>,
    /// The answers with a sequence, in the order of their admission.
    active: Vec<Answer>,
    prefixes: Prefixes,
    flights: Flights,
    speculation: Speculation,
    /// `true` while the draft model has no memory, because an answer needs it.
    is_pressed: bool,
    /// The error of a lost device, until there is another one.
    lost: Option<Arc<ModelError>>,
    /// Events of other answers that [`Driver::complete`] came across.
    kept: Vec<(AnswerId, Event)>,
    next: u64,
    counts: Counts,
}

impl Driver {
    /// Creates a driver without answers; `tokenizer` is that of the model.
    #[must_use]
    pub fn new(mut runner: Box<dyn Runner>, tokenizer: Rc<Tokenizer>, options: DriverOptions) -> Self {
        let cache_bytes = options.cache_bytes.unwrap_or_else(|| runner.sequence_bytes(runner.context()));
        runner.set_cache_limit(Some(cache_bytes));
        let speculation = Speculation::new(options.speculate, runner.facts().vocabulary, runner.is_batch_invariant());
        Self {
            runner,
            tokenizer,
            options,
            cache_bytes,
            waiting: Vec::new(),
            active: Vec::new(),
            prefixes: Prefixes::default(),
            flights: Flights::default(),
            speculation,
            is_pressed: false,
            lost: None,
            kept: Vec::new(),
            next: 0,
            counts: Counts::default(),
        }
    }

    /// Returns the tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Rc<Tokenizer> {
        &self.tokenizer
    }

    /// Returns the maximum number of tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.runner.context()
    }

    /// Returns the counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns `true` if no answer is active or waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.waiting.is_empty()
    }

    /// Returns the number of tokens at the start of `prompt` that are cached.
    #[must_use]
    pub fn cached_prefix(&self, prompt: &[u32]) -> usize {
        let unused = self.prefixes.longest(prompt).map_or(0, |(len, _)| len);
        let used = self.active.iter().map(|answer| common(&answer.tokens[..answer.computed], prompt));
        used.max().unwrap_or(0).max(unused)
    }

    /// Returns the model for other uses. Closes all cached prefixes, and lifts the limit of their memory until the next
    /// answer.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn runner(&mut self) -> Result<&mut dyn Runner, EngineError> {
        self.clear()?;
        self.runner.set_cache_limit(None);
        Ok(&mut *self.runner)
    }

    /// Returns the model, without any answers and prefixes.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn into_runner(mut self) -> Result<Box<dyn Runner>, EngineError> {
        for answer in self.active.iter_mut() {
            if let Some(sequence) = answer.sequence.take() {
                self.runner.close(sequence)?;
            }
        }
        self.clear()?;
        self.runner.set_cache_limit(None);
        Ok(self.runner)
    }

    /// Closes all cached prefixes that no answer uses.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn clear(&mut self) -> Result<(), EngineError> {
        while let Some(sequence) = self.prefixes.evict(None) {
            self.runner.close(sequence)?;
        }
        Ok(())
    }

    /// Adds an answer at the time `now`. It is computed by the next steps.
    ///
    /// # Errors
    /// Invalid settings, an empty or too long prompt, a token that the model does not have, an answer of an encoder.
    pub fn submit(&mut self, request: Request, now: f64) -> Result<AnswerId, EngineError> {
        self.speculation.check(request.speculate.unwrap_or(self.options.speculate))?;
        self.limit_memory();
        let id = AnswerId(self.next);
        let (facts, context) = (self.runner.facts(), self.runner.context());
        let answer = Answer::new(id, request, &self.tokenizer, facts, context, now)?;
        self.next += 1;
        self.wait(answer);
        Ok(id)
    }

    /// Generates one answer. Other answers progress too; the next [`Driver::step`] returns their events.
    ///
    /// # Errors
    /// As [`Driver::submit`], an error of the model, logits that are not numbers. The driver can be used again after an
    /// error.
    pub async fn complete(
        &mut self,
        request: Request,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        // If this future is dropped, the answer ends in the next step.
        let mut abandoned = CancelOnDrop(Some(request.cancel.clone()));
        let id = self.submit(request, clock())?;
        let outcome = self.finish(id, clock, on_update).await;
        abandoned.0 = None;
        outcome
    }

    /// Steps until an answer ends, as [`Driver::complete`] does.
    ///
    /// # Errors
    /// As [`Driver::complete`]. If the device is lost and the answer waits for another one ([`Driver::lost`]), it can be finished
    /// after [`Driver::replace`].
    pub async fn finish(
        &mut self,
        id: AnswerId,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        loop {
            let mut outcome = None;
            for (of, event) in self.advance(clock).await {
                match event {
                    event if of != id => self.kept.push((of, event)),
                    Event::Update(update) => on_update(&update),
                    Event::Done(completion) => outcome = Some(Ok(completion)),
                    Event::Failed(error) => outcome = Some(Err(error)),
                }
            }
            if let Some(outcome) = outcome {
                return outcome;
            }
            if let Some(lost) = &self.lost {
                return Err(EngineError::Step(Arc::clone(lost)));
            }
        }
    }

    /// Runs one step for all active answers, or admits and ends answers. Returns what happened; if that is nothing, the
    /// driver may be idle ([`Driver::is_idle`]).
    pub async fn step(&mut self, clock: Clock<'_>) -> Vec<(AnswerId, Event)> {
        let kept = std::mem::take(&mut self.kept);
        if kept.is_empty() { self.advance(clock).await } else { kept }
    }

    /// Adds an answer to those that wait, by priority and arrival.
    fn wait(&mut self, answer: Answer) {
        let key = |answer: &Answer| (std::cmp::Reverse(answer.request.priority), answer.id);
        let at = self.waiting.partition_point(|other| key(other) < key(&answer));
        self.waiting.insert(at, answer);
    }

    /// Ends an answer that is no longer among the active and waiting ones. Its cached tokens become a prefix.
    fn end(&mut self, mut answer: Answer, reason: FinishReason, now: f64, events: &mut Vec<(AnswerId, Event)>) {
        let id = answer.id;
        self.speculation.forget(id);
        if let Some(sequence) = answer.sequence.take()
            && let Err(error) = self.keep_computed(&answer, sequence)
        {
            events.push((id, Event::Failed(error)));
            return;
        }
        let completion = answer.finish(reason, now, &mut |update| events.push((id, Event::Update(update))));
        events.push((id, Event::Done(completion)));
    }

    /// Ends an answer that is no longer among the active and waiting ones by an error.
    fn fail(&mut self, answer: &Answer, error: EngineError, events: &mut Vec<(AnswerId, Event)>) {
        self.speculation.forget(answer.id);
        let closed = answer.sequence.map_or(Ok(()), |sequence| self.runner.close(sequence));
        // The first error tells more.
        drop(closed);
        events.push((answer.id, Event::Failed(error)));
    }

    /// Keeps the computed tokens of an answer's sequence as a prefix, without those of steps in flight.
    fn keep_computed(&mut self, answer: &Answer, sequence: SequenceId) -> Result<(), EngineError> {
        if answer.embeds() {
            return Ok(self.runner.close(sequence)?);
        }
        let computed = self.runner.truncate(sequence, answer.computed)?.len;
        self.keep_prefix(answer.tokens[..computed].to_vec(), sequence)
    }

    /// Keeps a sequence as a prefix, or closes it.
    fn keep_prefix(&mut self, tokens: Vec<u32>, sequence: SequenceId) -> Result<(), EngineError> {
        if tokens.is_empty() || self.options.prefixes == 0 {
            return Ok(self.runner.close(sequence)?);
        }
        if let Some(replaced) = self.prefixes.insert(tokens, sequence) {
            self.runner.close(replaced)?;
        }
        while self.prefixes.len() > self.options.prefixes {
            self.evict(None)?;
        }
        Ok(())
    }

    /// Closes the least recently used prefix other than `kept`. Returns `false` if there is none.
    fn evict(&mut self, kept: Option<&[u32]>) -> Result<bool, EngineError> {
        let Some(sequence) = self.prefixes.evict(kept) else { return Ok(false) };
        self.counts.evicted += 1;
        self.runner.close(sequence)?;
        Ok(true)
    }
}

/// Sets a flag when it is dropped.
struct CancelOnDrop(Option<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel.cancel();
        }
    }
}
