//! One answer as a state machine: the rows that its sequence needs next, and what follows from their outputs.

use std::rc::Rc;

use honelm_backend::{Batch, Sampling, SequenceId, Want, choose};
use honelm_text::Tokenizer;

use crate::request::shift;
use crate::text_stream::TextStream;
use crate::{
    AnswerId, Completion, EngineError, FinishReason, Generation, Overflow, Request, TokenLogprobs, Update, sampling,
};

/// The outputs of an answer's rows in a step.
pub(crate) struct Outputs<'o> {
    /// The logits of the rows that requested them. // each `[V]`
    pub logits: &'o [&'o [f32]],
    /// The sampled tokens of the rows that requested one.
    pub sampled: &'o [u32],
}

/// What follows a step for an answer.
#[derive(Debug, Default)]
pub(crate) struct Next {
    /// The number of computed tokens to keep; the others are removed from the sequence.
    pub keep: Option<usize>,
    /// The reason for the end.
    pub end: Option<FinishReason>,
}

/// An answer, from its request to its completion.
pub(crate) struct Answer {
    pub id: AnswerId,
    pub request: Request,
    /// The sequence of an active answer.
    pub sequence: Option<SequenceId>,
    /// The tokens that the sequence should hold, including the newest one.
    pub tokens: Vec<u32>,
    /// The number of `tokens` that the sequence holds.
    pub computed: usize,
    /// The number of the step in which the answer was served last.
    pub served: u64,
    /// The number of prompt tokens that were cached when the answer began; `None` before.
    pub cached_tokens: Option<usize>,
    tokenizer: Rc<Tokenizer>,
    /// The prompt and the answer, including tokens that a shift dropped.
    history: Vec<u32>,
    prompt_tokens: usize,
    context: usize,
    /// The tokens that end the answer.
    ends: Vec<u32>,
    shifts: u64,
    stream: TextStream,
    /// The number of drawn tokens, including an end token.
    drawn: usize,
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    began: f64,
    first: Option<f64>,
}

impl Answer {
    pub fn new(
        id: AnswerId,
        request: Request,
        tokenizer: &Rc<Tokenizer>,
        (vocabulary, context): (usize, usize),
        now: f64,
    ) -> Result<Self, EngineError> {
        let tokens = request.begin(vocabulary, context)?;
        let how = &request.how;
        let special = |text: &String| tokenizer.id_of(text).filter(|&id| tokenizer.special(id));
        let mut ends: Vec<u32> = how.stop_tokens.iter().copied().chain(how.stop.iter().filter_map(special)).collect();
        if !how.ignore_eos {
            ends.extend(tokenizer.eos_ids());
        }
        Ok(Self {
            id,
            sequence: None,
            computed: 0,
            served: 0,
            cached_tokens: None,
            tokenizer: Rc::clone(tokenizer),
            history: request.prompt.clone(),
            prompt_tokens: tokens.len(),
            tokens,
            context,
            ends,
            shifts: 0,
            stream: TextStream::new(tokenizer, how, request.thinking),
            drawn: 0,
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            began: now,
            first: None,
            request,
        })
    }

    fn how(&self) -> &Generation {
        &self.request.how
    }

    /// Returns the reason for which the answer ends before the next step.
    pub fn overdue(&self, now: f64) -> Option<FinishReason> {
        if self.request.cancel.is_cancelled() {
            Some(FinishReason::Cancelled)
        } else if self.request.deadline.is_some_and(|deadline| now >= deadline) {
            Some(FinishReason::Deadline)
        } else if self.token_ids.len() >= self.how().max_tokens {
            Some(FinishReason::Length)
        } else {
            None
        }
    }

