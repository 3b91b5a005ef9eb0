//! One answer as a state machine: the rows that its sequence needs next, and what follows from their outputs.

mod drafting;

use std::rc::Rc;

use honelm_backend::{Batch, Parent, Sampling, SequenceId, Ticket, Token, Want, choose};
use honelm_grammar::Matcher;
use honelm_model::Facts;
use honelm_text::Tokenizer;

use crate::constraint::{draw_allowed, has_ended};
use crate::embedding::Pool;
use crate::likelihood::{Likelihoods, check_logits};
use crate::speculative::Draft;
use crate::text_stream::TextStream;
use crate::{
    AnswerId, Completion, Confidence, Delta, EngineError, FinishReason, Generation, Overflow, Request, TokenLogprobs,
    Update, sampling,
};

/// The outputs of an answer's rows in a step.
pub(crate) struct Outputs<'o> {
    /// The logits of the rows that requested them. // each `[V]`
    pub logits: &'o [&'o [f32]],
    /// The sampled tokens of the rows that requested one.
    pub sampled: &'o [u32],
    /// The final hidden states of the rows that requested them. // each `[D]`
    pub hidden: &'o [&'o [f32]],
}

/// A drawn token with its log-probabilities, if requested.
type Drawn = (u32, Option<TokenLogprobs>);

/// The consequences of a step for an answer.
#[derive(Debug, Default)]
pub(crate) struct Next {
    /// The rows to accept, if the step verified a draft.
    pub accepted: Option<Vec<u32>>,
    /// The draft that was verified.
    pub verified: Draft,
    /// The drawn tokens, including an end token.
    pub drawn: Vec<u32>,
    /// The number of computed tokens to keep; the others are removed from the sequence.
    pub keep: Option<usize>,
    /// The reason for the end.
    pub end: Option<FinishReason>,
}

/// The state of an answer before another step is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It has a next row: its token is known, or is drawn by a step in flight on the device.
    Ready,
    /// Its next row depends on outputs of a step in flight that only the host can use.
    Waits,
    /// It ends with the steps in flight.
    Complete,
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
    /// The number of tokens that the sequence holds after the steps in flight, including tokens that are still on the device.
    pub planned: usize,
    /// The last planned row, if the device draws the token that follows it.
    pub last_drawn: Option<(Ticket, u32)>,
    /// The draft that the next step verifies.
    pub draft: Draft,
    /// The draft of the request, until a step verifies it.
    pub given: Draft,
    /// The number of the step in which the answer was served last.
    pub served: u64,
    /// The number of prompt tokens that were cached when the answer began; `None` before.
    pub cached_tokens: Option<usize>,
    tokenizer: Rc<Tokenizer>,
    /// The prompt and the answer, including tokens that a shift dropped.
    history: Vec<u32>,
    prompt_tokens: usize,
    context: usize,
    /// `true` if all rows belong in one step, because each sees all others (encoders).
    pub in_one_step: bool,
    /// The tokens that end the answer.
    ends: Vec<u32>,
    shifts: u64,
    /// The grammar behind the tokens so far.
    grammar: Option<Matcher>,
    stream: TextStream,
    /// The pooled hidden states, if these are the answer.
    pool: Option<Pool>,
    /// The likelihoods of given answers, if these are the answer.
    pub likelihoods: Option<Likelihoods>,
    /// The number of drawn tokens, including an end token.
    drawn: usize,
    /// The numbers of verified and of accepted draft tokens.
    drafted: (usize, usize),
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    /// The confidence in the first token, if requested.
    confidence: Option<Confidence>,
    began: f64,
    first: Option<f64>,
}

