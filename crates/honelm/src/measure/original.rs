//! The model that others are compared with.

use std::path::Path;

use honelm_eval::{Baseline, Budget, Chunk, EvalError, PieceError, Pieces, compare};
use honelm_formats::FileWatch;
use honelm_model::{Checkpoint, OutputLayer, Runner};
use honelm_store::Journal;

use super::{ChunkedText, Home, StatesCache, context_of, states_key};
use crate::device::load;
use crate::open::{digest_of, open};
use crate::tasks::{Outcome, Prepared, TaskOptions};
use crate::{Error, Event, Events, RunOptions};

/// A model that is loaded when it is needed for the first time.
pub(crate) struct Lazy<'c> {
    checkpoint: &'c Checkpoint,
    run: &'c RunOptions,
    model: Option<Box<dyn Runner>>,
}

impl<'c> Lazy<'c> {
    /// Creates a model that is not loaded yet.
    pub(crate) fn new(checkpoint: &'c Checkpoint, run: &'c RunOptions) -> Self {
        Self { checkpoint, run, model: None }
    }

    /// Returns the model, and loads it if it is not.
    pub(crate) fn runner(&mut self, events: Events<'_>) -> Result<&mut dyn Runner, Error> {
        let model = self.take(events)?;
        Ok(&mut **self.model.insert(model))
    }

    /// Takes the model, which is loaded again when it is needed unless it is given back.
    fn take(&mut self, events: Events<'_>) -> Result<Box<dyn Runner>, Error> {
        match self.model.take() {
            Some(model) => Ok(model),
            None => Ok(Box::new(load(self.checkpoint, self.run, events)?)),
        }
    }
}

/// Returns the original's verdicts on tasks, which `journal` keeps.
pub(crate) fn answers(
    lazy: &mut Lazy<'_>,
    options: &TaskOptions,
    journal: &Journal,
    events: Events<'_>,
) -> Result<Vec<Outcome>, Error> {
    let context = context_of(lazy.checkpoint, lazy.run);
    let prepared = Prepared::new(lazy.checkpoint, &options.tasks, options.chat, context)?;
    let entry = format!("tasks-{}", prepared.digest());
    let saved = journal.get(&entry)?.and_then(|bytes| serde_json::from_slice::<Vec<Outcome>>(&bytes).ok());
    if let Some(outcomes) = saved.filter(|outcomes| outcomes.len() == options.tasks.items.len()) {
        return Ok(outcomes);
    }
    let watch = lazy.checkpoint.watch();
    let (model, outcomes) = prepared.answer(lazy.take(&mut *events)?, "original: answering", events)?;
    lazy.model = Some(model);
    watch.check()?;
    let bytes = serde_json::to_vec(&outcomes).map_err(|source| Error::Serialise { what: "answers", source })?;
    journal.put(&entry, &bytes)?;
    Ok(outcomes)
}

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

/// The findings about an original.
pub(crate) struct Measured {
    pub original: Original,
    pub baseline: Baseline,
    /// The verdicts on the tasks, if there are any.
    pub outcomes: Option<Vec<Outcome>>,
    /// The place of the hidden states, which the comparison reads.
    pub _home: Home,
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

    /// Scores the model at `path`, saves its hidden states in a cache or in the folder `scratch`, and lets it answer the
    /// tasks. Its vocabulary must have the size of the candidate's.
    pub(crate) fn measure(
        path: &Path,
        candidate: &Checkpoint,
        heldout: &ChunkedText,
        tasks: Option<&TaskOptions>,
        (cache, scratch): (Option<&StatesCache>, Option<&Path>),
        run: &RunOptions,
        events: Events<'_>,
    ) -> Result<Measured, Error> {
        let checkpoint = open(path, run, &mut *events)?;
        let (a, b) = (checkpoint.facts().vocabulary, candidate.facts().vocabulary);
        if a != b {
            return Err(Error::Usage(format!(
                "{}: the vocabulary: found {a} tokens, expected the model's {b}",
                path.display()
            )));
        }
        let cached = match cache {
            Some(_) => {
                let key = states_key(&digest_of(&checkpoint)?, &heldout.chunks, context_of(&checkpoint, run), run);
                Home::cached(cache, &key)
            }
            None => None,
        };
        let home = cached.map_or_else(|| Home::scratch(scratch), Ok)?;
        let mut lazy = Lazy::new(&checkpoint, run);
        let states = States::new(home.journal().clone(), &checkpoint);
        let baseline = Self::score(&mut lazy, &heldout.chunks, states, &mut *events)?;
        let outcomes = tasks.map(|tasks| answers(&mut lazy, tasks, home.journal(), &mut *events)).transpose()?;
        drop(lazy);
        Ok(Measured { original: Self::new(&checkpoint, run)?, baseline, outcomes, _home: home })
    }

    /// Scores the chunks that `states` does not hold yet.
    pub(crate) fn score(
        lazy: &mut Lazy<'_>,
        chunks: &[Chunk],
        states: States,
        events: Events<'_>,
    ) -> Result<Baseline, Error> {
        let mut baseline = Baseline::resume(chunks, lazy.checkpoint.facts().width, Box::new(states))?;
        if !baseline.is_complete() {
            let runner = lazy.runner(&mut *events)?;
            let total = chunks.len();
            let progress = &mut |done| events(&Event::Stage { name: "original: scoring", detail: "", done, total });
            baseline.complete(runner, chunks, progress)?;
        }
        Ok(baseline)
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
        budget: Option<Budget>,
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
