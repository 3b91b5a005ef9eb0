//! One step: the rows of the active answers, and the distribution of their outputs.

use std::sync::Arc;

use honelm_backend::{Batch, SequenceId, Ticket};
use honelm_model::{ModelError, StepOutput};

use super::flights::Flight;
use super::loss::is_loss;
use super::{AnswerId, Clock, Driver, Event};
use crate::answer::{Answer, Outputs, Readiness};
use crate::speculative::is_shortage;
use crate::{EngineError, Update};

/// The largest number of steps in flight. A sequence with a sliding window can lose as many tokens without being computed again.
const MOST_IN_FLIGHT: usize = 8;

/// The rows of one answer in a step.
pub(super) struct Part {
    answer: AnswerId,
    /// The sequence of the rows. If the answer has another one by now, they are not its own any more.
    sequence: SequenceId,
    rows: usize,
    /// The number of the last row in the step.
    last: u32,
    /// `true` for rows of a prompt.
    prefills: bool,
    /// `true` if a draft is among the rows.
    verifies: bool,
    /// The number of rows that requested logits.
    logits: usize,
    /// The number of rows that requested a sampled token.
    sampled: usize,
    /// The number of rows that requested hidden states.
    hidden: usize,
}

impl Part {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns `true` for the rows of an answer that still wants their outputs.
    pub fn is_of(&self, answer: &Answer) -> bool {
        answer.id == self.answer && answer.sequence == Some(self.sequence)
    }
}

impl Driver {
    /// Admits and ends answers, or submits the next steps and takes the outputs of the first of them.
    pub(super) async fn advance(&mut self, clock: Clock<'_>) -> Vec<(AnswerId, Event)> {
        let mut events = Vec::new();
        self.expire(clock(), &mut events);
        if self.lost.is_none() {
            self.admit(&mut events);
        }
        if !events.is_empty() || self.lost.is_some() {
            return events;
        }
        self.submit_steps(clock, &mut events).await;
        if let Some((flight, output)) = self.flights.next().await {
            let now = clock();
            let seconds = self.flights.seconds(&flight, now);
            match output {
                Ok(output) => {
                    self.distribute(&flight.parts, &output, now, &mut events);
                    if flight.parts.iter().all(|part| !part.prefills) {
                        let rows = flight.parts.iter().map(|part| part.rows).sum();
                        self.speculation.measured(flight.parts.len(), rows, seconds);
                    }
                }
                Err(error) => self.fail_parts(&flight.parts, error, &mut events),
            }
        }
        events
    }

    /// Submits steps until the device has enough of them, or an answer has to see the outputs of one first.
    async fn submit_steps(&mut self, clock: Clock<'_>, events: &mut Vec<(AnswerId, Event)>) {
        let wanted = self.options.steps_in_flight.unwrap_or_else(|| self.runner.steps_in_flight());
        let most = wanted.min(MOST_IN_FLIGHT);
        self.counts.discarded += self.flights.discard(&self.active);
        while self.flights.is_empty() || (self.flights.len() < most && !self.wants_drafts()) {
            if self.flights.is_empty() {
                self.propose(clock).await;
            }
            let begun = clock();
            let Some((ticket, parts)) = self.begin_step(events) else { return };
            // Beside the work of the device.
            self.prepare(&parts);
            self.counts.waits += u64::from(self.flights.is_empty());
            self.flights.push(Flight { parts, read: self.runner.read(ticket), begun });
        }
    }

    /// Starts a step for the active answers. If memory is short, makes room and tries again, but not while a step in flight can
    /// still end answers.
    fn begin_step(&mut self, events: &mut Vec<(AnswerId, Event)>) -> Option<(Ticket, Vec<Part>)> {
        loop {
            if self.active.iter().any(|answer| answer.readiness() == Readiness::Waits) {
                return None;
            }
            let (batch, parts) = self.plan();
            if parts.is_empty() {
                return None;
            }
            match self.runner.step(&batch) {
                Ok(ticket) => {
                    self.counts.steps += 1;
                    self.counts.rows += batch.rows() as u64;
                    self.note_planned(ticket, &parts);
                    return Some((ticket, parts));
                }
                Err(error) if is_shortage(&error) && !self.flights.is_empty() => return None,
                // A draft is not worth a prefix or another answer's pages.
                Err(error) if is_shortage(&error) && self.drop_drafts() => {}
                Err(error) if is_shortage(&error) => {
                    if let Err(error) = self.relieve(error) {
                        // Only one answer is left, and nothing else holds memory.
                        let answer = self.active.pop()?;
                        self.fail(&answer, error, events);
                    }
                }
                Err(error) => {
                    self.fail_parts(&parts, error, events);
                    return None;
                }
            }
        }
    }

    /// Notes the rows of a step that was submitted.
    fn note_planned(&mut self, ticket: Ticket, parts: &[Part]) {
        for part in parts {
            if let Some(answer) = self.active.iter_mut().find(|answer| answer.id == part.answer) {
                answer.served = self.counts.steps;
                answer.planned += part.rows;
                answer.last_drawn = (part.sampled > 0 && !part.verifies).then_some((ticket, part.last));
            }
        }
    }

