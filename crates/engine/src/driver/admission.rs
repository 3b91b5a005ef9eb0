//! Admission: sequences for waiting answers, from shared prefixes where there are any.

use honelm_backend::SequenceId;

use super::{AnswerId, Driver, Event};
use crate::prefixes::common;
use crate::{EngineError, Update};

/// The cached tokens with which a sequence can begin.
enum Source {
    /// A prefix that no answer uses, by its tokens.
    Unused(Vec<u32>),
    /// The sequence of an active answer.
    Active(SequenceId),
}

impl Driver {
    /// Ends the answers that are cancelled or late, or want no tokens.
    pub(super) fn expire(&mut self, now: f64, events: &mut Vec<(AnswerId, Event)>) {
        for of_active in [true, false] {
            let mut i = 0;
            loop {
                let answers = if of_active { &mut self.active } else { &mut self.waiting };
                let Some(answer) = answers.get(i) else { break };
                match answer.overdue(now) {
                    None => i += 1,
                    Some(reason) => {
                        let answer = answers.remove(i);
                        self.end(answer, reason, now, events);
                    }
                }
            }
        }
    }

    /// Gives sequences to waiting answers while there is room.
    pub(super) fn admit(&mut self, events: &mut Vec<(AnswerId, Event)>) {
        while let Some(first) = self.waiting.first() {
            let (id, priority) = (first.id, first.request.priority);
            let admitted = self.room_for_first().and_then(|has_room| {
                if !has_room {
                    // A lower priority gives way.
                    return Ok(self.preempt_below(Some(priority))?.then_some(()));
                }
                let mut answer = self.waiting.remove(0);
                let begun =
                    if answer.embeds() { Ok((self.runner.open(), 0)) } else { self.begin_sequence(&answer.tokens) };
                match begun {
                    Ok((sequence, computed)) => {
                        answer.sequence = Some(sequence);
                        answer.land(computed);
                        answer.served = self.counts.steps;
                        answer.cached_tokens.get_or_insert(computed);
                        let (done, total) = (computed, answer.tokens.len());
                        events.push((id, Event::Update(Update::Prefill { done, total })));
                        self.active.push(answer);
                    }
                    Err(error) => events.push((id, Event::Failed(error))),
                }
                Ok(Some(()))
            });
            match admitted {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => {
                    self.waiting.retain(|answer| answer.id != id);
                    events.push((id, Event::Failed(error)));
                }
            }
        }
    }

    /// Makes room for the first waiting answer by closing unused prefixes. Returns `false` if it has to wait.
    fn room_for_first(&mut self) -> Result<bool, EngineError> {
        if self.active.len() >= self.options.answers.max(1) {
            return Ok(false);
        }
        let Some(first) = self.waiting.first() else { return Ok(false) };
        let (tokens, embeds) = (first.tokens.clone(), first.embeds());
        let found = if embeds { None } else { self.source(&tokens) };
        let (shared, kept) = match &found {
            Some((len, Source::Unused(key))) => (*len, Some(&key[..])),
            Some((len, Source::Active(_))) => (*len, None),
            None => (0, None),
        };
        let whole = self.runner.sequence_bytes((tokens.len() + 1).min(self.runner.context()));
        let wanted = whole.saturating_sub(self.runner.sequence_bytes(shared));
        loop {
            let memory = self.runner.cache_use();
            if memory.limit.is_none_or(|limit| memory.held.saturating_add(wanted) <= limit) {
                return Ok(true);
            }
            if !self.evict(kept)? && !self.press()? {
                // Alone, an answer is always tried.
                return Ok(self.active.is_empty());
            }
        }
    }

    /// Returns the longest cached prefix of `tokens` without their last one, whose logits are needed.
    fn source(&self, tokens: &[u32]) -> Option<(usize, Source)> {
        let wanted = &tokens[..tokens.len() - 1];
        let unused = self.prefixes.longest(wanted).map(|(len, key)| (len, Source::Unused(key.to_vec())));
        let active = self.active.iter().filter_map(|answer| {
            Some((common(&answer.tokens[..answer.computed], wanted), Source::Active(answer.sequence?)))
        });
        // Of equally long ones, an unused prefix, which can perhaps be taken over.
        active.chain(unused).filter(|(len, _)| *len > 0).max_by_key(|(len, _)| *len)
    }

    /// Opens a sequence that begins with the longest cached prefix of `tokens`. Returns the number of tokens that it holds.
    fn begin_sequence(&mut self, tokens: &[u32]) -> Result<(SequenceId, usize), EngineError> {
        let Some((len, source)) = self.source(tokens) else { return Ok((self.runner.open(), 0)) };
        let of = match source {
            Source::Unused(key) if key.len() == len => {
                if let Some(sequence) = self.prefixes.take(&key) {
                    return Ok((sequence, len));
                }
                return Ok((self.runner.open(), 0));
            }
            Source::Unused(key) => self.prefixes.touch(&key),
            Source::Active(sequence) => Some(sequence),
        };
        let Some(of) = of else { return Ok((self.runner.open(), 0)) };
        let fork = self.runner.fork(of)?;
        match self.runner.truncate(fork, len) {
            // The pages of a sliding window may be gone; then nothing is left.
            Ok(kept) => Ok((fork, kept.len)),
            Err(error) => {
                self.runner.close(fork)?;
                Err(error.into())
            }
        }
    }

    /// Sets back the newest active answer of the lowest priority, if that is below `limit`. Returns `false` if there is none.
    pub(super) fn preempt_below(&mut self, limit: Option<i32>) -> Result<bool, EngineError> {
        let below =
            self.active.iter().enumerate().filter(|(_, a)| limit.is_none_or(|limit| a.request.priority < limit));
        let victim = below.min_by_key(|(_, a)| (a.request.priority, std::cmp::Reverse(a.id))).map(|(i, _)| i);
        let Some(victim) = victim else { return Ok(false) };
        let mut answer = self.active.remove(victim);
        answer.land(0);
        let closed = answer.sequence.take().map_or(Ok(()), |sequence| self.runner.close(sequence));
        self.counts.preempted += 1;
        self.wait(answer);
        Ok(closed.map(|()| true)?)
    }
}
