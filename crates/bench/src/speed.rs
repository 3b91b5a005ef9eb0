use std::time::Instant;

use honelm_model::Runner;
use serde::{Deserialize, Serialize};

use crate::test::{prefill, tokens};
use crate::{BenchError, Test, peak_memory_bytes, run};

/// Tokens of the prompt whose first answer token is timed.
const FIRST_TOKEN_PROMPT: usize = 128;
/// Tokens decoded.
const DECODE: usize = 64;
/// Rows of a prefill step.
const BATCH: usize = 512;
const REPEATS: usize = 3;

/// How fast and large a loaded model is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Opening and loading, the file warm in the page cache.
    pub load_seconds: f64,
    /// Prefill of 512 tokens (of as many as fit in a short context).
    pub prefill_tokens_per_second: f64,
    /// Decoding of 64 tokens, one sequence.
    pub decode_tokens_per_second: f64,
    /// From a 128-token prompt to the first answer token.
    pub first_token_seconds: f64,
    /// Largest resident memory of the process; `None` where the platform does not say.
    pub peak_memory_bytes: Option<u64>,
}

impl Speed {
    /// Measures `runner`, which took `load_seconds` to load, in a process that did nothing else.
    pub fn measure(runner: &mut dyn Runner, load_seconds: f64) -> Result<Self, BenchError> {
        let context = runner.context();
        let prompt = 512.min(context);
        let generate = DECODE.min(context);
        let quiet = &mut |_| true;
        let batch = BATCH.min(runner.step_rows());
        let test = |prompt, generate| Test { prompt, generate, depth: 0, batch };
        let prefilled = run(runner, test(prompt, 0), REPEATS, quiet)?;
        let decoded = run(runner, test(0, generate), REPEATS, quiet)?;
        Ok(Self {
            load_seconds,
            prefill_tokens_per_second: prefilled.tokens_per_second,
            decode_tokens_per_second: decoded.tokens_per_second,
            first_token_seconds: first_token(runner, FIRST_TOKEN_PROMPT.min(context))?,
            peak_memory_bytes: peak_memory_bytes(),
        })
    }
}

/// Median over the repeats.
fn first_token(runner: &mut dyn Runner, prompt: usize) -> Result<f64, BenchError> {
    let ids = tokens(runner.facts().vocabulary, prompt, 4);
    let batch = BATCH.min(runner.step_rows());
    let mut seconds = Vec::new();
    for _ in 0..REPEATS {
        let sequence = runner.open();
        let begin = Instant::now();
        let logits = prefill(runner, sequence, &ids, batch)?;
        std::hint::black_box(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        seconds.push(begin.elapsed().as_secs_f64());
        runner.close(sequence)?;
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[REPEATS / 2])
}
