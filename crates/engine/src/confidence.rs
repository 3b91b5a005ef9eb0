//! The confidence of a model in an answer that it has not written yet.

use std::collections::BTreeMap;

use honelm_text::Message;

use crate::{Cancel, ChatAsk, Clock, Completion, Driver, EngineError, Generation, LoadedModel, Request};

/// Two short answers that are drawn to see if they agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Samples {
    /// The largest number of tokens of each, at least 1.
    pub tokens: usize,
    /// The temperature of the draws, above 0.
    pub temperature: f32,
}

impl Default for Samples {
    /// 16 tokens at temperature 0.7, that of self-consistency (Wang et al. 2022, arXiv 2203.11171).
    fn default() -> Self {
        Self { tokens: 16, temperature: 0.7 }
    }
}

impl Samples {
    /// Returns the settings of the first and of the second sample, or of the single token that is drawn without samples. They
    /// differ from `how` in the number of tokens, the temperature and the number of the sequence.
    #[must_use]
    pub fn settings(samples: Option<Self>, how: &Generation) -> Vec<Generation> {
        let Some(Self { tokens, temperature }) = samples else {
            return vec![Generation { max_tokens: 1, temperature: 0.0, logprobs: None, ..how.clone() }];
        };
        let one = |stream| Generation { max_tokens: tokens.max(1), temperature, stream, ..how.clone() };
        vec![one(0), one(1)]
    }
}

/// The agreement of two samples, and what they cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// The share of tokens that the samples have in common, 0 to 1: twice the common ones, each as often as it occurs in both, divided by
    /// the tokens of both. It is 1 for two empty samples.
    pub share: f32,
    /// The number of tokens of both samples.
    pub tokens: usize,
    /// The time from the first token to the end of the samples, in seconds.
    pub seconds: f64,
}

impl Agreement {
    /// Compares the tokens of two samples that took `seconds`.
    #[must_use]
    pub fn of(a: &[u32], b: &[u32], seconds: f64) -> Self {
        let tokens = a.len() + b.len();
        let mut counts = BTreeMap::new();
        a.iter().for_each(|id| *counts.entry(*id).or_insert(0usize) += 1);
        let mut taken = |id: &&u32| {
            let count = counts.get_mut(*id).filter(|count| **count > 0);
            count.is_some_and(|count| {
                *count -= 1;
                true
            })
        };
        let common = b.iter().filter(|id| taken(id)).count();
        let share = if tokens == 0 { 1.0 } else { 2.0 * common as f32 / tokens as f32 };
        Self { share, tokens, seconds }
    }
}

/// The distribution of the first token of an answer, before bias, penalties, temperature and grammar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// The probability of the most likely token, 0 to 1.
    pub top_probability: f32,
    /// That probability minus the one of the second token, 0 to 1.
    pub margin: f32,
    /// The entropy in nats.
    pub entropy: f32,
    /// The agreement of two samples, if they were drawn.
    pub agreement: Option<Agreement>,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// The number of those that were cached before.
    pub cached_tokens: usize,
    /// The time from the request to the first token, in seconds.
    pub seconds: f64,
}

impl Confidence {
    /// Computes the distribution's figures from finite or minus infinite logits. // `[V]`
    pub(crate) fn of_logits(logits: &[f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut total, mut weighted, mut best) = (0.0f64, 0.0f64, [0.0f64; 2]);
        for &logit in logits.iter().filter(|logit| **logit > f32::NEG_INFINITY) {
            let below = f64::from(logit - max);
            let weight = below.exp();
            total += weight;
            weighted += weight * below;
            if weight > best[0] {
                best = [weight, best[0]];
            } else if weight > best[1] {
                best[1] = weight;
            }
        }
        // H = ln Z - sum w ln w / Z, with weights relative to the largest.
        let entropy = if total > 0.0 { (total.ln() - weighted / total).max(0.0) } else { 0.0 };
        let share = |weight: f64| if total > 0.0 { (weight / total) as f32 } else { 0.0 };
        Self {
            top_probability: share(best[0]),
            margin: share(best[0] - best[1]),
            entropy: entropy as f32,
            agreement: None,
            prompt_tokens: 0,
            cached_tokens: 0,
            seconds: 0.0,
        }
    }

