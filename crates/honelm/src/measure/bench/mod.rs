//! Speed tests of a model file, or of a published shape with synthetic weights.

mod llama;
mod machine;
mod placement;
mod prepare;
mod row;
mod sustained;

use std::path::PathBuf;

use honelm_bench::{BenchError, Rows, Test};
use honelm_blocks::Encoding;

use crate::{Error, Event, Events, RunOptions};
use prepare::Prepared;

pub use machine::{CeilingRow, Cpus};
pub use placement::{PlacedOperation, TimedKernel};
pub use row::BenchRow;
pub use sustained::{SustainedOutcome, bench_sustained};

/// The seed of synthetic weights.
const SEED: u64 = 1;

/// The model of a speed test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchModel {
    /// A folder or a GGUF file.
    Path(PathBuf),
    /// Synthetic weights of a published model's shape.
    Synthetic {
        /// The name of the shape, for example `llama-3.2-1b`.
        shape: String,
        /// The encoding of the linear modules.
        encoding: Encoding,
    },
}

/// The settings of [`benchmark`]. Every prompt length and every generation length is a test at every depth; a length of
/// 0 is ignored.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The model.
    pub model: BenchModel,
    /// The prompt lengths in tokens, one prefill test per length.
    pub prompts: Vec<usize>,
    /// The numbers of tokens to decode, one test per number.
    pub generates: Vec<usize>,
    /// The numbers of tokens in the cache when a test begins.
    pub depths: Vec<usize>,
    /// The numbers of rows of a step whose costs are compared, one more test for each: decoding of as many sequences, and
    /// verification of a draft of as many rows of one sequence.
    pub rows: Vec<usize>,
    /// The largest number of tokens per prefill step.
    pub batch: usize,
    /// The number of timed repeats per test, after one that is not timed.
    pub repeats: usize,
    /// The device, threads and context.
    pub run: RunOptions,
    /// `true` to time every operation, which slows the test down a little.
    pub placement: bool,
    /// The number of cached tokens before prompts whose first token is timed; `None` for the usual tests.
    pub prefix: Option<usize>,
    /// `true` to load the model from storage, without the pages of its files that are in memory.
    pub cold: bool,
}

impl BenchOptions {
    /// Returns the usual tests, pp512 and tg64, with five repeats each.
    #[must_use]
    pub fn new(model: BenchModel) -> Self {
        Self {
            model,
            prompts: vec![512],
            generates: vec![64],
            depths: vec![0],
            rows: Vec::new(),
            batch: 512,
            repeats: 5,
            run: RunOptions::default(),
            placement: false,
            prefix: None,
            cold: false,
        }
    }

    /// Returns the tests, those together that run in turns.
    fn tests(&self) -> Vec<Vec<Test>> {
        let mut out = Vec::new();
        if let Some(prefix) = self.prefix {
            let prompts = self.prompts.iter().filter(|&&n| n > 0);
            return prompts.map(|&n| vec![Test::first_token(prefix, n, self.batch)]).collect();
        }
        for &depth in &self.depths {
            let test = |prompt, generate| Test { depth, ..Test::new(prompt, generate, self.batch) };
            let generates = self.generates.iter().filter(|&&n| n > 0);
            out.extend(self.prompts.iter().filter(|&&n| n > 0).map(|&n| vec![test(n, 0)]));
            if self.rows.is_empty() {
                out.extend(generates.map(|&n| vec![test(0, n)]));
                continue;
            }
            let kinds = self.rows.iter().filter(|&&rows| rows > 0).flat_map(|&rows| {
                let draft = (rows > 1).then_some(Rows::Draft(rows));
                [Some(Rows::Sequences(rows)), draft].into_iter().flatten()
            });
            out.extend(generates.map(|&n| kinds.clone().map(|rows| Test { rows, ..test(0, n) }).collect()));
        }
        out.retain(|turns: &Vec<Test>| !turns.is_empty());
        out
    }
}

/// Loads a model and runs the tests. Calls `on_row` after each; a return value of `false` ends the tests early.
///
/// # Errors
/// An invalid model, a test that does not fit into the context, [`Error::Interrupted`] if `events` returns `false`.
pub fn benchmark(
    options: &BenchOptions,
    events: Events<'_>,
    on_row: &mut dyn FnMut(&BenchRow) -> bool,
) -> Result<Vec<BenchRow>, Error> {
    let tests = options.tests();
    if tests.is_empty() {
        return Err(BenchError::EmptyTest.into());
    }
    let mut prepared = Prepared::load(options, tokens_of(&tests), &mut *events)?;
    // The timed repeats, and one that is not timed.
    let steps = options.repeats.saturating_add(1);
    let total = tests.len().saturating_mul(steps);
    let mut rows = Vec::new();
    prepared.probe();
    for (t, turns) in tests.into_iter().enumerate() {
        let names: Vec<String> = turns.iter().map(ToString::to_string).collect();
        let name = names.join(" ");
        let done = t.saturating_mul(steps);
        let mut progress = |repeat: usize| {
            events(&Event::Stage { name: "measuring", detail: &name, done: done.saturating_add(repeat + 1), total })
        };
        for row in prepared.rows(&turns, options.repeats, &mut progress)? {
            let goes_on = on_row(&row);
            rows.push(row);
            if !goes_on {
                return Ok(rows);
            }
        }
    }
    Ok(rows)
}

/// Returns the largest number of tokens in a sequence of any test.
fn tokens_of(tests: &[Vec<Test>]) -> usize {
    let sizes = |test: &Test| [test.depth, test.prompt, test.generate].into_iter().fold(0, usize::saturating_add);
    tests.iter().flatten().map(sizes).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_and_generation_is_tested_at_every_depth() {
        let options = BenchOptions {
            prompts: vec![8, 0],
            generates: vec![4],
            depths: vec![0, 16],
            ..BenchOptions::new(BenchModel::Path(PathBuf::new()))
        };
        let names: Vec<String> = options.tests().iter().flatten().map(ToString::to_string).collect();
        assert_eq!(names, ["pp8", "tg4", "pp8@d16", "tg4@d16"]);
    }

    #[test]
    fn steps_of_several_rows_are_tested_in_turns() {
        let options = BenchOptions {
            prompts: vec![8],
            generates: vec![4],
            depths: vec![16],
            rows: vec![1, 4],
            ..BenchOptions::new(BenchModel::Path(PathBuf::new()))
        };
        let names = |tests: &[Test]| tests.iter().map(ToString::to_string).collect::<Vec<_>>();
        let turns: Vec<_> = options.tests().iter().map(|turns| names(turns)).collect();
        assert_eq!(turns, [vec!["pp8@d16"], vec!["tg4@d16", "tg4x4@d16", "tg4/draft4@d16"]]);
    }

    #[test]
    fn a_prefix_asks_for_first_tokens_only() {
        let options = BenchOptions {
            prompts: vec![32, 0],
            prefix: Some(480),
            ..BenchOptions::new(BenchModel::Path(PathBuf::new()))
        };
        let tests = options.tests();
        assert_eq!(tests.iter().flatten().map(ToString::to_string).collect::<Vec<_>>(), ["ft32@d480"]);
        assert_eq!(tokens_of(&tests), 512);
    }

    #[test]
    fn nothing_to_measure_is_refused() {
        let options =
            BenchOptions { prompts: vec![0], generates: vec![], ..BenchOptions::new(BenchModel::Path(PathBuf::new())) };
        assert_eq!(benchmark(&options, &mut |_| true, &mut |_| true).expect_err("refused").code(), "empty-test");
    }
}
