//! KL divergences of mixes from the original on windows of held-out text.

use std::collections::BTreeMap;

use honelm_compress::{Database, STEP_ROWS};
use honelm_cpu::{Compute, CpuBackend};
use honelm_eval::{Chunk, divergences, mean_nll};
use honelm_model::{Checkpoint, OutputLayer, Parameters, Slot, Stream};
use honelm_store::{Digest, Journal};
use honelm_tensor::Matrix;

use super::units::Choice;
use crate::{Error, RunOptions};

/// The number of tokens of a window.
const WINDOW: usize = 256;
/// The share of a window whose predictions are not scored, because they lack context.
const UNSCORED: usize = 4;
/// The largest size of the original's saved logits in bytes; beyond that they are computed anew each time.
const MOST_LOGITS: usize = 256 << 20;
/// The largest size of the saved hidden states in bytes.
const MOST_STATES: usize = 1 << 30;

/// Measures mixes. A mix is run from the first layer that differs from a reference mix, whose hidden states are kept.
///
/// Activations are in f32, so that the roundings of weights alone count.
pub(super) struct Evaluator<'a> {
    checkpoint: &'a Checkpoint,
    database: &'a Database<'a>,
    journal: &'a Journal,
    backend: CpuBackend,
    stream: Stream,
    steps: Vec<Step>,
    /// The name of these windows in the journal, different from those of others.
    label: String,
    original: OutputLayer,
    /// The output layer of the mix measured last, with its output matrix's choice.
    output: Option<(Choice, OutputLayer)>,
    reference: Choice,
    /// The inputs of every layer whose number is a multiple of `stride`, and the last layer's outputs. // [layers + 1][steps]
    states: BTreeMap<usize, Vec<Matrix>>,
    stride: usize,
    /// The original's perplexity on the windows.
    pub perplexity: f64,
    /// The number of measurements.
    pub measured: usize,
}

/// Windows that run through the model together.
struct Step {
    tokens: Vec<Vec<u32>>,
    lengths: Vec<usize>,
    /// The scored rows of the step.
    rows: Vec<usize>,
    /// The original's final hidden states of these rows. // [scored, D]
    hidden: Matrix,
    /// The original's logits of these rows, where they are kept. // [scored, V]
    logits: Option<Matrix>,
}

impl Step {
    fn new(tokens: Vec<Vec<u32>>) -> Self {
        let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let (mut rows, mut first) = (Vec::new(), 0);
        for length in &lengths {
            // The last position predicts a token that is not part of the window.
            rows.extend(first + length / UNSCORED..first + length - 1);
            first += length;
        }
        Self { tokens, lengths, rows, hidden: Matrix::default(), logits: None }
    }

    /// Returns the tokens that the scored rows predict.
    fn targets(&self) -> Vec<u32> {
        let all = self.tokens.concat();
        self.rows.iter().map(|&row| all[row + 1]).collect()
    }

    fn scored(&self, x: &Matrix) -> Matrix {
        let data = self.rows.iter().flat_map(|&row| x.row(row)).copied().collect();
        Matrix::new(self.rows.len(), x.cols, data)
    }
}

/// Returns `count` windows of the first tokens of chunks that are spread evenly over the text.
fn windows(chunks: &[Chunk], count: usize) -> Vec<Vec<u32>> {
    let count = count.min(chunks.len());
    let window = |i: usize| {
        let tokens = &chunks[i * chunks.len() / count].tokens;
        tokens[..tokens.len().min(WINDOW)].to_vec()
    };
    (0..count).map(window).filter(|tokens| tokens.len() >= UNSCORED).collect()
}