    /// Adds the agreement of the samples that `done` are, if there are two.
    #[must_use]
    pub fn with_samples(self, done: &[Completion]) -> Self {
        let [a, b] = done else { return self };
        let seconds = a.decode_seconds + b.first_token_seconds + b.decode_seconds;
        Self { agreement: Some(Agreement::of(&a.token_ids, &b.token_ids, seconds)), ..self }
    }
}

impl Driver {
    /// Reads a prompt and returns the model's confidence in the first token of the answer, and if wanted the agreement of two samples.
    /// The prompt stays cached, so that the answer that follows computes only its last token again. `None` if the request was cancelled.
    ///
    /// # Errors
    /// As [`Driver::complete`].
    pub async fn confidence(
        &mut self,
        request: Request,
        samples: Option<Samples>,
        clock: Clock<'_>,
    ) -> Result<Option<Confidence>, EngineError> {
        let mut done = Vec::new();
        for how in Samples::settings(samples, &request.how) {
            let request = Request { how, confidence: true, ..request.clone() };
            done.push(self.complete(request, clock, &mut |_| ()).await?);
        }
        let first = done.first().and_then(|first| first.confidence.as_deref().copied());
        Ok(first.filter(|_| !request.cancel.is_cancelled()).map(|found| found.with_samples(&done)))
    }
}

impl LoadedModel {
    /// As [`Driver::confidence`], for the answer to messages.
    ///
    /// # Errors
    /// As [`LoadedModel::chat_request`] and [`Driver::complete`].
    pub async fn confidence(
        &mut self,
        messages: &[Message],
        ask: &ChatAsk,
        samples: Option<Samples>,
        cancel: &Cancel,
        clock: Clock<'_>,
    ) -> Result<Option<Confidence>, EngineError> {
        let request = self.chat_request(messages, ask)?.with_cancel(cancel);
        self.driver().confidence(request, samples, clock).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_softmax() {
        // softmax([ln 1, ln 2, ln 4, ln 1] + c) = [1, 2, 4, 1] / 8.
        let p = [0.125f32, 0.25, 0.5, 0.125];
        let found = Confidence::of_logits(&[1f32, 2.0, 4.0, 1.0].map(|w| w.ln() - 80.0));
        let entropy: f32 = -p.iter().map(|p| p * p.ln()).sum::<f32>();
        assert!((found.top_probability - 0.5).abs() < 1e-6 && (found.margin - 0.25).abs() < 1e-6, "{found:?}");
        assert!((found.entropy - entropy).abs() < 1e-5, "{found:?}");
        let certain = Confidence::of_logits(&[f32::NEG_INFINITY, 3.0, f32::NEG_INFINITY]);
        assert_eq!((certain.top_probability, certain.margin, certain.entropy), (1.0, 1.0, 0.0));
        let equal = Confidence::of_logits(&[5.0; 4]);
        assert_eq!((equal.top_probability, equal.margin), (0.25, 0.0));
    }

    #[test]
    fn agreement_counts_common_tokens_once_each() {
        let share = |a: &[u32], b: &[u32]| Agreement::of(a, b, 0.0).share;
        assert_eq!(share(&[1, 2, 3], &[3, 2, 1]), 1.0);
        assert_eq!(share(&[1, 1, 1, 1], &[1, 2, 3, 4]), 0.25);
        assert_eq!(share(&[1, 2], &[3]), 0.0);
        assert_eq!((share(&[], &[]), share(&[], &[1])), (1.0, 0.0));
        assert_eq!(Agreement::of(&[1, 2], &[3], 0.5), Agreement { share: 0.0, tokens: 3, seconds: 0.5 });
    }
}
