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

/// A stage of a layer: modules that share their input and are compressed together.
///
/// A method reads parameters as the steps before it left them, and observes the inputs that the stage has in the model
/// as it is compressed so far.
pub struct Stage<'s> {
    pub(crate) layer: usize,
    pub(crate) modules: Vec<&'s Module>,
    /// The parameters as the steps and stages before left them.
    pub(crate) params: &'s Overlay<'s>,
    /// The parameters before anything was rounded: they compute what the original does, on inputs of the same scale.
    pub(crate) exact: &'s Overlay<'s>,
    pub(crate) scheme: &'s Scheme,
    pub(crate) streams: Option<&'s mut Streams>,
    pub(crate) backend: &'s mut dyn Backend,
    pub(crate) threads: usize,
    /// Statistics of the inputs, once they were asked for.
    pub(crate) statistics: Option<Rc<Statistics>>,
    pub(crate) warnings: Vec<String>,
}

impl Stage<'_> {
    /// Returns the layer's number.
    #[must_use]
    pub fn layer(&self) -> usize {
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
            self.params.base().tree().layers.get(self.layer)?.iter().filter(|m| m.scaled_by == Some(channels));
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
        self.warnings.push(format!("layer {}, {}: {problem}", self.layer, names(&self.modules)));
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
        let mut hessian = Hessian::new(width, self.threads);
        let mut sums = vec![0f64; width];
        let mut cross = None;
        let threads = self.threads;
        self.observe(&mut |inputs, originals| {
            hessian.add(inputs);
            if let Some(originals) = originals {
                cross.get_or_insert_with(|| Cross::new(width, threads)).add(inputs, originals);
            }
            for row in inputs.iter_rows() {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x.abs()));
            }
        })?;
        let count = hessian.samples.max(1) as f64;
        let mean_abs = sums.into_iter().map(|sum| (sum / count) as f32).collect();
        let statistics = Rc::new(Statistics { hessian, mean_abs, cross });
        self.statistics = Some(Rc::clone(&statistics));
        Ok(statistics)
    }

    /// Calls `visit` with the inputs of the stage, some thousand tokens at a time, and with those of the original model
    /// where the method asks for [`crate::Needs::Originals`]. // each [rows, K]
    ///
    /// # Errors
    /// [`CompressError::Inputs`] for an input that is not finite, errors of the model and the back end.
    ///
    /// # Panics
    /// If the method does not say in [`crate::Method::needs`] that it observes inputs.
    pub fn observe(&mut self, visit: &mut dyn FnMut(&Matrix, Option<&Matrix>)) -> Result<(), CompressError> {
        let Some(streams) = self.streams.as_deref_mut() else { panic!("a method that observes inputs says so") };
        let module = self.modules.first().map_or("", |m| m.name);
        let bad = |column| CompressError::Inputs { layer: self.layer, modules: names(&self.modules), column };
        streams.observe([self.params, self.exact], self.layer, module, self.backend, &mut |inputs, originals| {
            for x in std::iter::once(inputs).chain(originals) {
                if let Some(i) = x.data.iter().position(|v| !v.is_finite()) {
                    return Err(bad(i % x.cols));
                }
            }
            visit(inputs, originals);
            Ok(())
        })
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
        Slot { layer: Some(self.layer), module }
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
