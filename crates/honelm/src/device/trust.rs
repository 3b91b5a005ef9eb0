//! The known-answer test of a GPU, remembered per adapter and driver.

use std::time::Instant;

use honelm_backend::block_on;
use honelm_gpu::{Gpu, GpuError, Needed, Trust, known_answers};

use super::remembered::Remembered;
use crate::{Error, Event, Events};

/// Tests the kernels that are `needed`, and makes the device use the variants that give right answers. Results of
/// earlier tests are remembered.
///
/// # Errors
/// [`Error::Gpu`] if no variant of a kernel gives right answers, [`Error::Interrupted`] if `events` returns `false`.
pub fn trusted(gpu: &Gpu, needed: &Needed, events: Events<'_>) -> Result<Trust, Error> {
    let mut goes_on = true;
    let trust = trusted_by(&Remembered::in_cache("gpu.json"), gpu, needed, &mut |done, total| {
        goes_on &= events(&Event::Stage { name: "testing the GPU's kernels", detail: "", done, total });
    })?;
    if goes_on { Ok(trust) } else { Err(Error::Interrupted) }
}

fn trusted_by(
    remembered: &Remembered,
    gpu: &Gpu,
    needed: &Needed,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Trust, GpuError> {
    let key = gpu.report().key();
    let known: Option<Trust> = remembered.get(&key);
    let start = Instant::now();
    let clock = || start.elapsed().as_secs_f64();
    let trust = block_on(known_answers(gpu, needed, known.clone(), &clock, progress))?;
    if known.as_ref() != Some(&trust) {
        remembered.set(&key, &trust);
    }
    Ok(trust)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use honelm_gpu::pack::Layout;

    use super::*;

    #[test]
    fn a_result_is_remembered_per_adapter_and_driver() {
        let Ok(gpu) = block_on(Gpu::open(None)) else {
            eprintln!("SKIPPED a_result_is_remembered_per_adapter_and_driver: needs a GPU adapter");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let remembered = Remembered::in_file(dir.path().join("gpu.json"));
        let needed = Needed { layouts: vec![Layout::F32], caches: Vec::new() };
        let mut told = Vec::new();
        let first = trusted_by(&remembered, &gpu, &needed, &mut |done, total| told.push((done, total))).unwrap();
        let total = told.len() - 1;
        assert!(total > 4 && told == (0..=total).map(|done| (done, total)).collect::<Vec<_>>(), "{told:?}");
        assert_eq!(remembered.get(&gpu.report().key()), Some(first.clone()));
        let built = gpu.pipelines();
        let mut silent = |_, _| panic!("it is remembered");
        assert_eq!(trusted_by(&remembered, &gpu, &needed, &mut silent).unwrap(), first);
        assert_eq!(gpu.pipelines(), built, "tested again");
    }
}
