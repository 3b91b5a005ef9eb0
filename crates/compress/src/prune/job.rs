//! The work on a whole model, layer by layer.

use std::rc::Rc;

use honelm_backend::Backend;
use honelm_model::{Checkpoint, Module, Parameter, Parameters, Resize, Slot};
use honelm_store::Journal;
use serde::{Deserialize, Serialize};

use super::choice::Choice;
use super::counts::Counts;
use super::cut::{self, CutWeights, Kept, encoded, float_encoding, spread};
use super::probe::Probe;
use super::restore::{Fitted, Seen, restore};
use super::sparse::Sparsity;
use super::{LayerFigures, Prune, PruneFigures, UnitFigures, UnitImportance, activations, depth, reconstruction};
use crate::activations::Streams;
use crate::overlay::{Change, Overlay};
use crate::pipeline::{ADVANCE, Progress, Report};
use crate::stage::{names, not_usable};
use crate::{Calibration, CompressError, Damping, Hessian};

/// The damping of fits and of the choice of units.
const DAMPING: Damping = Damping { first: 1e-3, step: 1e-2, retries: 20 };

/// The share of the samples that is held out, as a divisor, and the largest number of them.
const HELD_OUT: (usize, usize) = (4, 16);

/// The journal entry of the layers that remain.
const DEPTH: &str = "depth";

/// The result of [`prune`].
#[derive(Debug)]
pub struct Pruned {
    /// The model after cutting, or with zeros in place of weights.
    pub cut: Checkpoint,
    /// The model after restoration; `None` if the settings leave what remains as it was.
    pub restored: Option<Checkpoint>,
    /// The sizes.
    pub sizes: Resize,
    /// What was removed, and what it cost.
    pub figures: PruneFigures,
    /// What remains of each layer.
    pub kept: Vec<Kept>,
    /// Shares that could not be met.
    pub warnings: Vec<String>,
}

impl Pruned {
    /// Returns the model to write.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        self.restored.as_ref().unwrap_or(&self.cut)
    }
}

impl Prune {
    /// Returns `true` if finished layers have weights of their own.
    fn saves_weights(&self) -> bool {
        self.restore || self.sparsity.is_some()
    }

    /// Returns the sizes of the pruned model, without the choice of layers, and the shares that cannot be met. Nothing is computed.
    ///
    /// # Errors
    /// [`CompressError::Unsupported`] for settings that remove nothing or everything of a kind, and sizes that the architecture's
    /// configuration cannot express.
    pub fn plan(&self, checkpoint: &Rc<Checkpoint>) -> Result<(Checkpoint, Vec<String>), CompressError> {
        let Counts { mut sizes, warnings, .. } = Counts::new(self, checkpoint)?;
        sizes.layers.truncate(sizes.layers.len() - self.layers);
        let resized = checkpoint.resized(&sizes, Rc::new(CutWeights::new(checkpoint, Vec::new(), None)))?;
        Ok((resized, warnings))
    }
}

