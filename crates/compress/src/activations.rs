//! Hidden states of the calibration text at the entrance of a layer.

use honelm_backend::{Backend, Observe, Weight};
use honelm_model::{Bound, Checkpoint, Module, OutputLayer, Parameters, Stream};
use honelm_tensor::Matrix;

use crate::overlay::Overlay;
use crate::{Calibration, CompressError};

/// The number of rows that run through a layer together.
pub const STEP_ROWS: usize = 4096;

/// The largest size in bytes of the inputs that one stream keeps within a layer. Those behind a norm are not kept.
pub const KEPT_BYTES: usize = 512 << 20;

/// The number of tokens from which a step that precedes the rounding takes its statistics, or some more.
const PRECEDING_TOKENS: usize = 32_768;

/// Receives the inputs of a stage, and those of the original model where they are kept. // each [rows, K]
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&Matrix, Option<&Matrix>) -> Result<(), CompressError>;

/// Receives the inputs of several modules, each with the module's index. // [rows, K]
pub(crate) type VisitAll<'v> = &'v mut dyn FnMut(usize, &Matrix) -> Result<(), CompressError>;

/// The hidden states of the compressed model, and of the original where a method asks for them.
pub(crate) struct Streams {
    compressed: Activations,
    original: Option<Activations>,
}