    /// Returns the number of tokens that are not computed.
    pub fn missing(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Returns `true` if the next rows are those of a prompt, or of tokens that have to be computed again.
    pub fn prefills(&self) -> bool {
        self.missing() > 1 || self.drawn == 0
    }

    /// Adds the next rows of `sequence` to a batch, `most` at most and at least one.
    pub fn plan(&self, sequence: SequenceId, batch: &mut Batch, most: usize) {
        let rows = self.missing().min(most.max(1));
        let want = if rows == self.missing() { self.want() } else { Want::NOTHING };
        batch.extend(sequence, &self.tokens[self.computed..self.computed + rows], want);
    }

    /// Returns the output of the last token: the device draws the next one if its logits are not needed here. Those of the
    /// first token are always checked.
    fn want(&self) -> Want {
        let how = self.how();
        let needs_logits = how.logprobs.is_some()
            || how.repeat_penalty != 1.0
            || how.frequency_penalty != 0.0
            || how.presence_penalty != 0.0
            || !how.logit_bias.is_empty()
            || how.ignore_eos;
        if self.drawn > 0 && !needs_logits {
            Want { sample: Some(self.sampling()), ..Want::NOTHING }
        } else {
            Want::LOGITS
        }
    }

    /// Takes the outputs of the rows of [`Answer::plan`], which are computed now.
    pub fn take(
        &mut self,
        rows: usize,
        outputs: &Outputs<'_>,
        now: f64,
        on_update: &mut dyn FnMut(Update),
    ) -> Result<Next, EngineError> {
        let prefilled = self.prefills();
        let is_last = rows == self.missing();
        let drawn = if is_last { Some(self.draw(outputs)?) } else { None };
        self.computed += rows;
        if prefilled {
            on_update(Update::Prefill { done: self.computed, total: self.tokens.len() });
        }
        let Some((token, logprobs)) = drawn else { return Ok(Next::default()) };
        self.first.get_or_insert(now);
        self.drawn += 1;
        let ends = |reason| Ok(Next { end: Some(reason), keep: None });
        if self.ends.contains(&token) {
            return ends(FinishReason::Stop);
        }
        self.add(token, logprobs, on_update);
        if self.stream.stopped() {
            return ends(FinishReason::Stop);
        }
        if self.token_ids.len() >= self.how().max_tokens {
            return ends(FinishReason::Length);
        }
        if self.tokens.len() <= self.context {
            return Ok(Next::default());
        }
        let Overflow::Shift { keep } = self.how().overflow else { return ends(FinishReason::Context) };
        // The next step prefills what follows the kept tokens.
        shift(&mut self.tokens, keep);
        self.shifts += 1;
        Ok(Next { keep: Some(keep), end: None })
    }

    fn draw(&self, outputs: &Outputs<'_>) -> Result<(u32, Option<TokenLogprobs>), EngineError> {
        if self.want().sample.is_some() {
            let token = outputs.sampled.last().copied();
            return Ok((token.ok_or(EngineError::MissingOutput { what: "sampled token" })?, None));
        }
        let logits = outputs.logits.last().ok_or(EngineError::MissingOutput { what: "logits" })?;
        self.choose(logits.to_vec())
    }

    /// Returns the sampling settings. Positions are reused after a shift, and must not give the same draws.
    fn sampling(&self) -> Sampling {
        let sampling = self.how().sampling();
        Sampling { stream: sampling.stream.wrapping_add(self.shifts << 32), ..sampling }
    }

    /// Draws a token from logits. // `[V]`
    fn choose(&self, mut logits: Vec<f32>) -> Result<(u32, Option<TokenLogprobs>), EngineError> {
        let position = self.tokens.len() - 1;
        let broken = |(_, v): &(usize, &f32)| v.is_nan() || **v == f32::INFINITY;
        if let Some((token, &value)) = logits.iter().enumerate().find(broken) {
            return Err(EngineError::NotFinite { position, token, value });
        }
        let how = self.how();
        let original = how.logprobs.map(|top| (logits.clone(), top));
        sampling::add_bias(&mut logits, how.logit_bias.iter().map(|(&id, &bias)| (id, bias)));
        if how.ignore_eos {
            let ends = self.tokenizer.eos_ids().iter();
            sampling::add_bias(&mut logits, ends.map(|&id| (id, f32::NEG_INFINITY)));
        }
        if how.repeat_penalty != 1.0 {
            let recent = self.history.len().saturating_sub(how.repeat_last_n);
            sampling::penalize_repeats(&mut logits, &self.history[recent..], how.repeat_penalty);
        }
        if how.frequency_penalty != 0.0 || how.presence_penalty != 0.0 {
            let (frequency, presence) = (how.frequency_penalty, how.presence_penalty);
            sampling::penalize_frequency_and_presence(&mut logits, &self.token_ids, frequency, presence);
        }
        let token = choose(&logits, &self.sampling(), position as u64);
        let logprobs = original.map(|(logits, top)| sampling::token_logprobs(&logits, token, top));
        Ok((token, logprobs))
    }

    /// Adds a token to the answer.
    fn add(&mut self, token: u32, logprobs: Option<TokenLogprobs>, on_update: &mut dyn FnMut(Update)) {
        self.tokens.push(token);
        self.history.push(token);
        self.token_ids.push(token);
        let delta = self.stream.push(token);
        self.logprobs.extend(logprobs.clone());
        on_update(Update::Token { id: token, delta, logprobs });
    }

    /// Ends the answer.
    pub fn finish(mut self, reason: FinishReason, now: f64, on_update: &mut dyn FnMut(Update)) -> Completion {
        let rest = self.stream.finish();
        if !rest.is_empty() {
            on_update(Update::Rest(rest));
        }
        let (reasoning, answer) = self.stream.parts();
        let first = self.first.unwrap_or(self.began);
        Completion {
            text: self.stream.text,
            reasoning,
            answer,
            token_ids: self.token_ids,
            finish_reason: reason,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            first_token_seconds: first - self.began,
            decode_seconds: now - first,
            decoded_tokens: self.drawn.saturating_sub(1),
            logprobs: self.logprobs,
        }
    }
}
