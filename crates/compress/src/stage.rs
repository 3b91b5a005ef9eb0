//! The view that a method has of a stage.

use std::rc::Rc;

use honelm_backend::Backend;
use honelm_blocks::{BlockError, WeightData};
use honelm_model::{Channels, Module, Parameter, Parameters, Slot};
use honelm_tensor::Matrix;

use crate::activations::Streams;
use crate::overlay::{Change, Overlay};
use crate::target::{Scheme, Target};
use crate::{CompressError, Cross, Hessian};

/// Statistics of the inputs X of a stage.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// H = X^T X. // [K, K]
    pub hessian: Hessian,
    /// The mean of |x| of each column. // `[K]`
    pub mean_abs: Vec<f32>,
    /// The products with what the inputs differ from the original model's by, where a method of the recipe needs them.
    pub cross: Option<Cross>,
}

/// Collects [`Statistics`].
pub(crate) struct Collector {
    hessian: Hessian,
    sums: Vec<f64>,
    cross: Option<Cross>,
    threads: usize,
}

impl Collector {
    /// `threads` only affects the speed.
    pub(crate) fn new(width: usize, threads: usize) -> Self {
        Self { hessian: Hessian::new(width, threads), sums: vec![0.0; width], cross: None, threads }
    }

    /// Adds a batch of inputs, and those of the original model if there are any. // each [n, K]
    pub(crate) fn add(&mut self, inputs: &Matrix, originals: Option<&Matrix>) {
        self.hessian.add(inputs);
        if let Some(originals) = originals {
            let cross = self.cross.get_or_insert_with(|| Cross::new(inputs.cols, self.threads));
            cross.add(inputs, originals);
        }
        for row in inputs.iter_rows() {
            self.sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x.abs()));
        }
    }

    pub(crate) fn statistics(self) -> Statistics {
        let count = self.hessian.samples.max(1) as f64;
        let mean_abs = self.sums.into_iter().map(|sum| (sum / count) as f32).collect();
        Statistics { hessian: self.hessian, mean_abs, cross: self.cross }
    }
}

/// The largest magnitude of an input. Sums of squares of larger ones leave the range of f32.
const LARGEST_INPUT: f32 = 1e15;

/// Returns the column of the first value that is not finite or too large.
pub(crate) fn not_usable(x: &Matrix) -> Option<usize> {
    x.data.iter().position(|v| v.is_nan() || v.abs() > LARGEST_INPUT).map(|i| i % x.cols.max(1))
}

/// A stage of a layer: modules that share their input and are compressed together. The output layer is a stage of its own,
/// without channels; of a large one, some rows at a time are a stage.
///
/// A method reads parameters as the steps before it left them, and observes the inputs that the stage has in the model
/// as it is compressed so far.
pub struct Stage<'s> {
    /// `None` for the output layer.
    pub(crate) layer: Option<usize>,
    pub(crate) modules: Vec<&'s Module>,
    /// The parameters as the steps and stages before left them.
    pub(crate) params: &'s Overlay<'s>,
    /// The parameters before anything was rounded: they compute what the original does, on inputs of the same scale.
    pub(crate) exact: &'s Overlay<'s>,
    pub(crate) scheme: &'s Scheme,
    pub(crate) streams: Option<&'s mut Streams>,
    pub(crate) backend: &'s mut dyn Backend,
    pub(crate) threads: usize,
    /// The variance of further inputs without correlation, relative to the observed ones.
    pub(crate) read_share: f64,
    /// Statistics of the inputs, once they were asked for.
    pub(crate) statistics: Option<Rc<Statistics>>,
    /// `true` if a method has said how its changes change the inputs, so that the statistics still hold.
    pub(crate) is_rescaled: bool,
    pub(crate) warnings: Vec<String>,
}

