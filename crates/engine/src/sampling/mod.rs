//! The changes of logits before a token is drawn, in this order: bias, repeat penalty, frequency and presence penalty.
//! [`honelm_backend::choose`] then applies temperature, top-k, top-p and min-p. Each change is a pure function.

mod bias;
mod logprobs;
mod penalties;

pub use bias::add_bias;
pub use logprobs::{log_total, token_logprobs};
pub use penalties::{penalize_frequency_and_presence, penalize_repeats};
