use honelm_model::Runner;
use serde::{Deserialize, Serialize};

use crate::{BenchError, Test, peak_memory_bytes, run, run_for};

/// The number of tokens in the prompt whose first answer token is timed.
const FIRST_TOKEN_PROMPT: usize = 128;
/// The number of decoded tokens.
const DECODE: usize = 64;
/// The number of rows in a prefill step.
const BATCH: usize = 512;
/// The least number of repeats of a measurement.
const REPEATS: usize = 3;
/// The least time in seconds that the repeats of a decoding test take together: one repeat of a small model takes
/// milliseconds, which vary. A prefill has eight times as many tokens and less to vary.
const DECODE_SECONDS: f64 = 0.5;
const PREFILL_SECONDS: f64 = 0.25;

/// The speed and memory of a loaded model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// The time of opening and loading, with the file in the page cache.
    pub load_seconds: f64,
    /// The rate of prefilling 512 tokens, or as many as the context holds.
    pub prefill_tokens_per_second: f64,
    /// The rate of decoding 64 tokens of one sequence.
    pub decode_tokens_per_second: f64,
    /// The time from a prompt of 128 tokens to the first answer token.
    pub first_token_seconds: f64,
    /// The peak resident memory of the process; `None` if the platform does not tell.
    pub peak_memory_bytes: Option<u64>,
}

impl Speed {
    /// Measures `runner`, which took `load_seconds` to load, in a process that has done nothing else.
    ///
    /// # Errors
    /// An error of the model.
    pub fn measure(runner: &mut dyn Runner, load_seconds: f64) -> Result<Self, BenchError> {
        let context = runner.context();
        let prompt = 512.min(context);
        let generate = DECODE.min(context);
        let quiet = &mut |_| true;
        let batch = BATCH.min(runner.step_rows());
        let test = |prompt, generate| Test::new(prompt, generate, batch);
        let prefilled = run_for(runner, test(prompt, 0), REPEATS, PREFILL_SECONDS, quiet)?;
        let decoded = run_for(runner, test(0, generate), REPEATS, DECODE_SECONDS, quiet)?;
        let first = run(runner, Test::first_token(0, FIRST_TOKEN_PROMPT.min(context), batch), REPEATS, quiet)?;
        Ok(Self {
            load_seconds,
            prefill_tokens_per_second: prefilled.tokens_per_second,
            decode_tokens_per_second: decoded.tokens_per_second,
            first_token_seconds: first.quantile_seconds(0.5),
            peak_memory_bytes: peak_memory_bytes(),
        })
    }
}
