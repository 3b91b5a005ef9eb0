//! The generation of one answer: a prefill, then one token after another.

use std::ops::ControlFlow;

use honelm_backend::{Batch, Sampling, Want, choose};
use honelm_text::{DecodeStream, Tokenizer};

use super::{Clock, OnUpdate, Session};
use crate::generation::{Completion, FinishReason, Generation, Overflow, TokenLogprobs, Update};
use crate::stop::StopScanner;
use crate::{EngineError, sampling};

/// The result of the last row of a step.
enum Drawn {
    Token(u32, Option<TokenLogprobs>),
    Cancelled,
}

pub(super) struct Run<'r> {
    session: &'r mut Session,
    tokenizer: &'r Tokenizer,
    how: &'r Generation,
    /// The tokens that the sequence should hold, including the newest one.
    tokens: Vec<u32>,
    /// The prompt and the answer, including tokens that a shift dropped.
    history: Vec<u32>,
    prompt_tokens: usize,
    cached_tokens: usize,
    /// The tokens that end the answer.
    ends: Vec<u32>,
    shifts: u64,
    decoder: DecodeStream<'r>,
    scanner: StopScanner,
    /// The number of drawn tokens, including an end token.
    drawn: usize,
    text: String,
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
}

impl<'r> Run<'r> {
    pub fn new(
        session: &'r mut Session,
        tokenizer: &'r Tokenizer,
        prompt: &[u32],
        how: &'r Generation,
    ) -> Result<Self, EngineError> {
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let context = session.context();
        let mut tokens = prompt.to_vec();
        match how.overflow {
            Overflow::Stop if tokens.len() > context => {
                return Err(EngineError::PromptTooLong { tokens: tokens.len(), context });
            }
            Overflow::Stop => {}
            Overflow::Shift { keep } => {
                while tokens.len() > context {
                    shift(&mut tokens, keep);
                }
            }
        }
        let prompt_tokens = tokens.len();
        let special = |text: &String| tokenizer.id_of(text).filter(|&id| tokenizer.special(id));
        let mut ends: Vec<u32> = how.stop_tokens.iter().copied().chain(how.stop.iter().filter_map(special)).collect();
        if !how.ignore_eos {
            ends.extend(tokenizer.eos_ids());
        }
        let decoder =
            if how.continues { DecodeStream::continuing(tokenizer, true) } else { DecodeStream::new(tokenizer, true) };
        Ok(Self {
            session,
            tokenizer,
            how,
            tokens,
            history: prompt.to_vec(),
            prompt_tokens,
            cached_tokens: 0,
            ends,
            shifts: 0,
            decoder,
            scanner: StopScanner::new(how.stop.clone()),
            drawn: 0,
            text: String::new(),
            token_ids: Vec::new(),
            logprobs: Vec::new(),
        })
    }

    pub async fn complete(mut self, clock: Clock<'_>, on_update: OnUpdate<'_>) -> Result<Completion, EngineError> {
        let start = clock();
        // The last token is always computed, since its logits are needed.
        let common = self.session.cached.iter().zip(&self.tokens).take_while(|(a, b)| a == b).count();
        self.cached_tokens = self.session.keep(common.min(self.tokens.len() - 1))?;
        let mut drawn = if self.how.max_tokens == 0 { None } else { Some(self.advance(on_update).await?) };
        let first = if drawn.is_some() { clock() } else { start };
        let reason = loop {
            let (token, logprobs) = match drawn {
                None => break FinishReason::Length,
                Some(Drawn::Cancelled) => break FinishReason::Cancelled,
                Some(Drawn::Token(token, logprobs)) => (token, logprobs),
            };
            self.drawn += 1;
            if self.ends.contains(&token) {
                break FinishReason::Stop;
            }
            let flow = self.take(token, logprobs, on_update);
            if self.scanner.stopped {
                break FinishReason::Stop;
            }
            if flow.is_break() {
                break FinishReason::Cancelled;
            }
            if self.token_ids.len() == self.how.max_tokens {
                break FinishReason::Length;
            }
            if self.tokens.len() > self.session.context() {
                let Overflow::Shift { keep } = self.how.overflow else { break FinishReason::Context };
                self.shift(keep)?;
            }
            drawn = Some(self.advance(on_update).await?);
        };
        let seconds = [first - start, clock() - first];
        Ok(self.finish(reason, seconds, on_update))
    }

