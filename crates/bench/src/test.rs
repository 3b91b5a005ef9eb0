use std::fmt;
use std::time::Instant;

use honelm_backend::{Batch, Parent, SequenceId, Token, Want, block_on};
use honelm_model::Runner;
use serde::Serialize;

use crate::BenchError;

/// The rows of a decoding step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "count", rename_all = "lowercase")]
pub enum Rows {
    /// The next row of each of so many sequences, as when several answers are generated.
    Sequences(usize),
    /// So many rows of one sequence, of which the first is kept, as when a draft is verified.
    Draft(usize),
}

impl Rows {
    /// Returns the number of rows.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Sequences(n) | Self::Draft(n) => n,
        }
    }
}

/// A test of a model's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Test {
    /// The number of prompt tokens to prefill, which is timed.
    pub prompt: usize,
    /// The number of decoding steps, which are timed.
    pub generate: usize,
    /// The number of tokens that are cached before the timing begins.
    pub depth: usize,
    /// The maximum number of rows in a prefill step.
    pub batch: usize,
    /// The rows of a decoding step.
    pub rows: Rows,
}

impl Test {
    /// Returns a test of one sequence without cached tokens.
    #[must_use]
    pub fn new(prompt: usize, generate: usize, batch: usize) -> Self {
        Self { prompt, generate, depth: 0, batch, rows: Rows::Sequences(1) }
    }

    /// Returns the number of tokens that are timed.
    fn tokens(self) -> usize {
        let sequences = if let Rows::Sequences(n) = self.rows { n } else { 1 };
        sequences * self.prompt + self.rows.count() * self.generate
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.generate) {
            (p, 0) => write!(f, "pp{p}")?,
            (0, n) => write!(f, "tg{n}")?,
            (p, n) => write!(f, "pp{p}+tg{n}")?,
        }
        match self.rows {
            Rows::Sequences(1) => {}
            Rows::Sequences(n) => write!(f, "x{n}")?,
            Rows::Draft(n) => write!(f, "/draft{n}")?,
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
    Ok(in_turns(runner, &[test], repeats, least, progress)?.swap_remove(0))
}

/// Runs several tests as [`run_for`] does, a repeat of each in turn, so that all see the same machine. `progress` is called
/// after each round.
///
/// # Errors
/// As [`run`].
pub fn in_turns(
    runner: &mut dyn Runner,
    tests: &[Test],
    repeats: usize,
    least: f64,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Measurement>, BenchError> {
    for test in tests {
        if (test.prompt, test.generate) == (0, 0) || test.batch == 0 || test.rows.count() == 0 || repeats == 0 {
            return Err(BenchError::EmptyTest);
        }
        // The rows of a draft are cached until it is cut.
        let draft = if let Rows::Draft(n) = test.rows { n - 1 } else { 0 };
        let sizes = [test.prompt, test.generate, test.depth, draft];
        let wanted = sizes.into_iter().fold(0, usize::saturating_add);
        if wanted > runner.context() {
            return Err(BenchError::ContextTooShort { test: test.to_string(), wanted, context: runner.context() });
        }
    }
    let mut seconds = vec![Vec::new(); tests.len()];
    for repeat in 0.. {
        for (test, seconds) in tests.iter().zip(&mut seconds) {
            let elapsed = once(runner, *test)?;
            if repeat > 0 {
                seconds.push(elapsed);
            }
        }
        if !progress(repeat) {
            return Err(BenchError::Interrupted);
        }
        let shortest = seconds.iter().map(|s| s.iter().sum::<f64>()).fold(f64::INFINITY, f64::min);
        if repeat >= repeats && shortest >= least {
            break;
        }
    }
    Ok(tests.iter().zip(seconds).map(|(test, seconds)| Measurement::new(*test, seconds)).collect())
}

impl Measurement {
    fn new(test: Test, seconds: Vec<f64>) -> Self {
        let rates: Vec<f64> = seconds.iter().map(|s| test.tokens() as f64 / s).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (rates.len() as f64 - 1.0).max(1.0);
        Self {
            test: test.to_string(),
            what: test,
            seconds,
            tokens_per_second: mean,
            tokens_per_second_stddev: variance.sqrt(),
        }
    }

    /// Returns the shortest time of a decoding step in seconds, the least disturbed by other programs; `None` if the test
    /// prefills as well.
    #[must_use]
    pub fn step_seconds(&self) -> Option<f64> {
        let shortest = self.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        (self.what.prompt == 0 && shortest.is_finite()).then(|| shortest / self.what.generate as f64)
    }
}

fn once(runner: &mut dyn Runner, test: Test) -> Result<f64, BenchError> {
    let count = if let Rows::Sequences(n) = test.rows { n } else { 1 };
    let sequences: Vec<SequenceId> = (0..count).map(|_| runner.open()).collect();
    let result = timed(runner, &sequences, test);
    for sequence in sequences {
        runner.close(sequence)?;
    }
    result
}

fn timed(runner: &mut dyn Runner, sequences: &[SequenceId], test: Test) -> Result<f64, BenchError> {
    let vocabulary = runner.facts().vocabulary;
    for &sequence in sequences {
        prefill(runner, sequence, &tokens(vocabulary, test.depth, 1), test.batch)?;
    }
    let begin = Instant::now();
    for &sequence in sequences {
        prefill(runner, sequence, &tokens(vocabulary, test.prompt, 2), test.batch)?;
    }
    let count = test.rows.count();
    let drawn = tokens(vocabulary, test.generate * count, 3);
    for (i, tokens) in drawn.chunks_exact(count).enumerate() {
        let mut step = Batch::default();
        for (&token, &sequence) in tokens.iter().zip(sequences.iter().cycle()) {
            step.push(sequence, Token::Id(token), Parent::Previous, Want::LOGITS);
        }
        let ticket = runner.step(&step)?;
        block_on(runner.read(ticket))?;
        if let Rows::Draft(2..) = test.rows {
            runner.truncate(sequences[0], test.depth + test.prompt + i + 1)?;
        }
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