impl Answer {
    pub fn new(
        id: AnswerId,
        mut request: Request,
        tokenizer: &Rc<Tokenizer>,
        facts: &Facts,
        context: usize,
        now: f64,
    ) -> Result<Self, EngineError> {
        if request.embed.is_none() {
            facts.check_generates()?;
        }
        let tokens = request.begin(facts.vocabulary, context)?;
        let how = &request.how;
        let special = |text: &String| tokenizer.id_of(text).filter(|&id| tokenizer.special(id));
        let mut ends: Vec<u32> = how.stop_tokens.iter().copied().chain(how.stop.iter().filter_map(special)).collect();
        if !how.ignore_eos {
            ends.extend(tokenizer.eos_ids());
        }
        let sizes = (facts.vocabulary, context);
        let likelihoods =
            request.answers.take().map(|of| Likelihoods::new(of, &ends, tokens.len(), sizes)).transpose()?;
        let (begun, draft) = (std::mem::take(&mut request.begun), std::mem::take(&mut request.draft));
        let mut answer = Self {
            id,
            sequence: None,
            computed: 0,
            planned: 0,
            last_drawn: None,
            draft: Draft::default(),
            given: Draft::default(),
            served: 0,
            cached_tokens: None,
            tokenizer: Rc::clone(tokenizer),
            history: request.prompt.clone(),
            prompt_tokens: tokens.len(),
            tokens,
            context,
            in_one_step: facts.encoder,
            ends,
            shifts: 0,
            stream: TextStream::new(tokenizer, &request.how, request.parser.take(), request.unique_calls),
            grammar: request.grammar.take(),
            pool: request.embed.map(Pool::new),
            likelihoods,
            drawn: 0,
            drafted: (0, 0),
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            confidence: None,
            began: now,
            first: None,
            request,
        };
        answer.resume(&begun)?;
        answer.given = Draft::chain(&draft).fit(facts.vocabulary, answer.most_drafted());
        Ok(answer)
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

    /// Returns the number of the next rows that belong in one step.
    pub fn rows_at_once(&self) -> usize {
        let unplanned = self.tokens.len().saturating_sub(self.planned);
        match &self.likelihoods {
            Some(likelihoods) if unplanned == 1 => likelihoods.rows(),
            _ if self.in_one_step => unplanned,
            _ => 1,
        }
    }

    /// Returns `true` if the next rows are those of a prompt, or of tokens that have to be computed again.
    pub fn prefills(&self) -> bool {
        let begins = self.token_ids.is_empty() && self.drawn == 0 && self.draft.is_empty();
        self.missing() > 1 || begins
    }

    /// Returns what another step can hold of the answer, beside the steps in flight.
    pub fn readiness(&self) -> Readiness {
        if self.planned < self.tokens.len() {
            return Readiness::Ready;
        }
        let undrawn = self.planned + 1 - self.tokens.len();
        if self.token_ids.len() + undrawn >= self.how().max_tokens {
            return Readiness::Complete;
        }
        if self.planned >= self.context {
            let stops = self.how().overflow == Overflow::Stop;
            return if stops { Readiness::Complete } else { Readiness::Waits };
        }
        if self.last_drawn.is_some() { Readiness::Ready } else { Readiness::Waits }
    }

    /// Forgets the rows in flight. Their outputs are not taken.
    pub fn land(&mut self, computed: usize) {
        (self.computed, self.planned, self.last_drawn) = (computed, computed, None);
    }

    /// Adds the next rows of `sequence` to a batch: `most` at most and at least one, or all if they belong in one step. Returns
    /// `true` if a draft is among them.
    ///
    /// The answer is ready ([`Readiness::Ready`]).
    pub fn plan(&self, sequence: SequenceId, batch: &mut Batch, most: usize) -> bool {
        let unplanned = self.tokens.get(self.planned..).unwrap_or_default();
        if let Some(likelihoods) = &self.likelihoods {
            return likelihoods.plan(sequence, unplanned, most, batch);
        }
        if let ([token], false) = (unplanned, self.draft.is_empty())
            && self.draft.len() < most
        {
            self.draft.plan(sequence, *token, self.want(), batch);
            return true;
        }
        if let ([], Some((ticket, row))) = (unplanned, self.last_drawn) {
            batch.push(sequence, Token::Sampled(ticket, row), Parent::Previous, self.want());
            return false;
        }
        let rows = if self.in_one_step { unplanned.len() } else { unplanned.len().min(most.max(1)) };
        if let Some(pool) = &self.pool {
            for position in self.planned..self.planned + rows {
                let want = if pool.wants(position, self.tokens.len()) { Want::HIDDEN } else { Want::NOTHING };
                batch.extend(sequence, &self.tokens[position..=position], want);
            }
            return false;
        }
        // The last token waits for the step that verifies the draft of the request.
        let rows = if self.given.is_empty() || unplanned.len() < 2 { rows } else { rows.min(unplanned.len() - 1) };
        let want = if rows == unplanned.len() { self.want() } else { Want::NOTHING };
        batch.extend(sequence, &unplanned[..rows], want);
        false
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
            || how.ignore_eos
            || self.grammar.is_some();
        if self.drawn > 0 && !needs_logits {
            Want { sample: Some(self.sampling()), ..Want::NOTHING }
        } else {
            Want::LOGITS
        }
    }

    /// Returns `true` if the hidden states are the answer. Its sequence shares no cached tokens, because all are computed.
    pub fn embeds(&self) -> bool {
        self.pool.is_some()
    }

    /// Computes the mask of the next token. It depends on the tokens so far alone, so the device can work meanwhile.
    pub fn prepare(&mut self) {
        if let Some(grammar) = &mut self.grammar {
            // The draw meets the same error.
            let _ = grammar.mask();
        }
    }

    /// Takes the outputs of the `rows` rows of [`Answer::plan`], which are computed now. If the step verifies a draft, these are
    /// the rows of the last token and of every node: draws continue at the node that was drawn, as if it had been computed alone.
    pub fn take(
        &mut self,
        (rows, verifies): (usize, bool),
        outputs: &Outputs<'_>,
        now: f64,
        on_update: &mut dyn FnMut(Update),
    ) -> Result<Next, EngineError> {
        if self.likelihoods.is_some() {
            return self.take_likelihoods((rows, verifies), outputs, on_update);
        }
        let prefilled = self.prefills();
        let draft = std::mem::take(&mut self.draft);
        let rows = if verifies { rows - draft.len() } else { rows };
        let is_last = rows == self.missing();
        if let Some(pool) = &mut self.pool {
            pool.add(outputs.hidden, self.computed == 0)?;
            self.computed += rows;
            on_update(Update::Prefill { done: self.computed, total: self.tokens.len() });
            return Ok(Next { end: is_last.then_some(FinishReason::Stop), ..Next::default() });
        }
        let mut drawn = if is_last { Some(self.draw(outputs, 0)?) } else { None };
        self.computed += rows;
        if prefilled {
            on_update(Update::Prefill { done: self.computed, total: self.tokens.len() });
        }
        let mut next = Next::default();
        let (mut node, mut accepted) = (None, vec![0]);
        while let Some(found) = drawn.take() {
            self.first.get_or_insert(now);
            self.drawn += 1;
            let Some((token, logprobs)) = found else {
                next.end = Some(FinishReason::Stop);
                break;
            };
            next.drawn.push(token);
            self.follow(token, logprobs, &mut next, on_update)?;
            if !verifies || next.end.is_some() || next.keep.is_some() {
                break;
            }
            node = draft.child(node, token);
            if let Some(node) = node {
                accepted.push(node as u32 + 1);
                drawn = Some(self.draw(outputs, node + 1)?);
                self.computed += 1;
            }
        }
        if verifies {
            self.drafted = (self.drafted.0 + draft.len(), self.drafted.1 + accepted.len() - 1);
            next.accepted = Some(accepted);
            next.verified = draft;
        }
        if next.end.is_none() && self.request.pause.is_some_and(|pause| self.drawn >= pause.max(1)) {
            next.end = Some(FinishReason::Paused);
        }
        Ok(next)
    }

    /// Adds a drawn token, and notes in `next` what follows.
    fn follow(
        &mut self,
        token: u32,
        logprobs: Option<TokenLogprobs>,
        next: &mut Next,
        on_update: &mut dyn FnMut(Update),
    ) -> Result<(), EngineError> {
        if self.ends.contains(&token) {
            next.end = Some(FinishReason::Stop);
            return Ok(());
        }
        self.add(token, logprobs, on_update);
        if self.stream.has_ended() || has_ended(&mut self.grammar, token)? {
            next.end = Some(FinishReason::Stop);
        } else if self.token_ids.len() >= self.how().max_tokens {
            next.end = Some(FinishReason::Length);
        } else if self.tokens.len() > self.context {
            match self.how().overflow {
                Overflow::Stop => next.end = Some(FinishReason::Context),
                Overflow::Shift { keep } => {
                    // The next step prefills what follows the kept tokens.
                    self.shift(keep);
                    next.keep = Some(keep);
                }
            }
        }
        Ok(())
    }

    /// Draws the token that follows from output `row`; `None` if only an end token could follow and is ruled out.
    fn draw(&mut self, outputs: &Outputs<'_>, row: usize) -> Result<Option<Drawn>, EngineError> {
        // The rows of a draft all have the kind of output that the first of them requested.
        match (outputs.logits.get(row), outputs.sampled.get(row)) {
            (Some(logits), _) => self.choose(logits.to_vec()),
            (None, Some(&token)) => Ok(Some((token, None))),
            (None, None) => Err(EngineError::MissingOutput { what: "logits" }),
        }
    }

    /// Returns the sampling settings. Positions are reused after a shift, and must not give the same draws.
    fn sampling(&self) -> Sampling {
        let sampling = self.how().sampling();
        Sampling { stream: sampling.stream.wrapping_add(self.shifts << 32), ..sampling }
    }

    /// Draws a token from logits. // `[V]`
    fn choose(&mut self, mut logits: Vec<f32>) -> Result<Option<Drawn>, EngineError> {
        let position = self.tokens.len() - 1;
        check_logits(&logits, position)?;
        if self.request.confidence && self.drawn == 0 {
            self.confidence = Some(Confidence::of_logits(&logits));
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
        let (sampling, position) = (self.sampling(), position as u64);
        let token = match &mut self.grammar {
            None => choose(&logits, &sampling, position),
            Some(grammar) => match draw_allowed(grammar, &self.ends, &logits, &sampling, position)? {
                Some(token) => token,
                None => return Ok(None),
            },
        };
        let logprobs = original.map(|(logits, top)| sampling::token_logprobs(&logits, token, top));
        Ok(Some((token, logprobs)))
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
        // The text that a paused answer holds back comes with the tokens that follow.
        let rest = if reason == FinishReason::Paused { Delta::default() } else { self.stream.finish() };
        if !rest.is_empty() {
            on_update(Update::Rest(rest));
        }
        let parts = self.stream.parts;
        let first = self.first.unwrap_or(self.began);
        let (prompt_tokens, cached_tokens) =
            (self.prompt_tokens, self.cached_tokens.unwrap_or(0).min(self.prompt_tokens));
        let confidence = self
            .confidence
            .map(|found| Box::new(Confidence { prompt_tokens, cached_tokens, seconds: first - self.began, ..found }));
        Completion {
            text: self.stream.text,
            reasoning: (!parts.reasoning.is_empty()).then_some(parts.reasoning),
            answer: parts.text,
            calls: parts.calls,
            broken_calls: parts.broken,
            token_ids: self.token_ids,
            finish_reason: reason,
            prompt_tokens,
            cached_tokens,
            confidence,
            first_token_seconds: first - self.began,
            decode_seconds: now - first,
            decoded_tokens: self.drawn.saturating_sub(1),
            drafted_tokens: self.drafted.0,
            accepted_tokens: self.drafted.1,
            logprobs: self.logprobs,
            embedding: self.pool.filter(|_| reason == FinishReason::Stop).map(|pool| pool.finish()),
            likelihoods: self.likelihoods.filter(|_| reason == FinishReason::Stop).map(Likelihoods::finish),
        }
    }
}
