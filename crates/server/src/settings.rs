//! The settings of an answer as requests give them: what a request leaves out is the model's own.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use honelm_engine::Generation;

use crate::ApiError;
use crate::config::Limits;
use crate::model::ModelCard;

/// The settings that a request can give.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The most tokens of the answer; the rest of the context by default. More than the context holds counts as all of it.
    pub max_tokens: Option<usize>,
    /// See [`Generation::temperature`].
    pub temperature: Option<f32>,
    /// See [`Generation::top_k`].
    pub top_k: Option<u32>,
    /// See [`Generation::top_p`].
    pub top_p: Option<f32>,
    /// See [`Generation::min_p`].
    pub min_p: Option<f32>,
    /// See [`Generation::repeat_penalty`].
    pub repeat_penalty: Option<f32>,
    /// See [`Generation::repeat_last_n`].
    pub repeat_last_n: Option<usize>,
    /// See [`Generation::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
    /// See [`Generation::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// The seed; a negative one, or none, is a new seed each time.
    pub seed: Option<i64>,
    /// Stop texts, in addition to the model's own.
    pub stop: Vec<String>,
    /// The amounts added to the logits of tokens.
    pub logit_bias: BTreeMap<u32, f32>,
    /// The number of most likely tokens that are returned with each token of the answer.
    pub logprobs: Option<usize>,
    /// See [`Generation::ignore_eos`].
    pub ignore_eos: bool,
}

impl Settings {
    /// Returns the settings for a model.
    ///
    /// # Errors
    /// 400 for more stop texts, biases or log-probabilities than the server allows.
    pub fn generation(self, model: &ModelCard, limits: &Limits) -> Result<Generation, ApiError> {
        let most = [
            ("stop", self.stop.len(), limits.stops, "texts"),
            ("stop", self.stop.iter().map(String::len).max().unwrap_or(0), limits.stop_bytes, "bytes of a text"),
            ("logit_bias", self.logit_bias.len(), limits.logit_biases, "tokens"),
            ("top_logprobs", self.logprobs.unwrap_or(0), limits.logprobs, "tokens"),
        ];
        for (param, found, limit, what) in most {
            if found > limit {
                return Err(ApiError::invalid(param, format!("found {found} {what}, expected at most {limit}")));
            }
        }
        let mut how = model.generation.clone();
        how.max_tokens =
            self.max_tokens.unwrap_or(usize::MAX).min(limits.answer_tokens.unwrap_or(usize::MAX)).min(model.context);
        how.temperature = self.temperature.unwrap_or(how.temperature);
        how.top_k = self.top_k.unwrap_or(how.top_k);
        how.top_p = self.top_p.unwrap_or(how.top_p);
        how.min_p = self.min_p.unwrap_or(how.min_p);
        how.repeat_penalty = self.repeat_penalty.unwrap_or(how.repeat_penalty);
        how.repeat_last_n = self.repeat_last_n.unwrap_or(how.repeat_last_n);
        how.frequency_penalty = self.frequency_penalty.unwrap_or(how.frequency_penalty);
        how.presence_penalty = self.presence_penalty.unwrap_or(how.presence_penalty);
        how.seed = self.seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or_else(new_seed);
        if self.ignore_eos {
            how = how.without_ends();
        }
        how.stop.extend(self.stop.into_iter().filter(|text| !text.is_empty()));
        how.logit_bias = self.logit_bias;
        how.logprobs = self.logprobs;
        how.check(model.vocabulary, model.context)?;
        Ok(how)
    }
}

/// Returns a seed that no earlier answer of this process had.
fn new_seed() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64 ^ u64::from(std::process::id()) << 32).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
}
