//! The work on a whole model, layer by layer.

use std::rc::Rc;

use honelm_backend::Backend;
use honelm_model::{Checkpoint, Module, Slot};
use honelm_store::Journal;

use crate::activations::Streams;
use crate::methods::{Method, Needs};
use crate::overlay::{Change, Compressed, Overlay};
use crate::stage::{Collector, Stage, Statistics, names, not_usable};
use crate::target::{Scheme, Target};
#[cfg(feature = "tune")]
use crate::tune;
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
    /// The work that begins: [`INPUTS`], the `kind` of a step of the recipe, [`ADVANCE`].
    pub work: String,
    /// A message for the user: a fallback that was taken.
    pub warning: Option<String>,
}

/// The work of observing inputs.
pub const INPUTS: &str = "inputs";
/// The work of moving the hidden states past a layer, and of what else is between steps of the recipe.
pub const ADVANCE: &str = "next layer";

/// Called when work begins; returns `false` to stop.
pub type Report<'a> = &'a mut dyn FnMut(&Progress) -> bool;

/// Compresses `checkpoint` by `scheme` into `journal`, one layer in memory at a time.
///
/// Layers that the journal already has are not compressed again. Within a layer the stages of the module tree are
/// compressed in order, each from the inputs that the stages and layers before it produce in their compressed form
/// (true-sequential). The output layer follows, from the inputs that the compressed layers produce, and the embedding, which
/// is rounded to nearest. `backend` computes in f32.
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
    let finished = Compressed::new(checkpoint, scheme, journal.clone());
    let tune = scheme.recipe.tuning()?;
    let layers = checkpoint.tree().layers.len();
    if finished.is_complete()? {
        let (stage, work) = ("finished".to_owned(), ADVANCE.to_owned());
        let progress = Progress { done: layers + 1, total: layers + 1, stage, work, warning: None };
        return if report(&progress) { Ok(finished) } else { Err(CompressError::Interrupted) };
    }
    let split = match (&tune, calibration) {
        (Some(tune), Some(calibration)) => Some(tune.split(calibration)?),
        (Some(_), None) => return Err(needs_text()),
        (None, _) => None,
    };
    let calibration = split.as_ref().map_or(calibration, |[train, _]| Some(train));
    let compressed = finished.untuned();
    let needs = methods.iter().map(|m| m.needs()).max().unwrap_or(Needs::Nothing);
    let mut streams = match calibration {
        _ if needs == Needs::Nothing => None,
        Some(c) => Some(Streams::new(checkpoint, c, needs == Needs::Originals, backend)?),
        None => return Err(needs_text()),
    };
    let mut job = Job { checkpoint, scheme, methods, threads, report, done: 0, total: layers + 1 };
    let has_tables = compressed.has(None)?;
    let end = if has_tables || !job.observes_output() { layers.saturating_sub(1) } else { layers };
    for i in 0..layers {
        if !compressed.has(Some(i))? {
            let overlay = job.layer(i, streams.as_mut(), backend)?;
            compressed.put(&overlay)?;
            if let Some(streams) = &mut streams
                && i < end
            {
                streams.advance(checkpoint, &overlay, i, backend)?;
            }
        } else if let Some(streams) = &mut streams
            && i < end
        {
            job.tell(&format!("layer {} of {layers}: resumed", i + 1), ADVANCE)?;
            streams.advance(checkpoint, &compressed, i, backend)?;
        }
        job.done += 1;
    }
    streams.iter_mut().for_each(Streams::forget);
    if !has_tables {
        compressed.put(&job.tables(streams.as_mut(), backend)?)?;
    }
    job.done += 1;
    job.tell("finished", ADVANCE)?;
    #[cfg(feature = "tune")]
    if let (Some(settings), Some([train, held_out])) = (&tune, &split) {
        drop(streams);
        let (samples, compressed) = ([train, held_out], [&compressed, &finished]);
        let input = tune::Input { checkpoint, settings, samples, compressed, journal, threads };
        tune::run(&input, backend, job.report)?;
    }
    Ok(finished)
}

fn needs_text() -> CompressError {
    CompressError::Unsupported("the recipe needs a calibration text".to_owned())
}

/// The state of [`compress`]. The work on the modules outside of layers is in `tables.rs`.
pub(crate) struct Job<'a, 'r> {
    pub checkpoint: &'a Checkpoint,
    pub scheme: &'a Scheme,
    pub methods: Vec<Box<dyn Method>>,
    pub threads: usize,
    report: Report<'r>,
    done: usize,
    total: usize,
}