    /// Gives back pages: of unused prefixes first, then of the draft model, then of the least important answer. Returns the shortage if there is
    /// nothing to give back.
    fn relieve(&mut self, shortage: ModelError) -> Result<(), EngineError> {
        if self.evict(None)? || self.press()? {
            return Ok(());
        }
        if self.active.len() > 1 && self.preempt_below(None)? {
            return Ok(());
        }
        Err(shortage.into())
    }

    /// Collects the next rows: one of each answer that is being written, then those of prompts.
    fn plan(&self) -> (Batch, Vec<Part>) {
        let mut batch = Batch::default();
        let mut parts = Vec::new();
        let most = self.runner.step_rows().max(1);
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        order.sort_by_key(|&i| {
            let answer = &self.active[i];
            (answer.prefills(), std::cmp::Reverse(answer.request.priority), answer.served, answer.id)
        });
        let writes = order.iter().any(|&i| !self.active[i].prefills());
        let alone = self.options.prefill_rows.max(1);
        let mut left = if writes { self.options.prefill_rows_beside.clamp(1, alone) } else { alone };
        for i in order {
            let answer = &self.active[i];
            let Some(sequence) = answer.sequence.filter(|_| answer.readiness() == Readiness::Ready) else { continue };
            let mut room = most - batch.rows().min(most);
            if answer.prefills() {
                room = room.min(left);
            }
            let waits = answer.rows_at_once() > room && batch.rows() > 0;
            if room == 0 || waits {
                continue;
            }
            let start = batch.rows();
            let verifies = answer.plan(sequence, &mut batch, room);
            let wants = &batch.want[start..];
            let part = Part {
                answer: answer.id,
                sequence,
                rows: wants.len(),
                last: (batch.rows() - 1) as u32,
                prefills: answer.prefills(),
                verifies,
                logits: wants.iter().filter(|want| want.logits).count(),
                sampled: wants.iter().filter(|want| want.sample.is_some()).count(),
                hidden: wants.iter().filter(|want| want.hidden).count(),
            };
            if answer.prefills() {
                left -= part.rows.min(left);
            }
            parts.push(part);
        }
        (batch, parts)
    }

    /// Computes the masks of the tokens that the parts of a step draw.
    fn prepare(&mut self, parts: &[Part]) {
        for part in parts.iter().filter(|part| part.logits > 0) {
            if let Some(answer) = self.active.iter_mut().find(|answer| answer.id == part.answer) {
                answer.prepare();
            }
        }
    }

    /// Passes the outputs of a step to its answers.
    fn distribute(&mut self, parts: &[Part], output: &StepOutput, now: f64, events: &mut Vec<(AnswerId, Event)>) {
        let mut logits = output.logits.iter_rows();
        let mut hidden = output.hidden.iter_rows();
        let mut sampled = &output.sampled[..];
        for part in parts {
            let own_logits: Vec<&[f32]> = logits.by_ref().take(part.logits).collect();
            let own_hidden: Vec<&[f32]> = hidden.by_ref().take(part.hidden).collect();
            let (own_sampled, rest) = sampled.split_at(part.sampled.min(sampled.len()));
            sampled = rest;
            let Some(at) = self.active.iter().position(|answer| part.is_of(answer)) else {
                self.counts.discarded += part.rows as u64;
                continue;
            };
            let answer = &mut self.active[at];
            let outputs = Outputs { logits: &own_logits, sampled: own_sampled, hidden: &own_hidden };
            let on_update = &mut |update: Update| events.push((part.answer, Event::Update(update)));
            let taken = answer.take((part.rows, part.verifies), &outputs, now, on_update).and_then(|next| {
                self.speculation.observe(part.answer, &next.verified, &next.drawn);
                if let (Some(path), Some(sequence)) = (&next.accepted, answer.sequence) {
                    self.runner.accept(sequence, path)?;
                }
                if let (Some(keep), Some(sequence)) = (next.keep, answer.sequence) {
                    answer.land(self.runner.truncate(sequence, keep)?.len);
                } else if part.verifies {
                    answer.land(answer.computed);
                }
                Ok(next.end)
            });
            match taken {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    let answer = self.active.remove(at);
                    self.end(answer, reason, now, events);
                }
                Err(error) => {
                    let answer = self.active.remove(at);
                    self.fail(&answer, error, events);
                }
            }
        }
    }

    /// Ends the answers of a step that failed. If it failed because the device is gone, they wait where they may.
    fn fail_parts(&mut self, parts: &[Part], error: ModelError, events: &mut Vec<(AnswerId, Event)>) {
        if self.options.survives_loss && is_loss(&error) {
            self.lose(error);
            return;
        }
        let shared = Arc::new(error);
        for part in parts {
            let Some(at) = self.active.iter().position(|answer| part.is_of(answer)) else { continue };
            let answer = self.active.remove(at);
            self.fail(&answer, EngineError::Step(Arc::clone(&shared)), events);
        }
    }
}