impl Streams {
    /// Embeds the calibration text. Both streams begin with the original embeddings.
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        calibration: &Calibration,
        originals: bool,
        backend: &mut dyn Backend,
    ) -> Result<Self, CompressError> {
        let mut new = || Activations::new(checkpoint, calibration, &mut *backend);
        Ok(Self { compressed: new()?, original: if originals { Some(new()?) } else { None } })
    }

    /// Moves on past layer `i`, whose compressed parameters are those of `params`.
    pub(crate) fn advance(
        &mut self,
        checkpoint: &Checkpoint,
        params: &dyn Parameters,
        i: usize,
        backend: &mut dyn Backend,
    ) -> Result<(), CompressError> {
        self.compressed.advance(params, i, backend)?;
        match &mut self.original {
            Some(original) => original.advance(checkpoint, i, backend),
            None => Ok(()),
        }
    }

    /// Moves the original on past layer `i`, which the compressed model does not have.
    pub(crate) fn skip(
        &mut self,
        checkpoint: &Checkpoint,
        i: usize,
        backend: &mut dyn Backend,
    ) -> Result<(), CompressError> {
        self.compressed.kept.clear();
        match &mut self.original {
            Some(original) => original.advance(checkpoint, i, backend),
            None => Ok(()),
        }
    }

    /// Forgets the inputs that were kept: parameters before their modules change, or the layer is done with.
    pub(crate) fn forget(&mut self) {
        self.compressed.kept.clear();
        self.forget_originals();
    }

    /// Forgets the original's inputs that were kept: they are not those that its own parameters give.
    pub(crate) fn forget_originals(&mut self) {
        self.original.iter_mut().for_each(|original| original.kept.clear());
    }

    /// Visits the inputs of some linear modules of layer `i` of `params`, each with the module's index, without moving on.
    pub(crate) fn observe_all(
        &mut self,
        params: &dyn Parameters,
        i: usize,
        modules: &[&'static str],
        backend: &mut dyn Backend,
        visit: VisitAll<'_>,
    ) -> Result<(), CompressError> {
        self.compressed.visit(params, i, modules, (1, false), backend, visit)
    }

    /// Visits the inputs of a stage of layer `i`: those that `params` give on the compressed stream, and those that `exact`
    /// give on the original one. Nothing after the stage is computed, nor what led to inputs that were kept.
    pub(crate) fn observe(
        &mut self,
        [params, exact]: [&Overlay<'_>; 2],
        i: usize,
        stage: &[&Module],
        backend: &mut dyn Backend,
        visit: Visit<'_>,
    ) -> Result<(), CompressError> {
        let bound = self.compressed.begin(params, i, stage, backend)?;
        let mut original = match &mut self.original {
            Some(original) => Some((original.begin(exact, i, stage, backend)?, original)),
            None => None,
        };
        for step in 0..self.compressed.steps.len() {
            let inputs = self.compressed.inputs(&bound, i, stage, step, backend)?;
            let originals = match &mut original {
                Some((bound, original)) => Some(original.inputs(bound, i, stage, step, backend)?),
                None => None,
            };
            visit(&inputs, originals.as_ref())?;
            self.compressed.keep(inputs);
            if let (Some((_, original)), Some(originals)) = (&mut original, originals) {
                original.keep(originals);
            }
        }
        Ok(())
    }

    /// Visits the inputs of some linear modules of layer `i` in one pass, each with the module's index, on a part of the
    /// calibration text that is spread over all of it.
    pub(crate) fn observe_part(
        &mut self,
        params: &dyn Parameters,
        i: usize,
        modules: &[&'static str],
        backend: &mut dyn Backend,
        visit: VisitAll<'_>,
    ) -> Result<(), CompressError> {
        let every = self.compressed.steps.iter().map(|x| x.rows).sum::<usize>() / PRECEDING_TOKENS;
        self.compressed.visit(params, i, modules, (every.max(1), false), backend, visit)
    }

    /// Visits the inputs of the output layer, once the streams have passed the last layer: the states after the last norm.
    pub(crate) fn observe_output(
        &self,
        checkpoint: &Checkpoint,
        backend: &mut dyn Backend,
        visit: Visit<'_>,
    ) -> Result<(), CompressError> {
        let output = OutputLayer::load_norm(checkpoint.blueprint(), checkpoint, backend)?;
        for (step, x) in self.compressed.steps.iter().enumerate() {
            let inputs = output.finish(x, backend)?;
            let original = self.original.as_ref().map(|original| output.finish(&original.steps[step], backend));
            visit(&inputs, original.transpose()?.as_ref())?;
        }
        Ok(())
    }
}

/// Hidden states at the entrance of a layer.
pub(crate) struct Activations {
    /// One matrix per step of whole sequences. // each [rows, D]
    pub(crate) steps: Vec<Matrix>,
    /// The lengths of the sequences of each step.
    lengths: Vec<Vec<usize>>,
    stream: Stream,
    /// Inputs of stages of the layer, from which the rest of the layer is computed.
    kept: Vec<Kept>,
}

/// The inputs of a stage.
struct Kept {
    modules: Vec<&'static str>,
    /// Those of the first steps; all, unless that is more than [`KEPT_BYTES`]. // each [rows, K]
    steps: Vec<Matrix>,
    /// `true` while inputs are added.
    is_open: bool,
}

impl Activations {
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        c: &Calibration,
        backend: &mut dyn Backend,
    ) -> Result<Self, CompressError> {
        let longest = c.samples.iter().map(Vec::len).max().unwrap_or(1);
        let mut stream = Stream::new(checkpoint, longest)?;
        let (mut steps, mut lengths) = (Vec::new(), Vec::new());
        for group in c.samples.chunks((STEP_ROWS / longest).max(1)) {
            steps.push(stream.embed(checkpoint, group, backend)?);
            lengths.push(group.iter().map(Vec::len).collect());
        }
        Ok(Self { steps, lengths, stream, kept: Vec::new() })
    }

    fn advance(&mut self, params: &dyn Parameters, i: usize, backend: &mut dyn Backend) -> Result<(), CompressError> {
        let bound = self.stream.bind(params, i, backend)?;
        for (step, lengths) in self.lengths.iter().enumerate() {
            let mut resumed = known(Observe::new(&mut *backend, &[], false), &self.kept, &bound, step);
            let x = self.stream.run(&bound, i, &self.steps[step], lengths, &mut resumed)?;
            drop(resumed);
            self.steps[step] = x;
        }
        self.kept.clear();
        Ok(())
    }

    /// Visits the inputs of some linear modules of layer `i`, each with the module's index, and moves on past the layer.
    pub(crate) fn advance_observed(
        &mut self,
        params: &dyn Parameters,
        i: usize,
        modules: &[&'static str],
        backend: &mut dyn Backend,
        visit: VisitAll<'_>,
    ) -> Result<(), CompressError> {
        self.visit(params, i, modules, (1, true), backend, visit)
    }

    /// Visits the inputs of every n-th step, and moves those steps on if asked to.
    fn visit(
        &mut self,
        params: &dyn Parameters,
        i: usize,
        modules: &[&'static str],
        (every, advances): (usize, bool),
        backend: &mut dyn Backend,
        visit: VisitAll<'_>,
    ) -> Result<(), CompressError> {
        let bound = self.stream.bind(params, i, backend)?;
        let watched: Vec<&Weight> = modules.iter().map(|module| bound.weight(module)).collect();
        for (x, lengths) in self.steps.iter_mut().zip(&self.lengths).step_by(every) {
            let mut observe = Observe::new(&mut *backend, &watched, true);
            let inputs = self.stream.observe(&bound, i, x, lengths, &mut observe)?;
            inputs.iter().enumerate().try_for_each(|(module, inputs)| visit(module, inputs))?;
            if advances {
                *x = self.stream.run(&bound, i, x, lengths, backend)?;
            }
        }
        Ok(())
    }

    /// Loads layer `i` in order to observe a stage of it.
    fn begin(
        &mut self,
        params: &Overlay<'_>,
        i: usize,
        stage: &[&Module],
        backend: &mut dyn Backend,
    ) -> Result<Bound, CompressError> {
        self.kept.retain(|kept| kept.modules.first() != stage.first().map(|module| &module.name));
        self.kept.iter_mut().for_each(|kept| kept.is_open = false);
        if !params.base().tree().is_behind_norm(i, stage) {
            let modules = stage.iter().map(|module| module.name).collect();
            self.kept.push(Kept { modules, steps: Vec::new(), is_open: true });
        }
        Ok(self.stream.bind(params, i, backend)?)
    }

    fn inputs(
        &self,
        bound: &Bound,
        i: usize,
        stage: &[&Module],
        step: usize,
        backend: &mut dyn Backend,
    ) -> Result<Matrix, CompressError> {
        let (x, lengths) = (&self.steps[step], &self.lengths[step]);
        let watched: Vec<&Weight> = stage.iter().take(1).map(|module| bound.weight(module.name)).collect();
        let mut observe = known(Observe::new(backend, &watched, true), &self.kept, bound, step);
        let inputs = self.stream.observe(bound, i, x, lengths, &mut observe)?;
        Ok(inputs.into_iter().next().unwrap_or_default())
    }

    /// Keeps the inputs of the next step of the stage that is observed, while there is room.
    fn keep(&mut self, inputs: Matrix) {
        let size = |matrix: &Matrix| size_of_val(&*matrix.data);
        let kept: usize = self.kept.iter().flat_map(|kept| &kept.steps).map(size).sum();
        let Some(open) = self.kept.last_mut().filter(|kept| kept.is_open) else { return };
        if kept + size(&inputs) <= KEPT_BYTES {
            open.steps.push(inputs);
        } else {
            open.is_open = false;
        }
    }
}

/// Gives the modules of a step their inputs, as far as these were kept.
fn known<'o>(observe: Observe<'o>, kept: &'o [Kept], bound: &Bound, step: usize) -> Observe<'o> {
    kept.iter().fold(observe, |observe, kept| match kept.steps.get(step) {
        Some(inputs) => {
            let weights: Vec<&Weight> = kept.modules.iter().map(|module| bound.weight(module)).collect();
            observe.knowing(&weights, inputs)
        }
        None => observe,
    })
}