impl<'a> Job<'a, '_> {
    /// Reports that work on a stage begins.
    pub(crate) fn tell(&mut self, stage: &str, work: &str) -> Result<(), CompressError> {
        self.report(stage, work, None)
    }

    /// Reports something that the user should know.
    pub(crate) fn warn(&mut self, stage: &str, warning: String) -> Result<(), CompressError> {
        self.report(stage, ADVANCE, Some(warning))
    }

    fn report(&mut self, stage: &str, work: &str, warning: Option<String>) -> Result<(), CompressError> {
        let (stage, work) = (stage.to_owned(), work.to_owned());
        let progress = Progress { done: self.done, total: self.total, stage, work, warning };
        if (self.report)(&progress) { Ok(()) } else { Err(CompressError::Interrupted) }
    }

    /// Applies a method to a stage, and reports when the work on its inputs and its own begins.
    pub(crate) fn apply(
        &mut self,
        (label, kind): (&str, &str),
        method: &dyn Method,
        stage: &mut Stage<'_>,
    ) -> Result<Vec<Change>, CompressError> {
        if method.needs() > Needs::Nothing && stage.statistics.is_none() {
            self.tell(label, INPUTS)?;
            stage.statistics()?;
        }
        self.tell(label, kind)?;
        method.apply(stage)
    }

    /// Runs the recipe on layer `i`.
    ///
    /// The steps at the beginning that precede the rounding run one after the other, each on all stages. Neighbouring steps
    /// after them run together on one stage after the other, so that each stage sees the compressed form of those before it.
    /// A step that changes earlier stages ends such a run.
    fn layer(
        &mut self,
        i: usize,
        mut streams: Option<&mut Streams>,
        backend: &mut dyn Backend,
    ) -> Result<Overlay<'a>, CompressError> {
        let mut overlay = Overlay::new(self.checkpoint, Some(i));
        let (mut exact, mut only_scales) = (overlay.clone(), true);
        let stages = self.checkpoint.tree().stages(i);
        let methods = std::mem::take(&mut self.methods);
        let scheme = self.scheme;
        let kinds = scheme.recipe.steps.iter().map(|step| &*step.kind);
        let steps: Vec<(&str, &dyn Method)> = kinds.zip(methods.iter().map(|method| &**method)).collect();
        let preceding = steps.iter().take_while(|(_, method)| method.precedes()).count();
        let (first, rest) = steps.split_at(preceding);
        let (mut known, mut label) = (vec![None; stages.len()], String::new());
        if let Some(streams) = streams.as_deref_mut()
            && first.iter().any(|(_, method)| method.needs() == Needs::Inputs)
        {
            label = format!("layer {} of {}", i + 1, self.total - 1);
            self.tell(&label, INPUTS)?;
            known = self.observed(i, &overlay, &stages, streams, backend)?;
        }
        let runs = first.chunks(1).chain(rest.chunk_by(|(_, a), (_, b)| !a.is_exact() && !b.is_exact()));
        for (run, steps) in runs.enumerate() {
            streams.iter_mut().for_each(|streams| streams.forget());
            for (modules, known) in stages.iter().zip(&mut known) {
                if modules.iter().all(|module| self.target(i, module) == Target::Keep) {
                    continue;
                }
                label = format!("layer {} of {}: {}", i + 1, self.total - 1, names(modules));
                // The inputs after a rounding are not those before it.
                let mut statistics = known.take().filter(|_| run < preceding);
                for (m, &(kind, method)) in steps.iter().enumerate() {
                    if steps[m..].iter().all(|(_, method)| method.needs() < Needs::Originals) {
                        statistics = statistics.map(without_cross);
                    }
                    let mut stage = Stage {
                        layer: Some(i),
                        modules: modules.clone(),
                        params: &overlay,
                        exact: &exact,
                        scheme,
                        streams: streams.as_deref_mut(),
                        backend: &mut *backend,
                        threads: self.threads,
                        read_share: 0.0,
                        statistics,
                        is_rescaled: false,
                        warnings: Vec::new(),
                    };
                    let changes = self.apply((&label, kind), method, &mut stage)?;
                    let Stage { warnings, statistics: seen, is_rescaled, .. } = stage;
                    // A parameter outside of the stage, such as the norm before it, changes the inputs.
                    let is_outside = changes.iter().any(|change| modules.iter().all(|m| m.name != change.module));
                    statistics = seen.filter(|_| is_rescaled || !is_outside);
                    if is_outside {
                        streams.iter_mut().for_each(|streams| streams.forget());
                    }
                    changes.into_iter().for_each(|change| overlay.set(change));
                    for warning in warnings {
                        self.warn(&label, warning)?;
                    }
                }
                *known = statistics.filter(|_| run + 1 < preceding);
            }
            only_scales &= steps.iter().all(|(_, method)| method.is_exact());
            if only_scales {
                exact = overlay.clone();
            }
        }
        self.methods = methods;
        self.tell(&label, ADVANCE)?;
        if !exact.is_empty() {
            streams.iter_mut().for_each(|streams| streams.forget_originals());
        }
        let unfinished =
            |problem| CompressError::Unsupported(format!("the recipe rounds too little: layer {i}: {problem}"));
        overlay.check(self.scheme).map_err(unfinished)?;
        Ok(overlay)
    }

    fn target(&self, i: usize, module: &Module) -> Target {
        self.scheme.target(self.checkpoint.tree(), Slot { layer: Some(i), module: module.name }, module)
    }

    /// Returns the statistics of all stages of layer `i` before anything in it is rounded, from one pass through the layer.
    fn observed(
        &self,
        i: usize,
        params: &Overlay<'_>,
        stages: &[Vec<&Module>],
        streams: &mut Streams,
        backend: &mut dyn Backend,
    ) -> Result<Vec<Option<Rc<Statistics>>>, CompressError> {
        let firsts: Vec<&Module> = stages.iter().filter_map(|modules| modules.first().copied()).collect();
        let names_of: Vec<&'static str> = firsts.iter().map(|module| module.name).collect();
        let mut collectors: Vec<_> = firsts.iter().map(|m| Collector::new(m.shape[1], self.threads)).collect();
        streams.observe_part(params, i, &names_of, backend, &mut |stage, inputs| match not_usable(inputs) {
            Some(column) => Err(CompressError::Inputs { layer: i, modules: names(&stages[stage]), column }),
            None => {
                collectors[stage].add(inputs, None);
                Ok(())
            }
        })?;
        Ok(collectors.into_iter().map(|collector| Some(Rc::new(collector.statistics()))).collect())
    }
}

/// Frees the products with the original's inputs, which no later method needs.
pub(crate) fn without_cross(mut statistics: Rc<Statistics>) -> Rc<Statistics> {
    if let Some(statistics) = Rc::get_mut(&mut statistics) {
        statistics.cross = None;
    }
    statistics
}
