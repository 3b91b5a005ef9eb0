use std::cell::RefCell;

use honelm_backend::{Backend, Observe};
use honelm_blocks::{BlockMatrix, Encoding, ScaleType, WeightData};
use honelm_model::{Bound, Checkpoint, ModelError, Module, Parameter, Parameters, Slot, StoredEncoding, Stream};
use honelm_store::Journal;
use honelm_tensor::Matrix;

use crate::parallel::for_each;
use crate::scheme::{Method, Scheme, Target, grid};
use crate::{Calibration, CompressError, Factor, Hessian, rtn, saved, sweep};

/// Rows that run through a layer together.
pub const STEP_ROWS: usize = 4096;

/// Where a compression stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Finished shares of the work.
    pub done: usize,
    /// All of them: one for each layer, one for the tables outside of layers.
    pub total: usize,
    /// What is being worked on.
    pub stage: String,
    /// Something the user should know: a fallback that was taken.
    pub warning: Option<String>,
}

/// Told of every stage; returns false to stop.
pub type Report<'a> = &'a mut dyn FnMut(&Progress) -> bool;

/// Weights by the names of their modules.
type Named = Vec<(String, WeightData)>;

/// A checkpoint whose matrices are replaced by the compressed ones in a journal.
///
/// The scheme says which matrices these are. One that it compresses comes from the journal, as planned, or is an error;
/// the original's never stands in for it. Entries are checked by their hashes whenever they are read.
#[derive(Debug)]
pub struct Compressed<'a> {
    base: &'a Checkpoint,
    scheme: Scheme,
    journal: Journal,
    /// The entry that was read last: parameters are asked for layer by layer.
    cached: RefCell<Option<(String, Named)>>,
}

impl<'a> Compressed<'a> {
    /// The compressed model that a finished [`compress`] by `scheme` left in `journal`.
    #[must_use]
    pub fn new(base: &'a Checkpoint, scheme: &Scheme, journal: Journal) -> Self {
        Self { base, scheme: *scheme, journal, cached: RefCell::default() }
    }

    /// The target of a slot and the columns of its matrix.
    fn target(&self, slot: Slot) -> (Target, usize) {
        let tree = self.base.tree();
        tree.module(slot).map_or((Target::Keep, 0), |m| (self.scheme.target(tree, slot, m), m.shape[1]))
    }

    /// Whether the journal has an entry that is intact and holds what the scheme says.
    fn has(&self, layer: Option<usize>) -> Result<bool, CompressError> {
        let entry = entry_name(layer);
        let Some(bytes) = self.journal.get(&entry)? else { return Ok(false) };
        let Ok(weights) = saved::unpack(&entry, bytes) else { return Ok(false) };
        let slots = self.base.tree().slots().filter(|slot| slot.layer == layer);
        Ok(slots.map(|slot| self.planned(slot, &entry, &weights)).all(|found| found.is_ok()))
    }

    /// The weight of a slot among those of its entry; `None` where it stays as it is.
    fn planned(
        &self,
        slot: Slot,
        entry: &str,
        weights: &[(String, WeightData)],
    ) -> Result<Option<WeightData>, CompressError> {
        let (target, cols) = self.target(slot);
        if target == Target::Keep {
            return Ok(None);
        }
        let bad = |problem: String| Err(CompressError::Journal { entry: entry.to_owned(), problem });
        let Some((name, weight)) = weights.iter().find(|(name, _)| name == slot.module) else {
            return bad(format!("it has no '{}', expected one in {target}", slot.module));
        };
        let rows = self.base.tree().module(slot).map_or(0, |m| m.shape[0]);
        let (found, stored) = ([weight.rows(), weight.cols()], StoredEncoding::from(weight));
        if found != [rows, cols] {
            return bad(format!("'{name}' has the shape {found:?}, expected [{rows}, {cols}]"));
        }
        if !target.is_met_by(stored, cols) {
            return bad(format!("'{name}' is {}, expected {target}", weight.encoding_name()));
        }
        Ok(Some(weight.clone()))
    }