impl Stage<'_> {
    /// Returns the layer's number; `None` for the output layer.
    #[must_use]
    pub fn layer(&self) -> Option<usize> {
        self.layer
    }

    /// Returns the stage's linear modules.
    #[must_use]
    pub fn modules(&self) -> &[&Module] {
        &self.modules
    }

    /// Returns the number of threads that a method may use.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns the target of a module of the layer.
    #[must_use]
    pub fn target(&self, module: &Module) -> Target {
        self.scheme.target(self.params.base().tree(), self.slot(module.name), module)
    }

    /// Returns a module of the layer.
    #[must_use]
    pub fn module(&self, name: &'static str) -> Option<&Module> {
        self.params.base().tree().module(self.slot(name))
    }

    /// Returns the channels that can be scaled against the stage's inputs without a change of what the model computes;
    /// `None` where the architecture has none, such as behind a function that is not homogeneous.
    #[must_use]
    pub fn channels(&self) -> Option<Channels> {
        let channels = self.modules.first()?.scaled_by?;
        let readers =
            self.params.base().tree().layers.get(self.layer?)?.iter().filter(|m| m.scaled_by == Some(channels));
        (readers.count() == self.modules.len() && self.modules.iter().all(|m| m.scaled_by == Some(channels)))
            .then_some(channels)
    }

    /// Returns a parameter of the layer as the steps and stages before this one left it.
    ///
    /// # Errors
    /// [`CompressError::Weight`] for a value that is not finite, errors of reading.
    pub fn parameter(&self, module: &'static str) -> Result<Parameter, CompressError> {
        let parameter = self.params.parameter(self.slot(module))?;
        parameter.weight.check_finite().map_err(|source| self.weight_error(module, source))?;
        Ok(parameter)
    }

    /// Reports something that the user should know, such as a fallback. The stage is named in front of it.
    pub fn warn(&mut self, problem: &str) {
        let modules = names(&self.modules);
        self.warnings.push(match self.layer {
            Some(layer) => format!("layer {layer}, {modules}: {problem}"),
            None => format!("output layer: {problem}"),
        });
    }

    /// Divides the inputs of the statistics by `scales`, for a method that moves scales out of the module before the stage.
    /// // `[K]`
    pub(crate) fn inputs_divided_by(&mut self, scales: &[f32]) {
        if let Some(statistics) = &mut self.statistics {
            let statistics = Rc::make_mut(statistics);
            statistics.hessian.divide(scales);
            statistics.mean_abs.iter_mut().zip(scales).for_each(|(mean, scale)| *mean /= scale);
            // Products with the original's inputs would need those on the same scale.
            self.is_rescaled = statistics.cross.is_none();
        }
    }

    /// Returns the statistics of the stage's inputs.
    ///
    /// # Errors
    /// As [`Stage::observe`].
    pub fn statistics(&mut self) -> Result<Rc<Statistics>, CompressError> {
        if let Some(statistics) = &self.statistics {
            return Ok(Rc::clone(statistics));
        }
        let width = self.modules.first().map_or(0, |m| m.shape[1]);
        let mut collector = Collector::new(width, self.threads);
        self.observe(&mut |inputs, originals| collector.add(inputs, originals))?;
        let mut statistics = collector.statistics();
        statistics.hessian.add_isotropic(self.read_share);
        let statistics = Rc::new(statistics);
        self.statistics = Some(Rc::clone(&statistics));
        Ok(statistics)
    }

    /// Calls `visit` with the inputs of the stage, some thousand tokens at a time, and with those of the original model
    /// where the method asks for [`crate::Needs::Originals`]. // each [rows, K]
    ///
    /// # Errors
    /// [`CompressError::Inputs`] for an input that is not finite or beyond 1e15, errors of the model and the back end.
    ///
    /// # Panics
    /// If the method does not say in [`crate::Method::needs`] that it observes inputs.
    pub fn observe(&mut self, visit: &mut dyn FnMut(&Matrix, Option<&Matrix>)) -> Result<(), CompressError> {
        let Some(streams) = self.streams.as_deref_mut() else { panic!("a method that observes inputs says so") };
        let base = self.params.base();
        let (layer, modules) = (self.layer.unwrap_or(base.tree().layers.len()), names(&self.modules));
        let mut checked = |inputs: &Matrix, originals: Option<&Matrix>| {
            if let Some(column) = std::iter::once(inputs).chain(originals).find_map(not_usable) {
                return Err(CompressError::Inputs { layer, modules: modules.clone(), column });
            }
            visit(inputs, originals);
            Ok(())
        };
        match self.layer {
            Some(layer) => streams.observe([self.params, self.exact], layer, &self.modules, self.backend, &mut checked),
            None => streams.observe_output(base, self.backend, &mut checked),
        }
    }

    /// Returns every matrix of the stage that has a target, encoded by `f` from its values W `[M, K]`, its target and the
    /// importance of its columns in the scheme. Biases stay.
    ///
    /// # Errors
    /// [`CompressError::Weight`] with the error of `f`.
    pub fn quantise(
        &self,
        f: impl Fn(&Matrix, Target, Option<&[f32]>) -> Result<WeightData, BlockError>,
    ) -> Result<Vec<Change>, CompressError> {
        let mut changes = Vec::new();
        for module in &self.modules {
            let target = self.target(module);
            if target == Target::Keep {
                continue;
            }
            let Parameter { weight, bias } = self.parameter(module.name)?;
            let importance = self.scheme.importance_of(self.slot(module.name));
            let weight =
                f(&weight.dequantize(), target, importance).map_err(|source| self.weight_error(module.name, source))?;
            changes.push(Change { module: module.name, parameter: Parameter { weight, bias } });
        }
        Ok(changes)
    }

    fn slot(&self, module: &'static str) -> Slot {
        Slot { layer: self.layer, module }
    }

    pub(crate) fn weight_error(&self, module: &'static str, source: BlockError) -> CompressError {
        let name = self.params.base().tensor_name(self.slot(module)).unwrap_or_default();
        CompressError::Weight { name, source }
    }
}

/// Returns the names of modules, with commas between them.
pub(crate) fn names(modules: &[&Module]) -> String {
    modules.iter().map(|m| m.name).collect::<Vec<_>>().join(", ")
}
