//! The device that a model runs on.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use honelm_backend::block_on;
use honelm_gpu::{Gpu, GpuBackend, Needed};
use honelm_model::{Checkpoint, Device};
use honelm_plan::gpu_layouts;

use crate::trust::trusted;
use crate::{Error, Events, RunOptions};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The processor: what is fastest for certain.
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

    /// As [`RunOptions::device_for`], and the same device as a GPU where it is one.
    pub(crate) fn open_for(
        &self,
        checkpoint: &Checkpoint,
        events: Events<'_>,
    ) -> Result<(Device, Option<SharedGpu>), Error> {
        match self.device {
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok((Rc::new(RefCell::new(self.cpu())), None)),
            DeviceChoice::Gpu(index) => {
                let gpu = block_on(Gpu::open(index))?;
                let needed = Needed { layouts: gpu_layouts(checkpoint), caches: vec![self.cache_type] };
                trusted(&gpu, &needed, events)?;
                let backend = Rc::new(RefCell::new(GpuBackend::new(&gpu)?));
                Ok((Rc::clone(&backend) as Device, Some(backend)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
