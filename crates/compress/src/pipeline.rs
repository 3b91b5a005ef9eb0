//! The work on a whole model, layer by layer.

use honelm_backend::Backend;
use honelm_model::{Checkpoint, Module, Parameter, Parameters, Slot};
use honelm_store::Journal;

use crate::activations::Streams;
use crate::methods::{Method, Needs, Scales};
use crate::overlay::{Change, Compressed, Overlay};
use crate::rounding::round;
use crate::stage::{Stage, names};
use crate::target::{Scheme, Target};
use crate::{Calibration, CompressError};

/// The state of a compression.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The number of finished shares of the work.
    pub done: usize,
    /// The number of all shares: one per layer, one for the tables outside of layers.
    pub total: usize,
    /// The stage in work.
    pub stage: String,
    /// A message for the user: a fallback that was taken.
    pub warning: Option<String>,
}

/// Called at every stage; returns `false` to stop.
pub type Report<'a> = &'a mut dyn FnMut(&Progress) -> bool;

/// Compresses `checkpoint` by `scheme` into `journal`, one layer in memory at a time.
///
/// Layers that the journal already has are not compressed again. Within a layer the stages of the module tree are
/// compressed in order, each from the inputs that the stages and layers before it produce in their compressed form
/// (true-sequential). `backend` computes in f32.
///
/// # Errors
/// [`CompressError`]; layers that were finished before stay in the journal.
pub fn compress<'a>(
    checkpoint: &'a Checkpoint,
    scheme: &Scheme,
    calibration: Option<&Calibration>,
    journal: &Journal,
    backend: &mut dyn Backend,
    threads: usize,
    report: Report<'_>,
) -> Result<Compressed<'a>, CompressError> {
    let methods = scheme.recipe.methods()?;
    if let Some(step) = scheme.recipe.steps.iter().find(|step| scheme.importance.is_some() && step.kind != "rtn") {
        let problem =
            format!("an importance matrix is for rounding to nearest: found the step {}, expected rtn", step.kind);
        return Err(CompressError::Unsupported(problem));
    }
    let needs = methods.iter().map(|m| m.needs()).max().unwrap_or(Needs::Nothing);
    let mut streams = match calibration {
        _ if needs == Needs::Nothing => None,
        Some(c) => Some(Streams::new(checkpoint, c, needs == Needs::Originals, backend)?),
        None => return Err(CompressError::Unsupported("the recipe needs a calibration text".to_owned())),
    };
    let compressed = Compressed::new(checkpoint, scheme, journal.clone());
    let layers = checkpoint.tree().layers.len();
    let mut job = Job { checkpoint, scheme, methods, threads, report, done: 0, total: layers + 1 };
    for i in 0..layers {
        let is_last = i + 1 == layers;
        if !compressed.has(Some(i))? {
            let overlay = job.layer(i, streams.as_mut(), backend)?;
            compressed.put(&overlay)?;
            if let Some(streams) = &mut streams
                && !is_last
            {
                streams.advance(checkpoint, &overlay, i, backend)?;
            }
        } else if let Some(streams) = &mut streams
            && !is_last
        {
            job.tell(format!("layer {} of {layers}: resumed", i + 1), None)?;
            streams.advance(checkpoint, &compressed, i, backend)?;
        }
        job.done += 1;
    }
    if !compressed.has(None)? {
        compressed.put(&job.tables()?)?;
    }
    job.done += 1;
    job.tell("finished".to_owned(), None)?;
    Ok(compressed)
}

struct Job<'a, 'r> {
    checkpoint: &'a Checkpoint,
    scheme: &'a Scheme,
    methods: Vec<Box<dyn Method>>,
    threads: usize,
    report: Report<'r>,
    done: usize,
    total: usize,
}

impl<'a> Job<'a, '_> {
    fn tell(&mut self, stage: String, warning: Option<String>) -> Result<(), CompressError> {
        let progress = Progress { done: self.done, total: self.total, stage, warning };
        if (self.report)(&progress) { Ok(()) } else { Err(CompressError::Interrupted) }
    }

    /// Runs the recipe on layer `i`.
    ///
    /// Neighbouring steps run together on one stage after the other, so that each stage sees the compressed form of those
    /// before it. A step that changes earlier stages ends such a run.
    fn layer(
        &mut self,
        i: usize,
        mut streams: Option<&mut Streams>,
        backend: &mut dyn Backend,
    ) -> Result<Overlay<'a>, CompressError> {
        let mut overlay = Overlay::new(self.checkpoint, Some(i));
        let (mut exact, mut only_scales) = (overlay.clone(), true);
        let methods = std::mem::take(&mut self.methods);
        let runs = methods.chunk_by(|a, b| !a.precedes() && !b.precedes());
        for run in runs {
            for modules in self.checkpoint.tree().stages(i) {
                let label = format!("layer {} of {}: {}", i + 1, self.total - 1, names(&modules));
                self.tell(label.clone(), None)?;
                let mut statistics = None;
                for method in run {
                    let mut stage = Stage {
                        layer: i,
                        modules: modules.clone(),
                        params: &overlay,
                        exact: &exact,
                        scheme: self.scheme,
                        streams: streams.as_deref_mut(),
                        backend: &mut *backend,
                        threads: self.threads,
                        statistics,
                        warnings: Vec::new(),
                    };
                    let changes = method.apply(&mut stage)?;
                    let warnings = std::mem::take(&mut stage.warnings);
                    statistics = stage.statistics;
                    // A parameter outside of the stage, such as the norm before it, changes the inputs.
                    if changes.iter().any(|change| modules.iter().all(|m| m.name != change.module)) {
                        statistics = None;
                    }
                    changes.into_iter().for_each(|change| overlay.set(change));
                    for warning in warnings {
                        self.tell(label.clone(), Some(warning))?;
                    }
                }
            }
            only_scales &= run.iter().all(|method| method.precedes());
            if only_scales {
                exact = overlay.clone();
            }
        }
        self.methods = methods;
        let unfinished =
            |problem| CompressError::Unsupported(format!("the recipe rounds too little: layer {i}: {problem}"));
        overlay.check(self.scheme).map_err(unfinished)?;
        Ok(overlay)
    }

    /// Rounds embedding and output layer to nearest.
    fn tables(&mut self) -> Result<Overlay<'a>, CompressError> {
        self.tell("embedding and output".to_owned(), None)?;
        let tree = self.checkpoint.tree();
        let mut overlay = Overlay::new(self.checkpoint, None);
        for module in tree.outer() {
            if let Some(change) = self.rounded(module)? {
                overlay.set(change);
            }
        }
        Ok(overlay)
    }

    /// Returns a module outside of the layers, rounded to its target; `None` where it stays as it is.
    fn rounded(&self, module: &Module) -> Result<Option<Change>, CompressError> {
        let slot = Slot { layer: None, module: module.name };
        let target = self.scheme.target(self.checkpoint.tree(), slot, module);
        if target == Target::Keep {
            return Ok(None);
        }
        let Parameter { weight, bias } = self.checkpoint.parameter(slot)?;
        let importance = self.scheme.importance_of(slot);
        let scales = if importance.is_some() { Scales::Weighted } else { Scales::MinMax };
        let rounded = round(&weight.dequantize(), target, scales, importance, self.threads);
        let name = || self.checkpoint.tensor_name(slot).unwrap_or_default();
        let weight = rounded.map_err(|source| CompressError::Weight { name: name(), source })?;
        Ok(Some(Change { module: module.name, parameter: Parameter { weight, bias } }))
    }
}