impl<'a> Evaluator<'a> {
    /// Runs the original over `count` windows of the chunks.
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        database: &'a Database<'a>,
        journal: &'a Journal,
        chunks: &[Chunk],
        count: usize,
        run: &RunOptions,
    ) -> Result<Self, Error> {
        let mut backend = RunOptions { compute: Compute::F32, ..run.clone() }.cpu();
        let windows = windows(chunks, count);
        let longest = windows.iter().map(Vec::len).max().unwrap_or(1);
        let label = windows.iter().fold(Digest::default(), |digest, window| {
            digest.with(window.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>())
        });
        let steps: Vec<Step> =
            windows.chunks((STEP_ROWS / longest).max(1)).map(|windows| Step::new(windows.to_vec())).collect();
        let tokens: usize = steps.iter().flat_map(|step| &step.lengths).sum();
        let layers = checkpoint.tree().layers.len();
        let bytes = tokens * checkpoint.facts().width * size_of::<f32>() * (layers + 1);
        let original = OutputLayer::load(checkpoint.blueprint(), checkpoint, &mut backend)?;
        let mut found = Self {
            checkpoint,
            database,
            journal,
            stream: Stream::new(checkpoint, longest)?,
            backend,
            steps,
            label: label.hex(),
            original,
            output: None,
            reference: Choice::new(),
            states: BTreeMap::new(),
            stride: bytes.div_ceil(MOST_STATES).max(1),
            perplexity: 1.0,
            measured: 0,
        };
        found.refer(Choice::new())?;
        found.score_original()?;
        Ok(found)
    }

    /// Keeps what the measurements compare with: the original's final states and, if they are few, its logits.
    fn score_original(&mut self) -> Result<(), Error> {
        let last = self.states.get(&self.layers()).cloned().unwrap_or_default();
        let scored: usize = self.steps.iter().map(|step| step.rows.len()).sum();
        let keep = scored * self.checkpoint.facts().vocabulary * size_of::<f32>() <= MOST_LOGITS;
        let mut nll = 0.0;
        for (step, x) in self.steps.iter_mut().zip(&last) {
            step.hidden = self.original.finish(&step.scored(x), &mut self.backend)?;
            let targets = step.targets();
            let mut kept = Vec::new();
            for slice in slices(&step.hidden, self.checkpoint) {
                let logits = self.original.logits(&rows(&step.hidden, &slice), &mut self.backend)?;
                nll += mean_nll(&logits, &targets[slice.clone()]) * slice.len() as f64;
                if keep {
                    kept.extend(logits.data);
                }
            }
            let vocabulary = self.checkpoint.facts().vocabulary;
            step.logits = keep.then(|| Matrix::new(step.rows.len(), vocabulary, kept));
        }
        self.perplexity = (nll / scored.max(1) as f64).exp();
        Ok(())
    }

    fn layers(&self) -> usize {
        self.checkpoint.tree().layers.len()
    }

    /// Makes `choice` the mix from whose hidden states others are run.
    pub(super) fn refer(&mut self, choice: Choice) -> Result<(), Error> {
        if choice == self.reference && !self.states.is_empty() {
            return Ok(());
        }
        let mut kept = BTreeMap::new();
        self.run(&choice, 0, &mut kept)?;
        (self.reference, self.states) = (choice, kept);
        Ok(())
    }

    /// Returns the mean KL divergence of a mix, in nats.
    pub(super) fn kl(&mut self, choice: &Choice) -> Result<f64, Error> {
        self.measured += 1;
        let named = choice.iter().map(|(slot, encoding)| format!("{slot:?} {encoding:?}"));
        let digest = named.fold(Digest::default().with(&self.label), |digest, name| digest.with(name)).hex();
        let entry = format!("kl-{digest}");
        if let Some(bytes) = self.journal.get(&entry)?
            && let Ok(kl) = serde_json::from_slice::<f64>(&bytes)
        {
            return Ok(kl);
        }
        let kl = self.compute(choice)?;
        let failed = |source| Error::Serialise { what: "a journal entry", source };
        let bytes = serde_json::to_vec(&kl).map_err(failed)?;
        self.journal.put(&entry, &bytes)?;
        // The same bits as a resumed run reads.
        serde_json::from_slice(&bytes).map_err(failed)
    }

    fn compute(&mut self, choice: &Choice) -> Result<f64, Error> {
        let first = self.first_difference(choice);
        let last = self.run(choice, first, &mut BTreeMap::new())?;
        let matrix = Slot { layer: None, module: self.checkpoint.tree().output_matrix().name };
        let of_output: Choice = choice.get(&matrix).map(|&encoding| (matrix, encoding)).into_iter().collect();
        if self.output.as_ref().is_none_or(|(loaded, _)| *loaded != of_output) {
            let params = self.database.mix(of_output.clone());
            let output = OutputLayer::load(self.checkpoint.blueprint(), &params, &mut self.backend)?;
            self.output = Some((of_output, output));
        }
        let output = self.output.as_ref().map_or(&self.original, |(_, output)| output);
        let (mut sum, mut count) = (0.0, 0);
        for (step, x) in self.steps.iter().zip(&last) {
            let hidden = output.finish(&step.scored(x), &mut self.backend)?;
            for slice in slices(&hidden, self.checkpoint) {
                let logits = output.logits(&rows(&hidden, &slice), &mut self.backend)?;
                let base = match &step.logits {
                    Some(kept) => rows(kept, &slice),
                    None => self.original.logits(&rows(&step.hidden, &slice), &mut self.backend)?,
                };
                sum += divergences(&base, &logits).iter().sum::<f64>();
                count += slice.len();
            }
        }
        Ok(sum / count.max(1) as f64)
    }

    /// Returns the first layer whose inputs or weights differ from the reference's; the number of layers if only the output
    /// layer differs.
    fn first_difference(&self, choice: &Choice) -> usize {
        let output = self.checkpoint.tree().output.as_ref().map(|module| module.name);
        let differing = choice.iter().filter(|(slot, e)| self.reference.get(slot) != Some(e)).map(|(slot, _)| slot);
        let missing = self.reference.keys().filter(|slot| !choice.contains_key(slot));
        let at = |slot: &Slot| match slot.layer {
            Some(layer) => layer,
            None if Some(slot.module) == output => self.layers(),
            None => 0,
        };
        differing.chain(missing).map(at).min().unwrap_or(self.layers())
    }

    /// Runs a mix and returns the outputs of its last layer. Layers before `first` are those of the reference. `kept`
    /// receives the states that a reference keeps.
    fn run(
        &mut self,
        choice: &Choice,
        first: usize,
        kept: &mut BTreeMap<usize, Vec<Matrix>>,
    ) -> Result<Vec<Matrix>, Error> {
        let layers = self.layers();
        let params = self.database.mix(choice.clone());
        let begin = if first == layers { layers } else { first - first % self.stride };
        let embeds = self.embedding_of(choice) != self.embedding_of(&self.reference);
        let (begin, mut x) = match self.states.get(&begin) {
            Some(x) if !embeds => (begin, x.clone()),
            _ => (0, self.embedded(&params)?),
        };
        for i in begin..layers {
            if i.is_multiple_of(self.stride) {
                kept.insert(i, x.clone());
            }
            let bound = self.stream.bind(&params, i, &mut self.backend)?;
            for (x, step) in x.iter_mut().zip(&self.steps) {
                *x = self.stream.run(&bound, i, x, &step.lengths, &mut self.backend)?;
            }
        }
        kept.insert(layers, x.clone());
        Ok(x)
    }

    /// Returns the part of a choice that the first layer's inputs depend on.
    fn embedding_of(&self, choice: &Choice) -> Choice {
        let output = self.checkpoint.tree().output.as_ref().map(|module| module.name);
        let outer = choice.iter().filter(|(slot, _)| slot.layer.is_none() && Some(slot.module) != output);
        outer.map(|(&slot, &encoding)| (slot, encoding)).collect()
    }

    fn embedded(&mut self, params: &dyn Parameters) -> Result<Vec<Matrix>, Error> {
        let embed = |step: &Step| Ok(self.stream.embed(params, &step.tokens, &mut self.backend)?);
        let x = self.steps.iter().map(embed).collect();
        // The stream keeps an embedding until a layer is bound, which could be another mix's.
        self.stream =
            Stream::new(self.checkpoint, self.steps.iter().flat_map(|s| &s.lengths).copied().max().unwrap_or(1))?;
        x
    }
}

/// Returns the rows whose logits are computed together.
fn slices<'m>(hidden: &'m Matrix, checkpoint: &Checkpoint) -> impl Iterator<Item = std::ops::Range<usize>> + 'm {
    let at_once = checkpoint.facts().output_rows();
    (0..hidden.rows).step_by(at_once).map(move |first| first..(first + at_once).min(hidden.rows))
}

fn rows(matrix: &Matrix, range: &std::ops::Range<usize>) -> Matrix {
    Matrix::new(range.len(), matrix.cols, matrix.data[range.start * matrix.cols..range.end * matrix.cols].to_vec())
}