/// Prunes `checkpoint` by `settings`, with one layer in memory at a time.
///
/// Layers are removed first. Then every remaining layer is cut and restored in turn, on the inputs that those before it produce in
/// their pruned form. Finished layers are entries of `journal`, from which an interrupted run goes on. `backend` computes in f32.
///
/// # Errors
/// [`CompressError::Unsupported`] for settings that cannot be met and for fewer than two samples; [`CompressError::Inputs`]; errors of the model and the back end.
pub fn prune(
    checkpoint: &Rc<Checkpoint>,
    settings: &Prune,
    calibration: &Calibration,
    journal: &Journal,
    (backend, threads): (&mut dyn Backend, usize),
    report: Report<'_>,
) -> Result<Pruned, CompressError> {
    let counts = Counts::new(settings, checkpoint)?;
    settings.plan(checkpoint)?;
    let [train, held_out] = split(calibration)?;
    let total = counts.sizes.layers.len() + 2;
    let mut job = Job { checkpoint, settings, counts, journal, threads, report, done: 0, total };
    let mut probe = match checkpoint.facts().encoder {
        true => None,
        false => Some(Probe::new(checkpoint, &held_out, backend)?),
    };
    let layers = job.choose_layers(probe.as_mut(), backend)?;
    job.done += 1;
    let done = job.cut_layers(&train, &layers, backend)?;
    let sizes = Resize { layers: layers.clone(), ..job.counts.sizes.clone() };
    let kept: Vec<Kept> = done.iter().map(|layer| layer.kept.clone()).collect();
    let weights = |restored| Rc::new(CutWeights::new(checkpoint, kept.clone(), restored));
    let saved = || checkpoint.resized(&sizes, weights(Some(journal.clone())));
    let (cut, restored) = match settings.sparsity {
        Some(_) => (saved()?, None),
        None => (checkpoint.resized(&sizes, weights(None))?, settings.restore.then(saved).transpose()?),
    };
    let mut figures = PruneFigures {
        layers_removed: (0..checkpoint.facts().layers).filter(|i| !layers.contains(i)).collect(),
        layers: done.into_iter().map(|layer| layer.figures).collect(),
        ..PruneFigures::default()
    };
    if let Some(probe) = &probe {
        job.tell("measuring the divergence on held-out samples")?;
        figures.held_out_tokens = held_out.tokens();
        figures.kl_after_cutting = Some(probe.divergence_from(&cut, backend)?);
        let after = restored.as_ref().map(|restored| probe.divergence_from(restored, backend));
        figures.kl_after_restoration = after.transpose()?;
    }
    Ok(Pruned { cut, restored, sizes, figures, kept, warnings: job.counts.warnings })
}

/// Splits a calibration text into the samples to fit on and those that are held out.
fn split(calibration: &Calibration) -> Result<[Calibration; 2], CompressError> {
    let all = &calibration.samples;
    if all.len() < 2 {
        let problem = format!("pruning holds samples out: found {} calibration sample, expected at least 2", all.len());
        return Err(CompressError::Unsupported(problem));
    }
    let held_out = (all.len() / HELD_OUT.0).clamp(1, HELD_OUT.1);
    let (train, rest) = all.split_at(all.len() - held_out);
    Ok([train, rest].map(|samples| Calibration { samples: samples.to_vec() }))
}

/// A finished layer.
#[derive(Serialize, Deserialize)]
struct Done {
    kept: Kept,
    figures: LayerFigures,
}

struct Job<'a, 'r> {
    checkpoint: &'a Rc<Checkpoint>,
    settings: &'a Prune,
    counts: Counts,
    journal: &'a Journal,
    threads: usize,
    report: Report<'r>,
    done: usize,
    total: usize,
}

