//! Answers that go on from tokens that were drawn before, and the drafts of their next tokens.

use super::Answer;
use crate::constraint::has_ended;
use crate::request::shift;
use crate::speculative::{Ask, Draft};
use crate::{EngineError, Overflow, Speculate};

impl Answer {
    /// Takes the tokens that the answer drew before, as if it had drawn them now.
    pub(super) fn resume(&mut self, begun: &[u32]) -> Result<(), EngineError> {
        for &token in begun {
            let ends = self.ends.contains(&token);
            if !ends {
                self.add(token, None, &mut |_| ());
            }
            if ends || self.stream.has_ended() || has_ended(&mut self.grammar, token)? {
                let (name, found) = ("begun", "tokens that end the answer".to_owned());
                return Err(EngineError::InvalidSetting {
                    name,
                    found,
                    expected: "the tokens of an answer that goes on",
                });
            }
            if self.tokens.len() > self.context {
                let (tokens, context) = (self.tokens.len(), self.context);
                match self.how().overflow {
                    Overflow::Stop => return Err(EngineError::PromptTooLong { tokens, context }),
                    Overflow::Shift { keep } => self.shift(keep),
                }
            }
        }
        Ok(())
    }

    /// Drops tokens from the start, because the context is full.
    pub(super) fn shift(&mut self, keep: usize) {
        shift(&mut self.tokens, keep);
        self.shifts += 1;
    }

    /// Returns the largest depth of a draft: the last token of the answer and the one that fills the context are drawn without
    /// one.
    pub(super) fn most_drafted(&self) -> usize {
        let left = self.how().max_tokens.saturating_sub(self.token_ids.len());
        left.saturating_sub(1).min(self.context.saturating_sub(self.tokens.len()))
    }

    /// Returns what a draft may be for the next step; `None` if there can be none. `default` is the driver's setting.
    pub fn ask(&self, default: Speculate) -> Option<Ask<'_>> {
        let left = self.how().max_tokens.saturating_sub(self.token_ids.len());
        let most = self.most_drafted();
        let ask = Ask {
            id: self.id,
            how: self.request.speculate.unwrap_or(default),
            history: &self.history,
            tokens: &self.tokens,
            most,
            left,
            sampling: self.sampling(),
        };
        (most > 0 && self.drawn > 0 && !self.prefills()).then_some(ask)
    }

    /// Sets the draft of the next step: that of the request once only the last token is missing, or none.
    pub fn reset_draft(&mut self) {
        let given = if self.missing() == 1 { std::mem::take(&mut self.given) } else { Draft::default() };
        self.set_draft(given);
    }

    /// Sets the draft of the next step, without the tokens that the grammar rules out.
    pub fn set_draft(&mut self, mut draft: Draft) {
        if let Some(grammar) = &mut self.grammar {
            draft.cut(|path| grammar.accepts(path).unwrap_or(0));
        }
        self.draft = draft;
    }
}
