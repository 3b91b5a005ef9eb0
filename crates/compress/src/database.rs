//! Matrices in several encodings each, from which mixes of encodings are put together without new work.

use std::collections::BTreeMap;
use std::rc::Rc;

use honelm_backend::Backend;
use honelm_blocks::Encoding;
use honelm_model::{Checkpoint, ModelError, Module, Parameter, Parameters, Slot, StoredEncoding};
use honelm_store::Journal;
use honelm_tensor::Matrix;
use serde::{Deserialize, Serialize};

use crate::activations::Streams;
use crate::linalg::row_quadratics;
use crate::methods::{Method, Needs, Scales};
use crate::overlay::{Change, Overlay};
use crate::parallel::sum_tiles;
use crate::pipeline::{Progress, Report};
use crate::rounding::round;
use crate::stage::{Stage, Statistics, names};
use crate::{Calibration, CompressError, Hessian, Recipe, Scheme, Target, saved};

/// The work that is reported.
const ROUNDING: &str = "rounding";

/// The encodings in which each matrix is made.
pub type Encodings = BTreeMap<Slot, Vec<Encoding>>;

/// The matrices of a model in several encodings each.
///
/// Each is made on its own, from the original's weights and inputs, by those steps of the recipe that round on such inputs.
/// Steps that move scales between modules, and those that correct what earlier layers lost, need the final choice and are
/// left out.
#[derive(Debug)]
pub struct Database<'a> {
    base: &'a Checkpoint,
    journal: Journal,
    /// The squared error of each matrix as a share of the matrix, both weighted by the inputs:
    /// tr((V - W) H (V - W)^T) / tr(W H W^T), V being the decoded matrix. Outside of the layers H is the identity.
    errors: BTreeMap<(Slot, Encoding), f64>,
}

/// The errors of a layer as a journal entry.
#[derive(Serialize, Deserialize)]
struct Errors(Vec<(String, String, f64)>);

impl<'a> Database<'a> {
    /// Makes every matrix in its encodings, and saves it in `journal`. Layers that the journal has are not made again.
    /// `backend` computes in f32.
    ///
    /// # Errors
    /// [`CompressError`]; layers that were finished before stay in the journal.
    #[allow(clippy::too_many_arguments, reason = "what compress takes, with encodings instead of a scheme")]
    pub fn make(
        base: &'a Checkpoint,
        recipe: &Recipe,
        encodings: &Encodings,
        calibration: Option<&Calibration>,
        journal: Journal,
        backend: &mut dyn Backend,
        threads: usize,
        report: Report<'_>,
    ) -> Result<Self, CompressError> {
        let mut methods = recipe.methods()?;
        methods.retain(|m| !m.precedes() && m.needs() < Needs::Originals);
        let streams = match calibration {
            Some(calibration) => Some(Streams::new(base, calibration, false, backend)?),
            None if methods.iter().all(|m| m.needs() == Needs::Nothing) => None,
            None => return Err(CompressError::Unsupported("the recipe needs a calibration text".to_owned())),
        };
        let mut maker = Maker { base, methods, encodings, streams, threads, journal: &journal };
        let layers = base.tree().layers.len();
        let mut errors = BTreeMap::new();
        for i in (0..layers).map(Some).chain([None]) {
            let done = i.unwrap_or(layers);
            let stage = i.map_or_else(|| "embedding and output".to_owned(), |i| format!("layer {} of {layers}", i + 1));
            if !report(&Progress { done, total: layers + 1, stage, work: ROUNDING.to_owned(), warning: None }) {
                return Err(CompressError::Interrupted);
            }
            let found = match maker.saved(i)? {
                Some(found) => found,
                None => {
                    let found = match i {
                        Some(i) => maker.layer(i, backend)?,
                        None => maker.outer()?,
                    };
                    maker.save(i, &found)?;
                    found
                }
            };
            errors.extend(found);
            if let (Some(i), Some(streams)) = (i, &mut maker.streams)
                && i + 1 < layers
            {
                streams.advance(base, base, i, backend)?;
            }
        }
        Ok(Self { base, journal, errors })
    }

    /// Returns the error of a matrix in an encoding; `None` if it was not made.
    #[must_use]
    pub fn error(&self, slot: Slot, encoding: Encoding) -> Option<f64> {
        self.errors.get(&(slot, encoding)).copied()
    }

    /// Returns the model with these matrices in these encodings, all others being the original's.
    #[must_use]
    pub fn mix(&self, choice: BTreeMap<Slot, Encoding>) -> Mixed<'_> {
        Mixed { base: self.base, journal: &self.journal, choice }
    }
}

/// A model in which some matrices come from a [`Database`].
#[derive(Debug)]
pub struct Mixed<'d> {
    base: &'d Checkpoint,
    journal: &'d Journal,
    choice: BTreeMap<Slot, Encoding>,
}

