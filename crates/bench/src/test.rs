use std::fmt;
use std::time::Instant;

use honelm_backend::{Batch, Parent, SequenceId, Token, Want, block_on};
use honelm_model::Runner;
use serde::{Deserialize, Serialize};

use crate::{BenchError, Energy};

/// The rows of a decoding step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `true` for the time to the first token of a prompt behind [`Test::depth`] cached tokens, its greedy choice included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_token: bool,
}

impl Test {
    /// Returns a test of one sequence without cached tokens.
    #[must_use]
    pub fn new(prompt: usize, generate: usize, batch: usize) -> Self {
        Self { prompt, generate, depth: 0, batch, rows: Rows::Sequences(1), first_token: false }
    }

    /// Returns the test of the first token of a prompt behind `prefix` cached tokens.
    #[must_use]
    pub fn first_token(prefix: usize, prompt: usize, batch: usize) -> Self {
        Self { depth: prefix, first_token: true, ..Self::new(prompt, 0, batch) }
    }

    /// Returns the number of tokens that are timed.
    pub(crate) fn tokens(self) -> usize {
        let sequences = if let Rows::Sequences(n) = self.rows { n } else { 1 };
        sequences * self.prompt + self.rows.count() * self.generate
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.generate) {
            (p, 0) if self.first_token => write!(f, "ft{p}")?,
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
    /// The energy of the processor in the timed parts of all repeats; `None` where it cannot be read.
    pub joules: Option<f64>,
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
    Ok(in_turns(runner, &[test], repeats, least, None, progress)?.swap_remove(0))
}

/// Runs several tests as [`run_for`] does, a repeat of each in turn, so that all see the same machine, and reads their energy
/// from counters. `progress` is called after each round.
///
/// # Errors
/// As [`run`].
pub fn in_turns(
    runner: &mut dyn Runner,
    tests: &[Test],
    repeats: usize,
    least: f64,
    mut energy: Option<&mut Energy>,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Measurement>, BenchError> {
    for test in tests {
        if test.first_token && (test.prompt == 0 || test.generate > 0) {
            return Err(BenchError::EmptyTest);
        }
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
    let mut turns: Vec<Turn> = tests.iter().map(|test| Turn::new(*test)).collect();
    let result = rounds(runner, &mut turns, (repeats, least), &mut energy, progress);
    for turn in &turns {
        turn.prefix.map_or(Ok(()), |prefix| runner.close(prefix))?;
    }
    result?;
    Ok(turns.into_iter().map(Turn::measurement).collect())
}

/// A test and its results so far.
struct Turn {
    test: Test,
    /// The sequence with the cached tokens of a test of the first token. Every repeat begins with a copy.
    prefix: Option<SequenceId>,
    seconds: Vec<f64>,
    joules: Option<f64>,
}

/// The time and the energy of a repeat.
struct Cost {
    seconds: f64,
    joules: Option<f64>,
}

fn rounds(
    runner: &mut dyn Runner,
    turns: &mut [Turn],
    (repeats, least): (usize, f64),
    energy: &mut Option<&mut Energy>,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<(), BenchError> {
    for repeat in 0.. {
        for turn in &mut *turns {
            let cost = turn.once(runner, energy.as_deref_mut())?;
            if repeat > 0 {
                turn.seconds.push(cost.seconds);
                turn.joules = turn.joules.zip(cost.joules).map(|(sum, joules)| sum + joules);
            }
        }
        if !progress(repeat) {
            return Err(BenchError::Interrupted);
        }
        let shortest = turns.iter().map(|turn| turn.seconds.iter().sum::<f64>()).fold(f64::INFINITY, f64::min);
        if repeat >= repeats && shortest >= least {
            break;
        }
    }
    Ok(())
}

impl Measurement {
    fn new(test: Test, seconds: Vec<f64>, joules: Option<f64>) -> Self {
        let rates: Vec<f64> = rates_of(test, &seconds).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (rates.len() as f64 - 1.0).max(1.0);
        Self {
            test: test.to_string(),
            what: test,
            seconds,
            tokens_per_second: mean,
            tokens_per_second_stddev: variance.sqrt(),
            joules,
        }
    }

    /// Returns the rate of each repeat in tokens per second.
    pub fn rates(&self) -> impl Iterator<Item = f64> {
        rates_of(self.what, &self.seconds)
    }

    /// Returns the time that a share of the repeats did not exceed (nearest rank): 0.5 is the median.
    ///
    /// # Panics
    /// Panics if there are no repeats.
    #[must_use]
    pub fn quantile_seconds(&self, share: f64) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let rank = (share * seconds.len() as f64).ceil() as usize;
        seconds[rank.clamp(1, seconds.len()) - 1]
    }

    /// Returns the energy per token in joules; `None` where it cannot be read.
    #[must_use]
    pub fn joules_per_token(&self) -> Option<f64> {
        self.joules.map(|joules| joules / (self.what.tokens() * self.seconds.len()) as f64)
    }

    /// Returns the shortest time of a decoding step in seconds, the least disturbed by other programs; `None` if the test
    /// prefills as well.
    #[must_use]
    pub fn step_seconds(&self) -> Option<f64> {
        let shortest = self.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        (self.what.prompt == 0 && shortest.is_finite()).then(|| shortest / self.what.generate as f64)
    }
}

fn rates_of(test: Test, seconds: &[f64]) -> impl Iterator<Item = f64> {
    seconds.iter().map(move |seconds| test.tokens() as f64 / seconds)
}

impl Turn {
    fn new(test: Test) -> Self {
        Self { test, prefix: None, seconds: Vec::new(), joules: Some(0.0) }
    }

    fn measurement(self) -> Measurement {
        Measurement::new(self.test, self.seconds, self.joules)
    }

    fn once(&mut self, runner: &mut dyn Runner, energy: Option<&mut Energy>) -> Result<Cost, BenchError> {
        let test = self.test;
        let count = if let Rows::Sequences(n) = test.rows { n } else { 1 };
        let mut sequences = Vec::with_capacity(count);
        for _ in 0..count {
            sequences.push(self.sequence(runner)?);
        }
        let result = timed(runner, &sequences, test, energy);
        for sequence in sequences {
            runner.close(sequence)?;
        }
        result
    }

    /// Opens a sequence that holds the cached tokens.
    fn sequence(&mut self, runner: &mut dyn Runner) -> Result<SequenceId, BenchError> {
        let prefix = tokens(runner.facts().vocabulary, self.test.depth, 1);
        if !self.test.first_token {
            let sequence = runner.open();
            prefill(runner, sequence, &prefix, self.test.batch)?;
            return Ok(sequence);
        }
        let held = match self.prefix {
            Some(held) => held,
            None => {
                let held = *self.prefix.insert(runner.open());
                prefill(runner, held, &prefix, self.test.batch)?;
                held
            }
        };
        Ok(runner.fork(held)?)
    }
}

fn timed(
    runner: &mut dyn Runner,
    sequences: &[SequenceId],
    test: Test,
    mut energy: Option<&mut Energy>,
) -> Result<Cost, BenchError> {
    let vocabulary = runner.facts().vocabulary;
    let mut joules = || energy.as_mut().and_then(|energy| energy.joules());
    let before = joules();
    let begin = Instant::now();
    for &sequence in sequences {
        let logits = prefill(runner, sequence, &tokens(vocabulary, test.prompt, 2), test.batch)?;
        if test.first_token {
            std::hint::black_box(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
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
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Cost { seconds, joules: before.zip(joules()).map(|(before, after)| after - before) })
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
