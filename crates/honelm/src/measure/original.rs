//! The model that others are compared with.

use std::path::Path;

use honelm_eval::{Baseline, Chunk, EvalError, PieceError, Pieces, compare};
use honelm_formats::FileWatch;
use honelm_model::{Checkpoint, OutputLayer, Runner};
use honelm_store::Journal;

use super::ChunkedText;
use crate::device::load;
use crate::open::open;
use crate::{Error, Event, Events, RunOptions};

/// The original's hidden states, saved as journal entries. Nothing is saved after the original's files have changed.
#[derive(Debug)]
pub(crate) struct States {
    journal: Journal,
    watch: FileWatch,
}

impl States {
    /// Keeps the states of `checkpoint` in `journal`.
    pub(crate) fn new(journal: Journal, checkpoint: &Checkpoint) -> Self {
        Self { journal, watch: checkpoint.watch() }
    }

    fn entry(piece: usize) -> String {
        format!("states-{piece:04}")
    }
}

impl Pieces for States {
    fn get(&self, piece: usize) -> Result<Option<Vec<u8>>, PieceError> {
        Ok(self.journal.get(&Self::entry(piece)).map_err(Error::from)?)
    }

    fn put(&self, piece: usize, contents: &[u8]) -> Result<(), PieceError> {
        self.watch.check().map_err(Error::from)?;
        Ok(self.journal.put(&Self::entry(piece), contents).map_err(Error::from)?)
    }
}

/// The original's output layer, which computes logits from the saved hidden states.
pub(crate) struct Original {
    output: OutputLayer,
    backend: honelm_cpu::CpuBackend,
    watch: FileWatch,
}

impl Original {
    /// Checks that the original is still the file that was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        Ok(self.watch.check()?)
    }

    /// Scores the model at `path` and saves its hidden states in the folder `states`. Its vocabulary must have the size
    /// of the candidate's.
    pub(crate) fn measure(
        path: &Path,
        candidate: &Checkpoint,
        heldout: &ChunkedText,
        states: &Path,
        run: &RunOptions,
        events: Events<'_>,
    ) -> Result<(Self, Baseline), Error> {
        let checkpoint = open(path, run, &mut *events)?;
        let (a, b) = (checkpoint.facts().vocabulary, candidate.facts().vocabulary);
        if a != b {
            return Err(Error::Usage(format!(
                "{}: the vocabulary: found {a} tokens, expected the model's {b}",
                path.display()
            )));
        }
        let states = States::new(Journal::new(states, "one run"), &checkpoint);
        let (baseline, _) = Self::score(&checkpoint, &heldout.chunks, states, run, events)?;
        Ok((Self::new(&checkpoint, run)?, baseline))
    }

    /// Scores the chunks that `states` does not hold yet. The second value names the back end that did so; `None` if
    /// nothing had to be scored.
    pub(crate) fn score(
        checkpoint: &Checkpoint,
        chunks: &[Chunk],
        states: States,
        run: &RunOptions,
        events: Events<'_>,
    ) -> Result<(Baseline, Option<String>), Error> {
        let mut back_end = None;
        let mut baseline = Baseline::resume(chunks, checkpoint.facts().width, Box::new(states))?;
        if !baseline.is_complete() {
            let mut runner = load(checkpoint, run, &mut *events)?;
            back_end = Some(runner.describe());
            let total = chunks.len();
            let progress = &mut |done| events(&Event::Stage { name: "original: scoring", detail: "", done, total });
            baseline.complete(&mut runner, chunks, progress)?;
        }
        Ok((baseline, back_end))
    }

    /// Loads the output layer of an original.
    pub(crate) fn new(checkpoint: &Checkpoint, run: &RunOptions) -> Result<Self, Error> {
        let mut backend = run.cpu();
        let output = OutputLayer::load(checkpoint.blueprint(), checkpoint, &mut backend)?;
        Ok(Self { output, backend, watch: checkpoint.watch() })
    }

    /// Compares a candidate with the original. Ends early once it is certain that the candidate exceeds `budget`.
    pub(crate) fn compare(
        &mut self,
        baseline: &Baseline,
        runner: &mut dyn Runner,
        chunks: &[Chunk],
        stage: &str,
        budget: Option<f64>,
        events: Events<'_>,
    ) -> Result<honelm_eval::Comparison, Error> {
        let Self { output, backend, .. } = self;
        let mut logits = |hidden: &honelm_tensor::Matrix| Ok(output.logits(hidden, backend)?);
        let total = chunks.len();
        events(&Event::Stage { name: stage, detail: "", done: 0, total });
        let mut proceed = |so_far: &honelm_eval::Comparison| {
            let done = so_far.scores.nll.len();
            if !events(&Event::Stage { name: stage, detail: "", done, total }) {
                return Err(EvalError::Interrupted);
            }
            Ok(!budget.is_some_and(|b| done < total && honelm_eval::hopeless(so_far, b)))
        };
        Ok(compare(runner, chunks, baseline, &mut logits, &mut proceed)?)
    }
}
