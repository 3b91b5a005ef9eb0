use std::ops::Range;

use honelm_backend::{Backend, Batch, Cache, CacheType, Sequences, Step, StepGroup, Tensor, Value, Want};
use honelm_cpu::Pool;
use honelm_model::{Blueprint, LoadOptions, ModelError, Module, Network, Parameters, Slot, Weights};
use honelm_tensor::Matrix;

use crate::tape::read_now;
use crate::{Loss, Tape, TrainError, WeightGradient};

/// The number of logits that are in memory at once: 16 MiB in f32, twice.
const LOGITS: usize = 1 << 22;

/// Computes the loss of some rows of all tokens from their logits. The back end is free for other steps. // rows, [rows, V]
pub type LossOf<'l> = &'l mut dyn FnMut(Range<usize>, Matrix, &mut dyn Backend) -> Result<Loss, TrainError>;

/// Computes a loss of the output of a layer; `None` for a layer without one. // layer, [N, D]
pub type LayerLossOf<'l> = &'l mut dyn FnMut(usize, &Matrix) -> Option<Loss>;

/// Receives the logits of some rows of all tokens. The back end is free for other steps. // rows, [rows, V]
pub type VisitLogits<'v> = &'v mut dyn FnMut(Range<usize>, Matrix, &mut dyn Backend) -> Result<(), TrainError>;

/// Receives the gradient of a weight. A weight that two parts of the model use comes twice; its gradients add up.
pub type Sink<'s> = &'s mut dyn FnMut(Slot, WeightGradient);

/// Runs a model on token sequences, forward and backward, with one layer in memory at a time.
pub struct Trainer<'a> {
    blueprint: &'a Blueprint,
    context: usize,
    backend: &'a mut (dyn Backend + 'a),
    pool: &'a Pool,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("context", &self.context).finish_non_exhaustive()
    }
}

/// A part of the model on a back end, with the slots of its weights.
struct Part {
    network: Network,
    slots: Vec<Slot>,
}