    fn replacement(&self, slot: Slot) -> Result<Option<WeightData>, CompressError> {
        if self.target(slot).0 == Target::Keep {
            return Ok(None);
        }
        let entry = entry_name(slot.layer);
        let mut cached = self.cached.borrow_mut();
        if cached.as_ref().is_none_or(|(name, _)| *name != entry) {
            let weights = saved::unpack(&entry, self.journal.require(&entry)?)?;
            *cached = Some((entry.clone(), weights));
        }
        let weights = cached.as_ref().map(|(_, weights)| weights.as_slice()).unwrap_or_default();
        self.planned(slot, &entry, weights)
    }
}

impl Parameters for Compressed<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let original = self.base.parameter(slot)?;
        match self.replacement(slot) {
            Ok(Some(weight)) => Ok(Parameter { weight, bias: original.bias }),
            Ok(None) => Ok(original),
            Err(e) => Err(ModelError::Replaced { module: slot.module, layer: slot.layer, reason: e.to_string() }),
        }
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        match self.replacement(slot) {
            Ok(Some(weight)) => Ok((&weight).into()),
            Ok(None) => self.base.encoding(slot),
            Err(e) => Err(ModelError::Replaced { module: slot.module, layer: slot.layer, reason: e.to_string() }),
        }
    }

    fn forget(&self) {
        self.base.forget();
    }
}

fn entry_name(layer: Option<usize>) -> String {
    layer.map_or_else(|| "tables".to_owned(), |i| format!("layer-{i:04}"))
}

/// Compresses `checkpoint` by `scheme` into `journal`, one layer in memory at a time.
///
/// Layers that the journal has already are not done again. Within a layer the stages of the module tree are quantised in
/// order, each from inputs that the stages and layers before it produce in their compressed form (true-sequential).
/// `backend` computes in f32.
pub fn compress<'a>(
    checkpoint: &'a Checkpoint,
    scheme: &Scheme,
    calibration: Option<&Calibration>,
    journal: &Journal,
    backend: &mut dyn Backend,
    threads: usize,
    report: Report<'_>,
) -> Result<Compressed<'a>, CompressError> {
    let calibration = match (scheme.method.needs_calibration(), calibration) {
        (true, None) => return Err(CompressError::Unsupported("GPTQ needs a calibration text".to_owned())),
        (true, given) => given,
        (false, _) => None,
    };
    let compressed = Compressed::new(checkpoint, scheme, journal.clone());
    // What was computed from a file that changed meanwhile is not kept.
    let keep = |layer, weights: &[(String, WeightData)]| -> Result<(), CompressError> {
        checkpoint.check_unchanged()?;
        Ok(journal.put(&entry_name(layer), &saved::pack(weights))?)
    };
    let layers = checkpoint.tree().layers.len();
    let mut job = Job { checkpoint, scheme, threads, report, done: 0, total: layers + 1 };
    let mut stream = match calibration {
        Some(c) => Some(Activations::new(checkpoint, c, backend)?),
        None => None,
    };
    for i in 0..layers {
        if !compressed.has(Some(i))? {
            let weights = match &mut stream {
                Some(stream) => job.calibrated_layer(i, stream, backend)?,
                None => job.rounded_layer(i)?,
            };
            keep(Some(i), &weights)?;
        } else if let Some(stream) = &mut stream
            && i + 1 < layers
        {
            job.tell(format!("layer {} of {layers}: resumed", i + 1), None)?;
            stream.advance(&compressed, i, backend)?;
        }
        job.done += 1;
    }
    if !compressed.has(None)? {
        let weights = job.tables()?;
        keep(None, &weights)?;
    }
    job.done += 1;
    job.tell("finished".to_owned(), None)?;
    Ok(compressed)
}

