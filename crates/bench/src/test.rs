use std::fmt;
use std::time::Instant;

use honelm_backend::{Batch, Parent, SequenceId, Token, Want, block_on};
use honelm_model::Runner;
use serde::Serialize;

use crate::BenchError;

/// A test of a model's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Test {
    /// The number of prompt tokens to prefill, which is timed.
    pub prompt: usize,
    /// The number of tokens to decode one by one, which is timed.
    pub generate: usize,
    /// The number of tokens that are cached before the timing begins.
    pub depth: usize,
    /// The maximum number of rows in a prefill step.
    pub batch: usize,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.generate) {
            (p, 0) => write!(f, "pp{p}")?,
            (0, n) => write!(f, "tg{n}")?,
            (p, n) => write!(f, "pp{p}+tg{n}")?,
        }
        if self.depth > 0 { write!(f, "@d{}", self.depth) } else { Ok(()) }
    }
}

/// The results of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The name in the style of llama-bench: `pp512`, `tg64@d1024`.
    pub test: String,
    /// The test.
    #[serde(flatten)]
    pub what: Test,
    /// The time of each repeat in seconds.
    pub seconds: Vec<f64>,
    /// The mean of the repeats' rates.
    pub tokens_per_second: f64,
    /// The standard deviation of the repeats' rates.
    pub tokens_per_second_stddev: f64,
}

/// Runs a test `repeats` times after a warm-up, which is not counted. `progress` is called after every repeat, with its
/// number, and stops the test by returning `false`.
///
/// # Errors
/// An empty test, a context that is too short, an error of the model, [`BenchError::Interrupted`].
pub fn run(
    runner: &mut dyn Runner,
    test: Test,
    repeats: usize,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Measurement, BenchError> {
    run_for(runner, test, repeats, 0.0, progress)
}

/// Runs a test as [`run`] does, at least `repeats` times and until the counted ones have taken `least` seconds together.
///
/// # Errors
/// As [`run`].
pub fn run_for(
    runner: &mut dyn Runner,
    test: Test,
    repeats: usize,
    least: f64,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Measurement, BenchError> {
    if (test.prompt, test.generate) == (0, 0) || test.batch == 0 || repeats == 0 {
        return Err(BenchError::EmptyTest);
    }
    let wanted = test.prompt.saturating_add(test.generate).saturating_add(test.depth);
    if wanted > runner.context() {
        return Err(BenchError::ContextTooShort { test: test.to_string(), wanted, context: runner.context() });
    }
    let mut seconds = Vec::new();
    for repeat in 0.. {
        let elapsed = once(runner, test)?;
        if repeat > 0 {
            seconds.push(elapsed);
        }
        if !progress(repeat) {
            return Err(BenchError::Interrupted);
        }
        if seconds.len() >= repeats && seconds.iter().sum::<f64>() >= least {
            break;
        }
    }
    let rates: Vec<f64> = seconds.iter().map(|s| (test.prompt + test.generate) as f64 / s).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (rates.len() as f64 - 1.0).max(1.0);
    Ok(Measurement {
        test: test.to_string(),
        what: test,
        seconds,
        tokens_per_second: mean,
        tokens_per_second_stddev: variance.sqrt(),
    })
}

fn once(runner: &mut dyn Runner, test: Test) -> Result<f64, BenchError> {
    let sequence = runner.open();
    let result = timed(runner, sequence, test);
    runner.close(sequence)?;
    result
}

fn timed(runner: &mut dyn Runner, sequence: SequenceId, test: Test) -> Result<f64, BenchError> {
    let vocabulary = runner.facts().vocabulary;
    prefill(runner, sequence, &tokens(vocabulary, test.depth, 1), test.batch)?;
    let begin = Instant::now();
    prefill(runner, sequence, &tokens(vocabulary, test.prompt, 2), test.batch)?;
    for token in tokens(vocabulary, test.generate, 3) {
        prefill(runner, sequence, &[token], 1)?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Runs `tokens` at the end of a sequence with `batch` rows per step, and returns the logits of the last token.
pub(crate) fn prefill(
    runner: &mut dyn Runner,
    sequence: SequenceId,
    tokens: &[u32],
    batch: usize,
) -> Result<Vec<f32>, BenchError> {
    let mut logits = Vec::new();
    let mut left = tokens.len();
    for part in tokens.chunks(batch) {
        left -= part.len();
        let mut step = Batch::default();
        for (i, &token) in part.iter().enumerate() {
            let last = left == 0 && i + 1 == part.len();
            step.push(sequence, Token::Id(token), Parent::Previous, if last { Want::LOGITS } else { Want::NOTHING });
        }
        let ticket = runner.step(&step)?;
        logits = block_on(runner.read(ticket))?.logits.data;
    }
    Ok(logits)
}

/// Returns token ids that are the same in every run. Their values do not affect the speed.
pub(crate) fn tokens(vocabulary: usize, count: usize, seed: u64) -> Vec<u32> {
    let draw = |i: usize| honelm_backend::uniform(seed, 0, i as u64, 0) as f64;
    (0..count).map(|i| ((draw(i) * vocabulary as f64) as usize).min(vocabulary - 1) as u32).collect()
}