impl<'a> Trainer<'a> {
    /// Creates a trainer for sequences of up to `context` tokens. `backend` computes a step when it is submitted, in f32.
    ///
    /// # Errors
    /// An encoder, or a context beyond the model's own limit.
    pub fn new(
        blueprint: &'a Blueprint,
        context: usize,
        backend: &'a mut (dyn Backend + 'a),
        pool: &'a Pool,
    ) -> Result<Self, TrainError> {
        blueprint.facts.check_generates()?;
        let options = LoadOptions { context: Some(context), ..LoadOptions::default() };
        let context = options.context_of(&blueprint.facts)?;
        Ok(Self { blueprint, context, backend, pool })
    }

    /// Computes the output of the last layer, before the last norm. // -> [sum of lengths, D]
    ///
    /// # Errors
    /// A token outside of the vocabulary, an invalid weight, an error of the device.
    pub fn hidden(&mut self, params: &dyn Parameters, sequences: &[Vec<u32>]) -> Result<Matrix, TrainError> {
        self.layers(params, sequences, &mut |_, _| {})
    }

    /// Computes as [`Trainer::hidden`] does, and gives the output of every layer to `visit`. // layer, [sum of lengths, D]
    ///
    /// # Errors
    /// As [`Trainer::hidden`].
    pub fn layers(
        &mut self,
        params: &dyn Parameters,
        sequences: &[Vec<u32>],
        visit: &mut dyn FnMut(usize, &Matrix),
    ) -> Result<Matrix, TrainError> {
        let mut x = self.embed(params, sequences)?;
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        for i in 0..self.blueprint.facts.layers {
            x = self.layer(params, i, &x, &lengths)?;
            visit(i, &x);
        }
        Ok(x)
    }

    /// Computes the logits of outputs of the last layer, some rows at a time, and gives them to `visit`. // [rows, D]
    ///
    /// # Errors
    /// As [`Trainer::hidden`], and those of `visit`.
    pub fn logits(
        &mut self,
        params: &dyn Parameters,
        hidden: &Matrix,
        visit: VisitLogits<'_>,
    ) -> Result<(), TrainError> {
        let at_once = self.rows_of_logits();
        let mut tape = Tape::new(&mut *self.backend, self.pool);
        let (output, cache) = output(self.blueprint, params, &mut tape)?;
        for rows in slices(hidden.rows, at_once) {
            let [_, _, y] = output.logits(hidden, rows.clone(), &cache, &mut tape)?;
            let logits = tape.value(&y).cloned().unwrap_or_default();
            visit(rows, logits, tape.device())?;
        }
        Ok(())
    }

    /// Computes a loss of the logits of all tokens, and the gradients of the weights of the slots for which `wanted` is `true`.
    /// Returns the sum of the losses.
    ///
    /// # Errors
    /// As [`Trainer::hidden`]; [`TrainError::NoTokens`]; [`TrainError::NotFinite`] for the loss; those of `loss`.
    pub fn gradients(
        &mut self,
        params: &dyn Parameters,
        sequences: &[Vec<u32>],
        wanted: &dyn Fn(Slot) -> bool,
        loss: LossOf<'_>,
        sink: Sink<'_>,
    ) -> Result<f64, TrainError> {
        self.gradients_with(params, sequences, wanted, (loss, &mut |_, _| None), sink)
    }

    /// Computes as [`Trainer::gradients`] does, with further losses of the outputs of layers, which are added.
    ///
    /// # Errors
    /// As [`Trainer::gradients`].
    pub fn gradients_with(
        &mut self,
        params: &dyn Parameters,
        sequences: &[Vec<u32>],
        wanted: &dyn Fn(Slot) -> bool,
        (loss, of_layers): (LossOf<'_>, LayerLossOf<'_>),
        sink: Sink<'_>,
    ) -> Result<f64, TrainError> {
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        if lengths.iter().sum::<usize>() == 0 {
            return Err(TrainError::NoTokens);
        }
        let mut inputs = vec![self.embed(params, sequences)?];
        for i in 0..self.blueprint.facts.layers {
            let x = self.layer(params, i, &inputs[i], &lengths)?;
            inputs.push(x);
        }
        let mut y = inputs.pop().unwrap_or_default();
        let (mut sum, mut gradient) = self.output_gradients(params, &y, wanted, loss, sink)?;
        for i in (0..self.blueprint.facts.layers).rev() {
            if let Some(loss) = of_layers(i, &y) {
                sum += loss.sum;
                gradient.data.iter_mut().zip(&loss.gradient.data).for_each(|(sum, g)| *sum += g);
            }
            y = inputs.pop().unwrap_or_default();
            gradient = self.layer_gradients((params, i), &y, &lengths, gradient, wanted, sink)?;
        }
        self.embed_gradients(params, sequences, gradient, wanted, sink)?;
        finite(sum)
    }

    /// Returns the back end, for steps of other models.
    pub fn device(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    fn rows_of_logits(&self) -> usize {
        (LOGITS / self.blueprint.facts.vocabulary.max(1)).clamp(16, 512)
    }

    fn embed(&mut self, params: &dyn Parameters, sequences: &[Vec<u32>]) -> Result<Matrix, TrainError> {
        let (blueprint, backend) = (self.blueprint, &mut *self.backend);
        let part = Part::new(blueprint, params, outer(&blueprint.tree.embed), self.context, backend)?;
        let (step, cache) = whole(blueprint, &[], self.context, sequences, backend)?;
        backend.begin(step, &cache)?;
        let x = part.network.architecture().embed(backend);
        result(backend, &x)
    }

    fn layer(
        &mut self,
        params: &dyn Parameters,
        i: usize,
        x: &Matrix,
        lengths: &[usize],
    ) -> Result<Matrix, TrainError> {
        let (blueprint, backend) = (self.blueprint, &mut *self.backend);
        let part = Part::layer(blueprint, params, i, self.context, backend)?;
        let (step, cache) = whole(blueprint, &[i], self.context, &empty(lengths), backend)?;
        backend.begin(step, &cache)?;
        let x = backend.input(x);
        let y = part.network.architecture().layer(i, x, backend, &cache);
        result(backend, &y)
    }

    fn layer_gradients(
        &mut self,
        (params, i): (&dyn Parameters, usize),
        x: &Matrix,
        lengths: &[usize],
        gradient: Matrix,
        wanted: &dyn Fn(Slot) -> bool,
        sink: Sink<'_>,
    ) -> Result<Matrix, TrainError> {
        let mut tape = Tape::new(&mut *self.backend, self.pool);
        let part = Part::layer(self.blueprint, params, i, self.context, &mut tape)?;
        let (step, cache) = whole(self.blueprint, &[i], self.context, &empty(lengths), &mut tape)?;
        tape.begin(step, &cache)?;
        let input = tape.input(x);
        let y = part.network.architecture().layer(i, input.clone(), &mut tape, &cache);
        tape.finish()?;
        let dx = part.pull(&tape, (&y, gradient), &input, wanted, sink);
        Ok(dx.unwrap_or_else(|| Matrix::zeros(x.rows, x.cols)))
    }

    fn output_gradients(
        &mut self,
        params: &dyn Parameters,
        hidden: &Matrix,
        wanted: &dyn Fn(Slot) -> bool,
        loss: LossOf<'_>,
        sink: Sink<'_>,
    ) -> Result<(f64, Matrix), TrainError> {
        let at_once = self.rows_of_logits();
        let mut tape = Tape::new(&mut *self.backend, self.pool);
        let (output, cache) = output(self.blueprint, params, &mut tape)?;
        let (mut sum, mut dx) = (0.0, Matrix::zeros(hidden.rows, hidden.cols));
        for rows in slices(hidden.rows, at_once) {
            let [x, _, y] = output.logits(hidden, rows.clone(), &cache, &mut tape)?;
            let logits = tape.value(&y).cloned().unwrap_or_default();
            let loss = loss(rows.clone(), logits, tape.device())?;
            sum += loss.sum;
            if let Some(part) = output.pull(&tape, (&y, loss.gradient), &x, wanted, sink) {
                dx.data[rows.start * dx.cols..rows.end * dx.cols].copy_from_slice(&part.data);
            }
        }
        Ok((finite(sum)?, dx))
    }

    fn embed_gradients(
        &mut self,
        params: &dyn Parameters,
        sequences: &[Vec<u32>],
        gradient: Matrix,
        wanted: &dyn Fn(Slot) -> bool,
        sink: Sink<'_>,
    ) -> Result<(), TrainError> {
        let slots = outer(&self.blueprint.tree.embed);
        if !slots.iter().any(|slot| wanted(*slot)) {
            return Ok(());
        }
        let mut tape = Tape::new(&mut *self.backend, self.pool);
        let part = Part::new(self.blueprint, params, slots, self.context, &mut tape)?;
        let (step, cache) = whole(self.blueprint, &[], self.context, sequences, &mut tape)?;
        tape.begin(step, &cache)?;
        let y = part.network.architecture().embed(&mut tape);
        tape.finish()?;
        part.pull(&tape, (&y, gradient), &y, wanted, sink);
        Ok(())
    }
}