/// The calibration text's activations at the entrance of a layer, through compressed layers before it.
struct Activations {
    /// One matrix a step of whole sequences. // each `[rows, D]`
    steps: Vec<Matrix>,
    /// Lengths of the sequences of each step.
    lengths: Vec<Vec<usize>>,
    stream: Stream,
}

impl Activations {
    fn new(checkpoint: &Checkpoint, c: &Calibration, backend: &mut dyn Backend) -> Result<Self, CompressError> {
        let longest = c.samples.iter().map(Vec::len).max().unwrap_or(1);
        let mut stream = Stream::new(checkpoint, longest, backend)?;
        let (mut steps, mut lengths) = (Vec::new(), Vec::new());
        for group in c.samples.chunks((STEP_ROWS / longest).max(1)) {
            steps.push(stream.embed(checkpoint, group, backend)?);
            lengths.push(group.iter().map(Vec::len).collect());
        }
        Ok(Self { steps, lengths, stream })
    }

    /// Moves on behind layer `i` of `params`.
    fn advance(&mut self, params: &dyn Parameters, i: usize, backend: &mut dyn Backend) -> Result<(), CompressError> {
        let bound = self.stream.bind(params, i, backend)?;
        for (x, lengths) in self.steps.iter_mut().zip(&self.lengths) {
            *x = self.stream.run(&bound, i, x, lengths, backend)?;
        }
        Ok(())
    }

    /// H of the inputs of a linear module of bound layer `i`; nothing behind it is computed.
    fn hessian(
        &self,
        bound: &Bound,
        i: usize,
        module: &Module,
        threads: usize,
        backend: &mut dyn Backend,
    ) -> Result<Hessian, CompressError> {
        let mut hessian = Hessian::new(module.shape[1], threads);
        for (x, lengths) in self.steps.iter().zip(&self.lengths) {
            let mut observe = Observe::new(backend, &[bound.weight(module.name)], true);
            for inputs in self.stream.observe(bound, i, x, lengths, &mut observe)? {
                hessian.add(&inputs);
            }
        }
        Ok(hessian)
    }
}

struct Job<'a, 'r> {
    checkpoint: &'a Checkpoint,
    scheme: &'a Scheme,
    threads: usize,
    report: Report<'r>,
    done: usize,
    total: usize,
}

impl Job<'_, '_> {
    fn tell(&mut self, stage: String, warning: Option<String>) -> Result<(), CompressError> {
        let progress = Progress { done: self.done, total: self.total, stage, warning };
        if (self.report)(&progress) { Ok(()) } else { Err(CompressError::Interrupted) }
    }

    /// The compressed matrices of a layer, each on its own.
    fn rounded_layer(&mut self, i: usize) -> Result<Named, CompressError> {
        let checkpoint = self.checkpoint;
        self.tell(format!("layer {} of {}", i + 1, self.total - 1), None)?;
        let linear = checkpoint.tree().layers[i].iter().filter(|m| m.is_linear());
        let rounded: Result<Vec<_>, _> =
            linear.map(|m| self.rounded(Slot { layer: Some(i), module: m.name }, m, None)).collect();
        Ok(rounded?.into_iter().flatten().collect())
    }

    /// Embedding and output layer.
    fn tables(&mut self) -> Result<Named, CompressError> {
        self.tell("embedding and output".to_owned(), None)?;
        let tree = self.checkpoint.tree();
        let mut out = Vec::new();
        for m in tree.outer() {
            out.extend(self.rounded(Slot { layer: None, module: m.name }, m, None)?);
        }
        Ok(out)
    }

