//! The device that a model runs on.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use honelm_backend::{BackendError, block_on};
use honelm_gpu::pack::Fallback;
use honelm_gpu::{Demotion, Gpu, GpuBackend, Needed};
use honelm_model::{Checkpoint, Device};
use honelm_plan::{Place, Plan, PlannedTensor, Workload, gpu_layouts, plan};

use crate::devices::memory_of;
use crate::optimize::bytes;
use crate::trust::trusted;
use crate::{Error, Event, Events, RunOptions, auto};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The faster of the processor and the first real GPU, tried with the very model and remembered. Proof and compression, whose figures
    /// must not hang on that, take it for the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// GPU adapter `n` as `honelm devices` numbers them, the first one by default.
    Gpu(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number))) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("gpu", None) => Ok(Self::Gpu(None)),
            ("gpu", Some(number)) => {
                number.parse().map(|n| Self::Gpu(Some(n))).map_err(|_| format!("{number:?} is no number of an adapter"))
            }
            _ => Err("expected auto, cpu, gpu or gpu:N".to_owned()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Gpu(None) => f.pad("gpu"),
            Self::Gpu(Some(n)) => f.pad(&format!("gpu:{n}")),
        }
    }
}

/// A GPU that a model runs on, for those who ask it for more than a back end has.
pub(crate) type SharedGpu = Rc<RefCell<GpuBackend>>;

impl RunOptions {
    /// The device that a model is loaded onto. A GPU's kernels are tested for the model's weights first, once for each adapter and
    /// driver; `events` is told how far that is.
    ///
    /// # Errors
    /// [`Error::Gpu`] where there is no such GPU or it gives wrong answers, [`Error::Backend`] where it refuses,
    /// [`Error::Interrupted`] where `events` says so.
    pub fn device_for(&self, checkpoint: &Checkpoint, events: Events<'_>) -> Result<Device, Error> {
        Ok(self.open_for(checkpoint, events)?.0)
    }

    /// The device by name: a trial's choice where none is.
    pub(crate) fn chosen(&self, checkpoint: &Checkpoint, events: Events<'_>) -> Result<DeviceChoice, Error> {
        match self.device {
            DeviceChoice::Auto => auto::choose(self, checkpoint, events),
            named => Ok(named),
        }
    }

    /// As [`RunOptions::device_for`], and the same device as a GPU where it is one.
    pub(crate) fn open_for(
        &self,
        checkpoint: &Checkpoint,
        events: Events<'_>,
    ) -> Result<(Device, Option<SharedGpu>), Error> {
        match self.chosen(checkpoint, &mut *events)? {
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok((Rc::new(RefCell::new(self.cpu())), None)),
            DeviceChoice::Gpu(index) => {
                let gpu = block_on(Gpu::open(index))?;
                let needed = Needed { layouts: gpu_layouts(checkpoint), caches: vec![self.cache_type] };
                let trust = trusted(&gpu, &needed, &mut *events)?;
                for Demotion { what, why } in &trust.demoted {
                    events(&Event::Warning(&format!("{what} ({why})")));
                }
                let mut backend = GpuBackend::new(&gpu)?;
                let work = Workload {
                    context: self.context,
                    cache_type: self.cache_type,
                    place: Place::Gpu,
                    ..Workload::default()
                };
                let planned = plan(checkpoint, &work)?;
                let (fallback, warning) = admit(&planned, memory_of(gpu.report()), &gpu.describe())?;
                backend.set_fallback(fallback);
                if let Some(warning) = warning {
                    events(&Event::Warning(&warning));
                }
                let backend = Rc::new(RefCell::new(backend));
                Ok((Rc::clone(&backend) as Device, Some(backend)))
            }
        }
    }
}

/// Whether what was planned fits the `memory` of a `device`, as far as that is known; what becomes of weights without an exact layout
/// there, and what the user should know of them.
///
/// # Errors
/// [`BackendError::OutOfMemory`] where not even the weights and a step fit.
fn admit(planned: &Plan, memory: Option<u64>, device: &str) -> Result<(Fallback, Option<String>), BackendError> {
    let least = planned.weights_bytes + planned.scratch_bytes;
    if memory.is_some_and(|memory| least > memory) {
        let what = "the weights and the working memory of a step".to_owned();
        return Err(BackendError::OutOfMemory { device: device.to_owned(), wanted: least as usize, what });
    }
    let rounded: Vec<_> = planned.tensors.iter().filter(|tensor| tensor.rounded).collect();
    let Some(first) = rounded.first() else { return Ok((Fallback::Refuse, None)) };
    let sum = |of: &dyn Fn(&PlannedTensor) -> u64| bytes(rounded.iter().map(|tensor| of(tensor)).sum());
    let warning = format!(
        "{} weights, {} ({}) the first, have no exact layout on the GPU: rounded to F16 there, {} instead of {}",
        rounded.len(),
        first.name,
        first.encoding,
        sum(&|tensor| tensor.memory_bytes),
        sum(&|tensor| tensor.file_bytes),
    );
    Ok((Fallback::F16, Some(warning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_rounded_is_told() {
        let tensor = |name: &str, rounded| PlannedTensor {
            name: name.to_owned(),
            shape: [64, 96],
            encoding: "int4 g12".to_owned(),
            file_bytes: 4_000,
            memory_bytes: 12_000,
            rounded,
        };
        let plan = |tensors| Plan {
            context: 8,
            weights_bytes: 24_000,
            cache_bytes: 1 << 40,
            scratch_bytes: 1_000,
            total_bytes: 25_000 + (1 << 40),
            mapped_bytes: 8_000,
            tensors,
        };
        let exact = plan(vec![tensor("a", false), tensor("b", false)]);
        for memory in [None, Some(25_000)] {
            assert_eq!(admit(&exact, memory, "gpu").expect("it fits"), (Fallback::Refuse, None));
        }
        let error = admit(&exact, Some(24_999), "gpu (x)").expect_err("too large");
        assert_eq!(error.code(), "out-of-memory");
        assert!(error.to_string().contains("gpu (x): 25000 bytes"), "{error}");
        let (fallback, warning) =
            admit(&plan(vec![tensor("a", false), tensor("b", true)]), None, "gpu").expect("it fits");
        assert_eq!(fallback, Fallback::F16);
        let warning = warning.expect("a warning");
        assert!(
            warning.starts_with("1 weights, b (int4 g12) the first") && warning.ends_with("12.0 kB instead of 4.0 kB"),
            "{warning}"
        );
    }

    #[test]
    fn devices_are_named_as_they_are_shown() {
        for name in ["auto", "cpu", "gpu", "gpu:0", "gpu:12"] {
            assert_eq!(name.parse::<DeviceChoice>().expect("a device").to_string(), name);
        }
        for wrong in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cpu:0", "auto:1", "tpu"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
