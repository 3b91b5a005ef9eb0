//! Loads a model onto the device that the options ask for.

use honelm_model::{Checkpoint, Device, Model};

use super::auto;
use super::open::{SharedGpu, load_named, open_named};
use crate::{DeviceChoice, Error, Event, Events, RunOptions};

/// Returns the device to use; with [`DeviceChoice::Auto`], the one that a trial chooses.
fn chosen(run: &RunOptions, checkpoint: &Checkpoint, events: Events<'_>) -> Result<DeviceChoice, Error> {
    match run.device {
        DeviceChoice::Auto => auto::choose(run, checkpoint, events),
        named => Ok(named),
    }
}

/// Opens the device for a model. The second value is the same device if it is a GPU.
///
/// # Errors
/// [`Error::Gpu`] if there is no such GPU or it gives wrong answers, [`Error::Backend`] if the device fails,
/// [`Error::Interrupted`] if `events` returns `false`.
pub fn open_for(
    run: &RunOptions,
    checkpoint: &Checkpoint,
    events: Events<'_>,
) -> Result<(Device, Option<SharedGpu>), Error> {
    open_named(chosen(run, checkpoint, &mut *events)?, run, checkpoint, events)
}

/// Loads a checkpoint onto the device that `run` asks for. With [`DeviceChoice::Auto`], falls back to the CPU when the
/// GPU fails.
pub fn load(checkpoint: &Checkpoint, run: &RunOptions, events: Events<'_>) -> Result<Model, Error> {
    let device = chosen(run, checkpoint, &mut *events)?;
    match load_named(device, checkpoint, run, &mut *events) {
        Err(problem) if may_fall_back(run, device, &problem) => {
            events(&Event::Warning(&format!("{device} failed: {problem}; the model runs on the CPU instead")));
            load_named(DeviceChoice::Cpu, checkpoint, run, events)
        }
        done => done,
    }
}

/// Returns `true` if the failure is the GPU's and the GPU was chosen automatically.
fn may_fall_back(run: &RunOptions, chosen: DeviceChoice, problem: &Error) -> bool {
    run.device == DeviceChoice::Auto && matches!(chosen, DeviceChoice::Gpu(_)) && problem.is_of_device()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use honelm_gpu::GpuError;

    use super::*;

    #[test]
    fn the_cpu_replaces_only_a_gpu_that_was_chosen_automatically() {
        let checkpoint = Checkpoint::open(crate::locate(None, None).unwrap()).unwrap();
        let gone = DeviceChoice::Gpu(Some(99));
        let problem = load_named(gone, &checkpoint, &RunOptions::default(), &mut |_| true).err().unwrap();
        assert!(matches!(problem, Error::Gpu(GpuError::NoSuchAdapter { .. } | GpuError::NoAdapter)), "{problem}");
        let auto = RunOptions { device: DeviceChoice::Auto, ..RunOptions::default() };
        let named = RunOptions { device: gone, ..auto.clone() };
        assert!(may_fall_back(&auto, gone, &problem));
        assert!(!may_fall_back(&named, gone, &problem), "it was asked for");
        assert!(!may_fall_back(&auto, DeviceChoice::Cpu, &problem));
        assert!(!may_fall_back(&auto, gone, &Error::Interrupted));
        let Err(error) = load(&checkpoint, &named, &mut |_| true) else { panic!("there is no such GPU") };
        assert_eq!(error.code(), problem.code());
    }
}