impl Part {
    fn new(
        blueprint: &Blueprint,
        params: &dyn Parameters,
        slots: Vec<Slot>,
        context: usize,
        backend: &mut dyn Backend,
    ) -> Result<Self, ModelError> {
        let mut weights = Weights::default();
        for &slot in &slots {
            weights.upload(blueprint, params, slot, backend)?;
        }
        Ok(Self { network: Network::new(blueprint, weights, context, backend)?, slots })
    }

    fn layer(
        blueprint: &Blueprint,
        params: &dyn Parameters,
        i: usize,
        context: usize,
        backend: &mut dyn Backend,
    ) -> Result<Self, ModelError> {
        let unknown = || ModelError::UnknownSlot { layer: Some(i), module: "(any)".to_owned() };
        let modules = blueprint.tree.layers.get(i).ok_or_else(unknown)?;
        let slots = modules.iter().map(|m| Slot { layer: Some(i), module: m.name }).collect();
        Self::new(blueprint, params, slots, context, backend)
    }

    /// Records the last norm and the output layer for some rows, and ends the step. Returns the handles of the rows, of the
    /// final hidden states and of the logits.
    fn logits(
        &self,
        hidden: &Matrix,
        rows: Range<usize>,
        cache: &Cache,
        tape: &mut Tape<'_>,
    ) -> Result<[Tensor; 3], TrainError> {
        let width = hidden.cols;
        let values = hidden.data[rows.start * width..rows.end * width].to_vec();
        let groups = vec![StepGroup::default(); cache.spec().groups.len()];
        tape.begin(Step { groups, ..Step::default() }, cache)?;
        let x = tape.input(&Matrix::new(rows.len(), width, values));
        let h = self.network.architecture().finish(&x, tape);
        let y = self.network.architecture().logits(&h, tape);
        tape.keep(&y);
        tape.finish()?;
        Ok([x, h, y])
    }