impl Parameters for Mixed<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let Some(&encoding) = self.choice.get(&slot) else { return self.base.parameter(slot) };
        let read = || {
            let entry = entry(slot, encoding);
            let found = saved::unpack(&entry, self.journal.require(&entry)?, &[slot.module])?;
            let target = Target::Block(encoding);
            let fits =
                |change: &Change| target.is_met_by((&change.parameter.weight).into(), change.parameter.weight.cols());
            let problem = format!("it has no '{}' in {target}", slot.module);
            found.into_iter().find(fits).ok_or(CompressError::Journal { entry, problem })
        };
        let replaced =
            |e: CompressError| ModelError::Replaced { module: slot.module, layer: slot.layer, reason: e.to_string() };
        read().map(|change| change.parameter).map_err(replaced)
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        match self.choice.get(&slot) {
            Some(&encoding) => Ok(StoredEncoding::Blocks(encoding)),
            None => self.base.encoding(slot),
        }
    }

    fn forget(&self) {
        self.base.forget();
    }
}

struct Maker<'a, 'm> {
    base: &'a Checkpoint,
    methods: Vec<Box<dyn Method>>,
    encodings: &'m Encodings,
    streams: Option<Streams>,
    threads: usize,
    journal: &'m Journal,
}

type Found = Vec<((Slot, Encoding), f64)>;

