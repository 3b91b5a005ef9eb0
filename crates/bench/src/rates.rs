use std::time::{Duration, Instant};

use honelm_model::Runner;
use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::test::{prefill, tokens};

/// Tokens of the prompt that is timed.
const PROMPT: usize = 128;
/// Tokens that are decoded, or fewer where that takes longer than [`LONG_ENOUGH`].
const DECODE: usize = 32;
/// Decoding that is not counted: it may still build kernels.
const WARM_UP: usize = 2;
const LONG_ENOUGH: Duration = Duration::from_millis(500);

/// What a short trial of a loaded model found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Prefill of 128 tokens, or of as many as leave room in a short context.
    pub prefill_tokens_per_second: f64,
    /// Decoding of one sequence after that prompt.
    pub decode_tokens_per_second: f64,
}

impl Rates {
    /// Context that a trial needs at most, in tokens.
    pub const CONTEXT: usize = PROMPT + WARM_UP + DECODE;

    /// Tries `runner` out, for a second or a few tokens.
    ///
    /// # Errors
    /// A context without room for a token after a prompt; whatever stops the device.
    pub fn measure(runner: &mut dyn Runner) -> Result<Self, BenchError> {
        let context = runner.context();
        let prompt = PROMPT.min(context / 2);
        let decode = DECODE.min(context.saturating_sub(prompt + WARM_UP));
        if prompt == 0 || decode == 0 {
            return Err(BenchError::ContextTooShort { test: "a trial".to_owned(), wanted: 2 * (WARM_UP + 1), context });
        }
        once(runner, prompt, 1)?;
        once(runner, prompt, decode)
    }

    /// Seconds that a prompt of `prompt` tokens and an answer of `answer` take.
    #[must_use]
    pub fn seconds(&self, prompt: usize, answer: usize) -> f64 {
        prompt as f64 / self.prefill_tokens_per_second + answer as f64 / self.decode_tokens_per_second
    }
}

fn once(runner: &mut dyn Runner, prompt: usize, decode: usize) -> Result<Rates, BenchError> {
    let vocabulary = runner.facts().vocabulary;
    let sequence = runner.open();
    let mut timed = || -> Result<Rates, BenchError> {
        let begin = Instant::now();
        prefill(runner, sequence, &tokens(vocabulary, prompt, 1), prompt)?;
        let prefilled = begin.elapsed().as_secs_f64();
        for token in tokens(vocabulary, WARM_UP, 2) {
            prefill(runner, sequence, &[token], 1)?;
        }
        let (begin, mut count) = (Instant::now(), 0);
        for token in tokens(vocabulary, decode, 3) {
            prefill(runner, sequence, &[token], 1)?;
            count += 1;
            if begin.elapsed() >= LONG_ENOUGH {
                break;
            }
        }
        Ok(Rates {
            prefill_tokens_per_second: prompt as f64 / prefilled,
            decode_tokens_per_second: f64::from(count) / begin.elapsed().as_secs_f64(),
        })
    };
    let result = timed();
    runner.close(sequence)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_takes_its_prompt_and_its_answer() {
        let rates = Rates { prefill_tokens_per_second: 100.0, decode_tokens_per_second: 10.0 };
        assert!((rates.seconds(200, 50) - 7.0).abs() < 1e-12);
    }
}