    /// Gives the gradients of the weights to `sink`, and returns that of `input`.
    fn pull(
        &self,
        tape: &Tape<'_>,
        (y, gradient): (&Tensor, Matrix),
        input: &Tensor,
        wanted: &dyn Fn(Slot) -> bool,
        sink: Sink<'_>,
    ) -> Option<Matrix> {
        let weights = self.network.weights();
        let used: Vec<_> = self.slots.iter().filter(|slot| wanted(**slot)).collect();
        let is_wanted = |w: &honelm_backend::Weight| {
            used.iter().any(|slot| weights.get(**slot).is_some_and(|other| other.index() == w.index()))
        };
        let mut gradients = tape.backward(y, gradient, &is_wanted);
        for slot in used {
            if let Some(gradient) = weights.get(*slot).and_then(|w| gradients.take_weight(w)) {
                sink(*slot, gradient);
            }
        }
        gradients.take(input)
    }
}

/// Checks a sum of losses.
fn finite(sum: f64) -> Result<f64, TrainError> {
    if sum.is_finite() { Ok(sum) } else { Err(TrainError::NotFinite { what: "the loss", value: sum }) }
}

/// Ends a step and returns the value of `x`.
fn result(backend: &mut dyn Backend, x: &Tensor) -> Result<Matrix, TrainError> {
    backend.output(0, x);
    let value = read_now(backend)?.into_iter().find_map(|(_, value)| match value {
        Value::Floats(matrix) => Some(matrix),
        _ => None,
    });
    Ok(value.unwrap_or_else(|| Matrix::zeros(0, x.cols())))
}

/// Loads the last norm and the output layer, with an empty cache for their steps.
fn output(
    blueprint: &Blueprint,
    params: &dyn Parameters,
    backend: &mut dyn Backend,
) -> Result<(Part, Cache), TrainError> {
    let tree = &blueprint.tree;
    let part = Part::new(blueprint, params, outer(tree.finish.iter().chain([tree.output_matrix()])), 1, backend)?;
    Ok((part, backend.create_cache(blueprint.cache_spec_of(&[], CacheType::F32))?))
}

/// Returns a step with new sequences of these tokens, and a cache of some layers for it.
fn whole(
    blueprint: &Blueprint,
    layers: &[usize],
    context: usize,
    sequences: &[Vec<u32>],
    backend: &mut dyn Backend,
) -> Result<(Step, Cache), TrainError> {
    let vocabulary = blueprint.facts.vocabulary;
    if let Some(&token) = sequences.iter().flatten().find(|&&token| token as usize >= vocabulary) {
        return Err(honelm_backend::BackendError::UnknownToken { token, vocabulary }.into());
    }
    let spec = blueprint.cache_spec_of(layers, CacheType::F32);
    let mut open = Sequences::new(&spec.groups, spec.page_len, context, 0);
    let mut batch = Batch::default();
    for tokens in sequences {
        batch.extend(open.open(), tokens, Want::NOTHING);
    }
    Ok((open.step(&batch)?, backend.create_cache(spec)?))
}

/// Returns sequences of these lengths: layers do not use tokens.
fn empty(lengths: &[usize]) -> Vec<Vec<u32>> {
    lengths.iter().map(|&len| vec![0; len]).collect()
}

fn outer<'a>(modules: impl IntoIterator<Item = &'a Module>) -> Vec<Slot> {
    modules.into_iter().map(|module| Slot { layer: None, module: module.name }).collect()
}

fn slices(rows: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows.div_ceil(at_once)).map(move |i| i * at_once..rows.min((i + 1) * at_once))
}
