//! A model that is loaded for a speed test, with the probes beside it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::time::Instant;

use honelm_backend::{Placement, Profile};
use honelm_bench::{Ceilings, Measurement, PeakMemory, Test, in_turns};
use honelm_formats::{FileWatch, drop_cached};
use honelm_gpu::KernelTime;
use honelm_model::{Checkpoint, Model, Runner};
use honelm_plan::{Workload, plan};

use super::machine::{CeilingRow, Machine};
use super::placement::{since, taken};
use super::row::{About, Loaded};
use super::{BenchModel, BenchOptions, BenchRow, SEED};
use crate::device::{SharedGpu, load_on, open_for};
use crate::open::{open, weight_files};
use crate::{Error, Events};

/// A loaded model.
pub(super) struct Prepared {
    pub model: Model,
    pub machine: Machine,
    pub about: About,
    pub watch: FileWatch,
    memory: PeakMemory,
    gpu: Option<SharedGpu>,
    placement: Option<Rc<RefCell<Placement>>>,
    ceilings: Option<Ceilings>,
}

impl Prepared {
    /// Loads a model for sequences of at most `tokens` tokens.
    pub fn load(options: &BenchOptions, tokens: usize, events: Events<'_>) -> Result<Self, Error> {
        if let (BenchModel::Path(path), true) = (&options.model, options.cold) {
            for (file, _) in weight_files(path)? {
                drop_cached(&file)?;
            }
        }
        let (begin, read_before) = (Instant::now(), bytes_from_storage());
        let checkpoint = match &options.model {
            BenchModel::Path(path) => open(path, &options.run, &mut *events)?,
            BenchModel::Synthetic { shape, encoding } => Checkpoint::synthetic(shape, *encoding, SEED)?,
        };
        let ((mut device, gpu), mut placement) = (open_for(&options.run, &checkpoint, &mut *events)?, None);
        if let Some(gpu) = gpu.as_ref().filter(|_| options.placement) {
            gpu.borrow_mut().time_kernels();
        }
        if options.placement {
            let (profile, filled) = Profile::new(device, Box::new(move || begin.elapsed().as_secs_f64()));
            (device, placement) = (Rc::new(RefCell::new(profile)), Some(filled));
        }
        let model = load_on(device, &checkpoint, &options.run, &mut *events)?;
        let load = Loaded {
            seconds: begin.elapsed().as_secs_f64(),
            read_bytes: read_before.zip(bytes_from_storage()).map(|(before, after)| after - before),
            cold: options.cold,
        };
        let work = Workload {
            context: Some(tokens.clamp(1, model.context())),
            cache_type: options.run.cache_type,
            place: if gpu.is_some() { honelm_plan::Place::Gpu } else { honelm_plan::Place::Cpu(options.run.compute) },
            step_rows: options.batch,
            ..Workload::default()
        };
        let planned = plan(&checkpoint, &work)?;
        let about = About::new(&options.model, &checkpoint, &planned, &options.run, load)?;
        let machine = Machine::new(&checkpoint, &planned, &model, &options.run, gpu.is_some())?;
        checkpoint.check_unchanged()?;
        let (watch, memory) = (checkpoint.watch(), PeakMemory::default());
        Ok(Self { model, machine, about, watch, memory, gpu, placement, ceilings: None })
    }

    /// Probes the limits of the machine.
    pub fn probe(&mut self) {
        let machine = &mut self.machine;
        self.ceilings = self.memory.without(|| machine.probe());
    }

    /// Runs tests in turns, and probes the limits after them.
    pub fn rows(
        &mut self,
        turns: &[Test],
        repeats: usize,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<BenchRow>, Error> {
        let before = self.kernel_times();
        let energy = self.machine.energy.as_mut().ok();
        let measured = in_turns(&mut self.model, turns, repeats, 0.0, energy, progress)?;
        self.watch.check()?;
        let peak = self.memory.bytes();
        self.probe();
        let one = measured.iter().find(|m| m.what.rows.count() == 1).and_then(Measurement::step_seconds);
        let mut counted = (self.placement.as_deref().map(taken), since(&before, &self.kernel_times()));
        let rows = measured.into_iter().map(|measurement| {
            let ceilings = self.ceilings.and_then(|found| self.ceiling(found, &measurement));
            let mut row = self.about.row(&self.model, measurement);
            row.step_cost = row.step_seconds.zip(one).filter(|_| turns.len() > 1).map(|(step, one)| step / one);
            // Tests in turns are counted together, and the counts are with the first.
            (row.placement, row.kernels) = (counted.0.take().unwrap_or_default(), std::mem::take(&mut counted.1));
            row.gpu_memory_bytes = self.gpu.as_ref().map(|gpu| gpu.borrow().device_bytes().total());
            row.no_energy = self.machine.energy.as_ref().err().cloned();
            (row.peak_memory_bytes, row.ceilings) = (peak, ceilings);
            row
        });
        Ok(rows.collect())
    }

    fn ceiling(&self, ceilings: Ceilings, measurement: &Measurement) -> Option<CeilingRow> {
        let bound = self.machine.bound(&measurement.what, &ceilings)?;
        let seconds = measurement.seconds.iter().sum::<f64>() / measurement.seconds.len() as f64;
        Some(CeilingRow::new(ceilings, bound, measurement.tokens_per_second, seconds))
    }

    fn kernel_times(&self) -> BTreeMap<&'static str, KernelTime> {
        self.gpu.as_ref().map(|gpu| gpu.borrow().kernel_times()).unwrap_or_default()
    }
}

/// Returns the bytes that this process has read from storage; `None` on platforms other than Linux.
fn bytes_from_storage() -> Option<u64> {
    let counts = fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("read_bytes:"))?.trim().parse().ok()
}