impl Maker<'_, '_> {
    fn wanted(&self, slot: Slot) -> &[Encoding] {
        self.encodings.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Makes the matrices of a layer.
    fn layer(&mut self, i: usize, backend: &mut dyn Backend) -> Result<Found, CompressError> {
        let base = self.base;
        let stages = base.tree().stages(i);
        let statistics = self.statistics(i, &stages, backend)?;
        let original = Overlay::new(base, Some(i));
        let mut found = Vec::new();
        for (modules, statistics) in stages.iter().zip(statistics) {
            let slot = |module: &Module| Slot { layer: Some(i), module: module.name };
            let mut encodings: Vec<Encoding> = modules.iter().flat_map(|m| self.wanted(slot(m))).copied().collect();
            encodings.sort_unstable();
            encodings.dedup();
            let dense = statistics.as_ref().map(|statistics| statistics.hessian.dense());
            for encoding in encodings {
                let wanting = modules.iter().filter(|m| self.wanted(slot(m)).contains(&encoding));
                let overrides: BTreeMap<_, _> = wanting.map(|m| (slot(m), Target::Block(encoding))).collect();
                let scheme = Scheme::only(overrides);
                let mut overlay = original.clone();
                for method in &self.methods {
                    let mut stage = Stage {
                        layer: Some(i),
                        modules: modules.clone(),
                        params: &overlay,
                        exact: &original,
                        scheme: &scheme,
                        streams: self.streams.as_mut(),
                        backend: &mut *backend,
                        threads: self.threads,
                        read_share: 0.0,
                        statistics: statistics.clone(),
                        is_rescaled: false,
                        warnings: Vec::new(),
                    };
                    let changes = method.apply(&mut stage)?;
                    changes.into_iter().for_each(|change| overlay.set(change));
                }
                let unfinished =
                    |problem| CompressError::Unsupported(format!("the recipe rounds too little: layer {i}: {problem}"));
                overlay.check(&scheme).map_err(unfinished)?;
                for &slot in scheme.overrides.keys() {
                    let parameter = overlay.parameter(slot)?;
                    let original = base.parameter(slot)?.weight.dequantize();
                    let error = self.relative_error(&original, &parameter.weight.dequantize(), dense.as_ref());
                    self.put(slot, encoding, parameter)?;
                    found.push(((slot, encoding), error));
                }
            }
        }
        Ok(found)
    }

    /// Returns the statistics of the inputs of all stages of a layer, from one pass.
    fn statistics(
        &mut self,
        i: usize,
        stages: &[Vec<&Module>],
        backend: &mut dyn Backend,
    ) -> Result<Vec<Option<Rc<Statistics>>>, CompressError> {
        let Some(streams) = &mut self.streams else { return Ok(vec![None; stages.len()]) };
        let firsts: Vec<&Module> = stages.iter().filter_map(|modules| modules.first().copied()).collect();
        let watched: Vec<&'static str> = firsts.iter().map(|module| module.name).collect();
        let mut sums: Vec<(Hessian, Vec<f64>)> = firsts
            .iter()
            .map(|module| (Hessian::new(module.shape[1], self.threads), vec![0.0; module.shape[1]]))
            .collect();
        streams.observe_all(self.base, i, &watched, backend, &mut |stage, inputs| {
            if let Some(at) = inputs.data.iter().position(|v| !v.is_finite()) {
                let column = at % inputs.cols.max(1);
                return Err(CompressError::Inputs { layer: i, modules: names(&stages[stage]), column });
            }
            let (hessian, means) = &mut sums[stage];
            hessian.add(inputs);
            for row in inputs.iter_rows() {
                means.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x.abs()));
            }
            Ok(())
        })?;
        let statistics = |(hessian, means): (Hessian, Vec<f64>)| {
            let count = hessian.samples.max(1) as f64;
            let mean_abs = means.into_iter().map(|sum| (sum / count) as f32).collect();
            Some(Rc::new(Statistics { hessian, mean_abs, cross: None }))
        };
        Ok(sums.into_iter().map(statistics).collect())
    }

    /// Rounds the matrices outside of the layers to nearest.
    fn outer(&mut self) -> Result<Found, CompressError> {
        let mut found = Vec::new();
        for module in self.base.tree().outer() {
            let slot = Slot { layer: None, module: module.name };
            if self.wanted(slot).is_empty() {
                continue;
            }
            let Parameter { weight, bias } = self.base.parameter(slot)?;
            let original = weight.dequantize();
            for &encoding in self.wanted(slot) {
                let rounded = round(&original, Target::Block(encoding), Scales::MinMax, None, self.threads);
                let name = || self.base.tensor_name(slot).unwrap_or_default();
                let weight = rounded.map_err(|source| CompressError::Weight { name: name(), source })?;
                let error = self.relative_error(&original, &weight.dequantize(), None);
                self.put(slot, encoding, Parameter { weight, bias: bias.clone() })?;
                found.push(((slot, encoding), error));
            }
        }
        Ok(found)
    }

    /// Returns tr(D H D^T) / tr(W H W^T), D = V - W; without H that of the identity. // w, v [M, K], h [K, K]
    fn relative_error(&self, w: &Matrix, v: &Matrix, h: Option<&Matrix>) -> f64 {
        let difference = v.data.iter().zip(&w.data).map(|(v, w)| v - w).collect();
        let difference = Matrix::new(w.rows, w.cols, difference);
        let sum = |m: &Matrix| {
            let tile = |tile: &Matrix| -> Result<f64, std::convert::Infallible> {
                Ok(match h {
                    Some(h) => row_quadratics(tile, h).into_iter().sum(),
                    None => tile.data.iter().map(|&x| f64::from(x) * f64::from(x)).sum(),
                })
            };
            match sum_tiles(m, self.threads, tile) {
                Ok(sum) => sum.max(0.0),
                Err(never) => match never {},
            }
        };
        let whole = sum(w);
        if whole > 0.0 { sum(&difference) / whole } else { 0.0 }
    }

    fn put(&self, slot: Slot, encoding: Encoding, parameter: Parameter) -> Result<(), CompressError> {
        self.base.check_unchanged()?;
        let change = Change { module: slot.module, parameter };
        Ok(self.journal.put(&entry(slot, encoding), &saved::pack(&[change]))?)
    }

    /// Saves the errors of a layer, whose matrices are saved by then.
    fn save(&self, layer: Option<usize>, found: &Found) -> Result<(), CompressError> {
        let rows = found.iter().map(|((slot, e), error)| (slot.module.to_owned(), e.name().to_owned(), *error));
        let bytes = serde_json::to_vec(&Errors(rows.collect())).unwrap_or_default();
        Ok(self.journal.put(&errors_entry(layer), &bytes)?)
    }

    /// Returns the errors of a layer that the journal has, if they are those of all encodings.
    fn saved(&self, layer: Option<usize>) -> Result<Option<Found>, CompressError> {
        let Some(bytes) = self.journal.get(&errors_entry(layer))? else { return Ok(None) };
        let Ok(Errors(rows)) = serde_json::from_slice::<Errors>(&bytes) else { return Ok(None) };
        let mut found = Vec::new();
        for (&slot, encodings) in self.encodings.iter().filter(|(slot, _)| slot.layer == layer) {
            for &encoding in encodings {
                let row = rows.iter().find(|(module, e, _)| module == slot.module && e == encoding.name());
                let Some((.., error)) = row else { return Ok(None) };
                found.push(((slot, encoding), *error));
            }
        }
        Ok(Some(found))
    }
}

fn entry(slot: Slot, encoding: Encoding) -> String {
    let layer = slot.layer.map_or_else(|| "outer".to_owned(), |i| format!("{i:04}"));
    format!("matrix-{layer}-{}-{}", slot.module, encoding.name())
}

fn errors_entry(layer: Option<usize>) -> String {
    layer.map_or_else(|| "errors-outer".to_owned(), |i| format!("errors-{i:04}"))
}