impl<'a> Job<'a, '_> {
    fn tell(&mut self, stage: &str) -> Result<(), CompressError> {
        let (stage, work) = (stage.to_owned(), ADVANCE.to_owned());
        let progress = Progress { done: self.done, total: self.total, stage, work, warning: None };
        if (self.report)(&progress) { Ok(()) } else { Err(CompressError::Interrupted) }
    }

    /// Returns the layers that remain.
    fn choose_layers(
        &mut self,
        probe: Option<&mut Probe<'_>>,
        backend: &mut dyn Backend,
    ) -> Result<Vec<usize>, CompressError> {
        let mut left = self.counts.sizes.layers.clone();
        let count = self.settings.layers;
        if count == 0 {
            return Ok(left);
        }
        let candidates = depth::candidates(left.len(), self.settings.protect);
        if count > candidates.len() {
            return Err(CompressError::Unsupported(format!(
                "layers {count}: {} of {} can be removed, those from {} to {}; the others are protected",
                candidates.len(),
                left.len(),
                candidates.start,
                candidates.end.saturating_sub(1)
            )));
        }
        let Some(probe) = probe else {
            let problem = "layers: an encoder has no output by which its layers could be compared";
            return Err(CompressError::Unsupported(problem.to_owned()));
        };
        let saved = self.journal.get(DEPTH)?.and_then(|bytes| serde_json::from_slice::<Vec<usize>>(&bytes).ok());
        if let Some(saved) = saved {
            return Ok(saved);
        }
        depth::remove(probe, &mut left, (&candidates, count), backend, &mut |stage| self.tell(&stage))?;
        self.journal.put(DEPTH, &serde_json::to_vec(&left).unwrap_or_default())?;
        Ok(left)
    }

    /// Cuts and restores the layers that remain.
    fn cut_layers(
        &mut self,
        train: &Calibration,
        layers: &[usize],
        backend: &mut dyn Backend,
    ) -> Result<Vec<Done>, CompressError> {
        let mut finished: Vec<Option<Done>> = layers.iter().map(|&i| self.load(i)).collect::<Result<_, _>>()?;
        if finished.iter().all(Option::is_some) {
            return Ok(finished.into_iter().flatten().collect());
        }
        let scores = self.scores(train, backend)?;
        let mut streams = Streams::new(self.checkpoint, train, self.settings.sparsity.is_none(), backend)?;
        let all = self.counts.sizes.layers.clone();
        for (n, &i) in all.iter().enumerate() {
            let at = layers.iter().position(|&layer| layer == i);
            let is_last = n + 1 == all.len();
            let Some(at) = at else {
                streams.skip(self.checkpoint, i, backend)?;
                continue;
            };
            self.tell(&format!("layer {} of {}", i + 1, all.len()))?;
            let overlay = match &finished[at] {
                Some(done) => self.overlay(&done.kept)?,
                None => {
                    let (done, overlay) = match self.settings.sparsity {
                        Some(sparsity) => self.sparse_layer(i, &sparsity, &mut streams, backend)?,
                        None => self.layer(i, &scores, &mut streams, backend)?,
                    };
                    finished[at] = Some(done);
                    overlay
                }
            };
            if !is_last {
                streams.advance(self.checkpoint, &overlay, i, backend)?;
            }
            self.done += 1;
        }
        Ok(finished.into_iter().flatten().collect())
    }

    /// Cuts and restores one layer, and saves it.
    fn layer(
        &mut self,
        i: usize,
        scores: &Scores,
        streams: &mut Streams,
        backend: &mut dyn Backend,
    ) -> Result<(Done, Overlay<'a>), CompressError> {
        let checkpoint = self.checkpoint;
        let (mut overlay, exact) = (Overlay::new(checkpoint, Some(i)), Overlay::new(checkpoint, Some(i)));
        let all = checkpoint.sizes();
        let mut kept = Kept { layer: i, heads: (0..all.heads).collect(), neurons: (0..all.ffn).collect() };
        let mut figures = LayerFigures { layer: i, heads: None, neurons: None, zeros: None };
        let mut changes = Vec::new();
        for stage in checkpoint.tree().stages(i) {
            let [consumer] = stage[..] else { continue };
            let Some(channels) = consumer.computed_by.first() else { continue };
            let is_heads = channels.head_width > 1;
            let choice = if is_heads { self.counts.heads } else { self.counts.neurons };
            if choice.is_none() && !self.settings.restore {
                continue;
            }
            let slot = Slot { layer: Some(i), module: consumer.name };
            let Parameter { weight, bias } = checkpoint.parameter(slot)?;
            let w = weight.dequantize();
            let mut seen = Seen::new(w.cols, self.threads);
            streams.observe([&overlay, &exact], i, &stage, backend, &mut |pruned, original| {
                let original = original.unwrap_or(pruned);
                if let Some(column) = [pruned, original].into_iter().find_map(not_usable) {
                    return Err(CompressError::Inputs { layer: i, modules: consumer.name.to_owned(), column });
                }
                seen.add(pruned, original, &w);
                Ok(())
            })?;
            if let Some(choice) = choice {
                let units = self.choose(&choice, scores.of(slot), &w, &seen)?;
                let per_unit = choice.width / channels.head_width;
                let units = units.into_iter().flat_map(|unit| unit * per_unit..(unit + 1) * per_unit).collect();
                if is_heads { kept.heads = units } else { kept.neurons = units }
            }
            let columns = kept.columns(consumer);
            let before = super::restore::cut(&w, bias.as_deref(), &columns, &seen);
            let after = match self.settings.restore {
                true => Some(restore(&w, bias.as_deref(), &columns, &seen, DAMPING)),
                false => None,
            };
            let removed = (w.cols - columns.len()) / channels.head_width;
            let found = UnitFigures {
                removed,
                of: w.cols / channels.head_width,
                error_after_cutting: before.error,
                error_after_restoration: after.as_ref().map_or(before.error, |after| after.error),
            };
            if is_heads {
                figures.heads = Some(found)
            } else {
                figures.neurons = Some(found)
            }
            let change = written(checkpoint, consumer, slot, after.unwrap_or(before))?;
            overlay.set(widened(&change, &columns, w.cols)?);
            changes.push(change);
        }
        checkpoint.check_unchanged()?;
        if self.settings.restore {
            cut::save(self.journal, i, &changes)?;
        }
        let done = Done { kept, figures };
        self.journal.put(&entry(i), &serde_json::to_vec(&done).unwrap_or_default())?;
        Ok((done, overlay))
    }

    /// Replaces weights of one layer by zeros, and saves it.
    fn sparse_layer(
        &mut self,
        i: usize,
        sparsity: &Sparsity,
        streams: &mut Streams,
        backend: &mut dyn Backend,
    ) -> Result<(Done, Overlay<'a>), CompressError> {
        let checkpoint = self.checkpoint;
        let (mut overlay, exact) = (Overlay::new(checkpoint, Some(i)), Overlay::new(checkpoint, Some(i)));
        let (mut changes, mut zeros) = (Vec::new(), 0);
        for stage in checkpoint.tree().stages(i) {
            let mut hessian = Hessian::new(stage.first().map_or(0, |module| module.shape[1]), self.threads);
            streams.observe([&overlay, &exact], i, &stage, backend, &mut |inputs, _| match not_usable(inputs) {
                Some(column) => Err(CompressError::Inputs { layer: i, modules: names(&stage), column }),
                None => {
                    hessian.add(inputs);
                    Ok(())
                }
            })?;
            let factor = sparsity.factor(&hessian);
            for module in &stage {
                let slot = Slot { layer: Some(i), module: module.name };
                let Parameter { weight, bias } = checkpoint.parameter(slot)?;
                let weight = sparsity.apply(&weight.dequantize(), &hessian, factor.as_ref(), self.threads);
                zeros += weight.data.iter().filter(|x| **x == 0.0).count() as u64;
                changes.push(written(checkpoint, module, slot, Fitted { weight, bias, error: 0.0 })?);
            }
            changes.iter().for_each(|change: &Change| overlay.set(change.clone()));
        }
        checkpoint.check_unchanged()?;
        cut::save(self.journal, i, &changes)?;
        let all = checkpoint.sizes();
        let kept = Kept { layer: i, heads: (0..all.heads).collect(), neurons: (0..all.ffn).collect() };
        let figures = LayerFigures { layer: i, heads: None, neurons: None, zeros: Some(zeros) };
        let done = Done { kept, figures };
        self.journal.put(&entry(i), &serde_json::to_vec(&done).unwrap_or_default())?;
        Ok((done, overlay))
    }

    /// Returns the units that remain.
    fn choose(
        &self,
        choice: &Choice,
        scores: &[f64],
        w: &honelm_tensor::Matrix,
        seen: &Seen,
    ) -> Result<Vec<usize>, CompressError> {
        let by_activations = || choice.keep_highest(&activations::scores(w, &seen.hessian, choice));
        Ok(match self.settings.importance {
            UnitImportance::Activations => by_activations(),
            UnitImportance::Reconstruction => {
                reconstruction::keep(w, &seen.hessian, DAMPING, choice).unwrap_or_else(by_activations)
            }
            UnitImportance::Taylor => {
                let of_unit = scores.len() / choice.units.max(1);
                let sums: Vec<f64> = scores.chunks(of_unit.max(1)).map(|unit| unit.iter().sum()).collect();
                if sums.len() != choice.units {
                    let problem = "the importance taylor needs the feature `tune`".to_owned();
                    return Err(CompressError::Unsupported(problem));
                }
                choice.keep_highest(&sums)
            }
        })
    }

    /// Returns the finished layer of an earlier run.
    fn load(&self, i: usize) -> Result<Option<Done>, CompressError> {
        let saved = self.journal.get(&entry(i))?;
        let Some(done) = saved.and_then(|bytes| serde_json::from_slice::<Done>(&bytes).ok()) else { return Ok(None) };
        let is_whole = !self.settings.saves_weights() || cut::load(self.journal, self.checkpoint, i).is_ok();
        Ok(is_whole.then_some(done))
    }

    /// Returns the overlay of a finished layer in the original's shapes, with zeros for what was removed.
    fn overlay(&self, kept: &Kept) -> Result<Overlay<'a>, CompressError> {
        let mut overlay = Overlay::new(self.checkpoint, Some(kept.layer));
        let restored = match self.settings.saves_weights() {
            true => cut::load(self.journal, self.checkpoint, kept.layer)?,
            false => Vec::new(),
        };
        if self.settings.sparsity.is_some() {
            restored.into_iter().for_each(|change| overlay.set(change));
            return Ok(overlay);
        }
        for consumer in self.checkpoint.tree().layers[kept.layer].iter().filter(|m| !m.computed_by.is_empty()) {
            let columns = kept.columns(consumer);
            let slot = Slot { layer: Some(kept.layer), module: consumer.name };
            let change = match restored.iter().find(|change| change.module == consumer.name) {
                Some(change) => change.clone(),
                None => {
                    let Parameter { weight, bias } = self.checkpoint.parameter(slot)?;
                    let weight = cut::selected(&weight.dequantize(), None, Some(&columns));
                    written(self.checkpoint, consumer, slot, Fitted { weight, bias, error: 0.0 })?
                }
            };
            overlay.set(widened(&change, &columns, consumer.shape[1])?);
        }
        Ok(overlay)
    }

    /// Returns the scores of the heads and neurons by gradients, if the importance needs them.
    fn scores(&mut self, train: &Calibration, backend: &mut dyn Backend) -> Result<Scores, CompressError> {
        if self.settings.importance != UnitImportance::Taylor {
            return Ok(Scores::default());
        }
        #[cfg(feature = "tune")]
        {
            let (checkpoint, journal, threads) = (self.checkpoint, self.journal, self.threads);
            Scores::load_or_compute(checkpoint, train, journal, (backend, threads), &mut |stage| self.tell(&stage))
        }
        #[cfg(not(feature = "tune"))]
        {
            let _ = (train, backend);
            Ok(Scores::default())
        }
    }
}