    /// Computes the tokens that are not cached, in several steps if needed, and draws the next token.
    async fn advance(&mut self, on_update: OnUpdate<'_>) -> Result<Drawn, EngineError> {
        let total = self.tokens.len();
        let is_prefill = total - self.session.cached.len() > 1 || self.drawn == 0;
        while total - self.session.cached.len() > self.session.prefill_rows {
            if self.report_prefill(total, on_update).is_break() {
                return Ok(Drawn::Cancelled);
            }
            let done = self.session.cached.len();
            let part = self.tokens[done..done + self.session.prefill_rows].to_vec();
            self.step(&part, Want::NOTHING).await?;
        }
        if is_prefill && self.report_prefill(total, on_update).is_break() {
            return Ok(Drawn::Cancelled);
        }
        let rest = self.tokens[self.session.cached.len()..].to_vec();
        // The device draws the token if its logits are not needed here. Those of the first token are always checked.
        let sampling = self.sampling();
        let on_device = self.drawn > 0 && !self.needs_logits();
        let want = if on_device { Want { sample: Some(sampling), ..Want::NOTHING } } else { Want::LOGITS };
        let output = self.step(&rest, want).await?;
        if is_prefill && self.report_prefill(total, on_update).is_break() {
            return Ok(Drawn::Cancelled);
        }
        if on_device {
            let token = output.sampled.last().copied();
            return Ok(Drawn::Token(token.ok_or(EngineError::MissingOutput { what: "sampled token" })?, None));
        }
        let logits = output.logits.iter_rows().last().ok_or(EngineError::MissingOutput { what: "logits" })?;
        self.draw(logits.to_vec(), &sampling)
    }

    fn report_prefill(&self, total: usize, on_update: OnUpdate<'_>) -> ControlFlow<()> {
        on_update(Update::Prefill { done: self.session.cached.len(), total })
    }

    /// Runs tokens at the end of the sequence; `want` is the requested output of the last one.
    async fn step(&mut self, tokens: &[u32], want: Want) -> Result<honelm_model::StepOutput, EngineError> {
        let mut batch = Batch::default();
        batch.extend(self.session.sequence, tokens, want);
        let ticket = self.session.runner.step(&batch)?;
        self.session.cached.extend_from_slice(tokens);
        Ok(self.session.runner.read(ticket).await?)
    }

    fn needs_logits(&self) -> bool {
        let how = self.how;
        how.logprobs.is_some()
            || how.repeat_penalty != 1.0
            || how.frequency_penalty != 0.0
            || how.presence_penalty != 0.0
            || !how.logit_bias.is_empty()
            || how.ignore_eos
    }

    /// Returns the sampling settings. Positions are reused after a shift, and must not give the same draws.
    fn sampling(&self) -> Sampling {
        let sampling = self.how.sampling();
        Sampling { stream: sampling.stream.wrapping_add(self.shifts << 32), ..sampling }
    }

    /// Draws a token from logits. // `[V]`
    fn draw(&self, mut logits: Vec<f32>, sampling: &Sampling) -> Result<Drawn, EngineError> {
        let position = self.tokens.len() - 1;
        let broken = |(_, v): &(usize, &f32)| v.is_nan() || **v == f32::INFINITY;
        if let Some((token, &value)) = logits.iter().enumerate().find(broken) {
            return Err(EngineError::NotFinite { position, token, value });
        }
        let how = self.how;
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
        let token = choose(&logits, sampling, position as u64);
        let logprobs = original.map(|(logits, top)| sampling::token_logprobs(&logits, token, top));
        Ok(Drawn::Token(token, logprobs))
    }

    /// Adds a token to the answer and reports it.
    fn take(&mut self, token: u32, logprobs: Option<TokenLogprobs>, on_update: OnUpdate<'_>) -> ControlFlow<()> {
        self.tokens.push(token);
        self.history.push(token);
        self.token_ids.push(token);
        let decoded = self.decoder.push(token).unwrap_or_default();
        let text = self.scanner.push(&decoded);
        self.text.push_str(&text);
        let flow = on_update(Update::Token { id: token, text: &text, logprobs: logprobs.as_ref() });
        self.logprobs.extend(logprobs);
        flow
    }

    /// Drops the older half of the tokens that are not kept. The next step prefills the rest.
    fn shift(&mut self, keep: usize) -> Result<(), EngineError> {
        shift(&mut self.tokens, keep);
        self.shifts += 1;
        self.session.keep(keep).map(drop)
    }

    fn finish(mut self, reason: FinishReason, seconds: [f64; 2], on_update: OnUpdate<'_>) -> Completion {
        if !self.scanner.stopped {
            let mut rest = self.scanner.push(&self.decoder.finish());
            if !self.scanner.stopped {
                rest.push_str(&self.scanner.finish());
            }
            if !rest.is_empty() {
                // The answer has ended, so there is nothing to cancel.
                let _ = on_update(Update::Rest(&rest));
                self.text.push_str(&rest);
            }
        }
        Completion {
            text: self.text,
            token_ids: self.token_ids,
            finish_reason: reason,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            first_token_seconds: seconds[0],
            decode_seconds: seconds[1],
            decoded_tokens: self.drawn.saturating_sub(1),
            logprobs: self.logprobs,
        }
    }
}

/// Drops the older half of the tokens after the first `keep`, and at least one.
fn shift(tokens: &mut Vec<u32>, keep: usize) {
    let keep = keep.min(tokens.len() - 1);
    let dropped = (tokens.len() - keep).div_ceil(2);
    tokens.drain(keep..keep + dropped);
}