    /// The compressed matrices of a layer by the scheme's calibrated method, stage after stage.
    fn calibrated_layer(
        &mut self,
        i: usize,
        stream: &mut Activations,
        backend: &mut dyn Backend,
    ) -> Result<Named, CompressError> {
        let checkpoint = self.checkpoint;
        let Method::Gptq { damping, act_order, .. } = self.scheme.method else { return self.rounded_layer(i) };
        let mut done = Overlay { base: checkpoint, layer: i, weights: Vec::new() };
        let mut named = Vec::new();
        for stage in checkpoint.tree().stages(i) {
            let names = stage.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
            self.tell(format!("layer {} of {}: {names}", i + 1, self.total - 1), None)?;
            let bound = stream.stream.bind(&done, i, backend)?;
            let hessian = stream.hessian(&bound, i, stage[0], self.threads, backend)?;
            drop(bound);
            let factor = Factor::new(&hessian, damping, act_order);
            if factor.damping.is_none() {
                let warning = format!("layer {i}: no factor of H for {names}; their weights are rounded plainly");
                self.tell(names, Some(warning))?;
            }
            for module in stage {
                let slot = Slot { layer: Some(i), module: module.name };
                if let Some((name, weight)) = self.rounded(slot, module, Some(&factor))? {
                    done.weights.push((module.name, weight.clone()));
                    named.push((name, weight));
                }
            }
        }
        if i + 1 < checkpoint.tree().layers.len() {
            stream.advance(&done, i, backend)?;
        }
        Ok(named)
    }

    /// The compressed matrix of a slot; `None` where it stays as it is.
    fn rounded(
        &self,
        slot: Slot,
        module: &Module,
        factor: Option<&Factor>,
    ) -> Result<Option<(String, WeightData)>, CompressError> {
        let target = self.scheme.target(self.checkpoint.tree(), slot, module);
        if target == Target::Keep {
            return Ok(None);
        }
        let original = self.checkpoint.parameter(slot)?.weight;
        let named =
            |source| CompressError::Weight { name: self.checkpoint.tensor_name(slot).unwrap_or_default(), source };
        let w = original.dequantize();
        let weight = match (grid(target, &self.scheme.method, ScaleType::F16), factor, target) {
            (Some(grid), Some(factor), _) => sweep(&w, factor, &*grid, self.threads).map_err(named)?.weight,
            (Some(grid), None, _) => rtn(&w, None, &*grid, self.threads).map_err(named)?.weight,
            (None, factor, Target::Block(e)) => {
                searched(&w, e, factor.map(|f| f.importance.as_slice()), self.threads).map_err(named)?.into()
            }
            (None, _, other) => return Err(CompressError::Unsupported(format!("no way to make {other}"))),
        };
        Ok(Some((module.name.to_owned(), weight)))
    }
}

/// [`BlockMatrix::quantize`] on all processors.
fn searched(
    w: &Matrix,
    encoding: Encoding,
    importance: Option<&[f32]>,
    threads: usize,
) -> Result<BlockMatrix, honelm_blocks::BlockError> {
    let row_bytes = encoding.row_bytes(w.cols)?;
    let mut bytes = vec![0u8; row_bytes * w.rows];
    let failed = std::sync::Mutex::new(None);
    for_each(bytes.chunks_mut(row_bytes.max(1)).collect(), threads, |r, out| {
        if let Err(e) = encoding.quantize_row(w.row(r), importance, out) {
            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(e.at_row(r));
        }
    });
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(e) => Err(e),
        None => BlockMatrix::new(encoding, w.rows, w.cols, bytes.into()),
    }
}

/// A checkpoint with the stages of one layer that are compressed already.
struct Overlay<'a> {
    base: &'a Checkpoint,
    layer: usize,
    weights: Vec<(&'static str, WeightData)>,
}

impl Parameters for Overlay<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let mut parameter = self.base.parameter(slot)?;
        if slot.layer == Some(self.layer)
            && let Some((_, weight)) = self.weights.iter().find(|(name, _)| *name == slot.module)
        {
            parameter.weight = weight.clone();
        }
        Ok(parameter)
    }

    fn forget(&self) {
        self.base.forget();
    }
}