#[cfg(feature = "tune")]
use super::taylor::Scores;

/// The scores of units by gradients, which this build has none of.
#[cfg(not(feature = "tune"))]
#[derive(Default)]
struct Scores {}

#[cfg(not(feature = "tune"))]
impl Scores {
    fn of(&self, _slot: Slot) -> &[f64] {
        &[]
    }
}

fn entry(layer: usize) -> String {
    format!("kept-{layer:04}")
}

/// Returns a consumer as it is written.
fn written(checkpoint: &Checkpoint, consumer: &Module, slot: Slot, fitted: Fitted) -> Result<Change, CompressError> {
    let encoding = float_encoding(checkpoint.encoding(slot)?);
    let weight = encoded(&fitted.weight, encoding, &checkpoint.name_of(slot))?;
    Ok(Change { module: consumer.name, parameter: Parameter { weight, bias: fitted.bias } })
}

/// Returns a consumer in the shape of the original.
fn widened(change: &Change, columns: &[usize], width: usize) -> Result<Change, CompressError> {
    let wide = spread(&change.parameter.weight.dequantize(), columns, width);
    let weight = encoded(&wide, honelm_blocks::Encoding::F32, change.module)?;
    Ok(Change { module: change.module, parameter: Parameter { weight, bias: change.parameter.bias.clone() } })
}
