//! Measurements of speed and memory, of a file or of a published shape with made-up weights.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use honelm_backend::{CacheType, Placement, Profile};
use honelm_bench::{BenchError, Measurement, Speed, Test, peak_memory_bytes};
use honelm_blocks::Encoding;
use honelm_cpu::Compute;
use honelm_formats::open_file;
use honelm_gpu::KernelTime;
use honelm_model::{Checkpoint, Runner};
use honelm_plan::{Workload, plan};
use serde::Serialize;

use crate::open::{load_on, open, open_quietly};
use crate::{Error, Event, Events, Model, RunOptions};

/// Seed of made-up weights.
const SEED: u64 = 1;

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchModel {
    /// A folder or a GGUF file.
    Path(PathBuf),
    /// Made-up weights of a published model's shape.
    Synthetic {
        /// Its name: `llama-3.2-1b`.
        shape: String,
        /// Encoding of the linear layers.
        encoding: Encoding,
    },
}

/// Settings of [`benchmark`]. Every prompt and every generation is tested at every depth; zeros are left out.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The model.
    pub model: BenchModel,
    /// Tokens to prefill, a test each.
    pub prompts: Vec<usize>,
    /// Tokens to decode, a test each.
    pub generates: Vec<usize>,
    /// Tokens that are cached before.
    pub depths: Vec<usize>,
    /// Most rows of a prefill step.
    pub batch: usize,
    /// Repeats of each test, after one that is not counted.
    pub repeats: usize,
    /// How the model is run.
    pub run: RunOptions,
    /// Whether every operation is timed: costs some time itself.
    pub placement: bool,
}

impl BenchOptions {
    /// The customary tests, pp512 and tg64, five times each.
    #[must_use]
    pub fn new(model: BenchModel) -> Self {
        Self {
            model,
            prompts: vec![512],
            generates: vec![64],
            depths: vec![0],
            batch: 512,
            repeats: 5,
            run: RunOptions::default(),
            placement: false,
        }
    }

    fn tests(&self) -> Vec<Test> {
        let test = |prompt, generate, depth| Test { prompt, generate, depth, batch: self.batch };
        let mut out = Vec::new();
        for &depth in &self.depths {
            out.extend(self.prompts.iter().filter(|&&n| n > 0).map(|&n| test(n, 0, depth)));
            out.extend(self.generates.iter().filter(|&&n| n > 0).map(|&n| test(0, n, depth)));
        }
        out
    }
}

/// One test of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchRow {
    /// The model's name, or its shape's.
    pub model: String,
    /// The encoding that most of it is in.
    pub encoding: String,
    /// Bytes of its weights as stored.
    pub size_bytes: u64,
    /// Numbers in all weights.
    pub parameters: u64,
    /// Back end and kernel path.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// `fast` or `f32`.
    pub compute: String,
    /// `f16`, `f32` or `q8_0`.
    pub cache_type: String,
    /// Context in tokens.
    pub context: usize,
    /// Seconds of opening and loading (of making them up, for made-up weights).
    pub load_seconds: f64,
    /// What was measured.
    #[serde(flatten)]
    pub measurement: Measurement,
    /// Prefill rate, for tests of prefill alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_second: Option<f64>,
    /// Decode rate, for tests of decoding alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_second: Option<f64>,
    /// Largest resident memory of this process so far; `None` where the platform does not say.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes that a GPU holds after the test: weights, cache and working memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// What each operation cost in the test's runs, the most expensive first; where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlacedOperation>,
    /// What a GPU's kernels took in these runs by its own clock, the most expensive first; where it has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<TimedKernel>,
}

/// A GPU kernel's part in a test. Each is timed in a pass of its own, so that all together take longer than a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimedKernel {
    /// Its name: `linear_rows`.
    pub kernel: &'static str,
    /// Dispatches.
    pub calls: u64,
    /// Seconds on the device.
    pub seconds: f64,
}

/// What kernels cost beyond what they had cost `before`.
fn since(before: &BTreeMap<&'static str, KernelTime>, now: &BTreeMap<&'static str, KernelTime>) -> Vec<TimedKernel> {
    let kernels = now.iter().map(|(&kernel, time)| {
        let past = before.get(kernel).copied().unwrap_or_default();
        TimedKernel { kernel, calls: time.calls - past.calls, seconds: time.seconds - past.seconds }
    });
    let mut kernels: Vec<_> = kernels.filter(|kernel| kernel.calls > 0).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}

/// An operation's part in a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlacedOperation {
    /// Its name in the back-end contract; fused forms as such.
    pub operation: &'static str,
    /// The device that it ran on.
    pub device: String,
    /// How often it ran.
    pub calls: u64,
    /// Seconds in the back end. On a GPU that is recording alone: see [`BenchRow::kernels`] for what it computes.
    pub seconds: f64,
    /// Bytes of weights that it read.
    pub weight_bytes: u64,
    /// Bytes of activations that it read and wrote.
    pub activation_bytes: u64,
}

/// Takes what a placement counted since the last time.
fn taken(placement: &RefCell<Placement>) -> Vec<PlacedOperation> {
    let mut placement = placement.borrow_mut();
    let operations = std::mem::take(&mut placement.operations);
    let placed = operations.into_iter().map(|(operation, cost)| PlacedOperation {
        operation,
        device: placement.device.clone(),
        calls: cost.calls,
        seconds: cost.seconds,
        weight_bytes: cost.weight_bytes,
        activation_bytes: cost.activation_bytes,
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    placed
}

/// Loads a model and runs its tests; `on_row` sees each as it is done and stops the rest by returning false.
///
/// # Errors
/// What is wrong with the model or a test; [`Error::Interrupted`] where `events` says so.
pub fn benchmark(
    options: &BenchOptions,
    events: Events<'_>,
    on_row: &mut dyn FnMut(&BenchRow) -> bool,
) -> Result<Vec<BenchRow>, Error> {
    let tests = options.tests();
    if tests.is_empty() {
        return Err(BenchError::EmptyTest.into());
    }
    let begin = Instant::now();
    let checkpoint = match &options.model {
        BenchModel::Path(path) => open(path, &options.run, &mut *events)?,
        BenchModel::Synthetic { shape, encoding } => Checkpoint::synthetic(shape, *encoding, SEED)?,
    };
    let ((mut device, gpu), mut placement) = (options.run.open_for(&checkpoint, &mut *events)?, None);
    if let Some(gpu) = gpu.as_ref().filter(|_| options.placement) {
        gpu.borrow_mut().time_kernels();
    }
    let kernel_times = || gpu.as_ref().map(|gpu| gpu.borrow().kernel_times()).unwrap_or_default();
    if options.placement {
        let (profile, filled) = Profile::new(device, Box::new(move || begin.elapsed().as_secs_f64()));
        (device, placement) = (Rc::new(RefCell::new(profile)), Some(filled));
    }
    let mut runner = load_on(device, &checkpoint, &options.run, &mut *events)?;
    let load_seconds = begin.elapsed().as_secs_f64();
    let about = About::new(&checkpoint, &options.run, load_seconds)?;
    checkpoint.check_unchanged()?;
    let watch = checkpoint.watch();
    drop(checkpoint);
    // Each repeat, and one that is not counted.
    let steps = options.repeats.saturating_add(1);
    let total = tests.len().saturating_mul(steps);
    let mut rows = Vec::new();
    for (t, test) in tests.into_iter().enumerate() {
        let name = test.to_string();
        let done = t.saturating_mul(steps);
        let mut progress = |repeat: usize| {
            events(&Event::Stage { name: "measuring", detail: &name, done: done.saturating_add(repeat + 1), total })
        };
        let before = kernel_times();
        let measurement = honelm_bench::run(&mut runner, test, options.repeats, &mut progress)?;
        watch.check()?;
        let mut row = about.row(&runner, measurement);
        row.placement = placement.as_deref().map(taken).unwrap_or_default();
        row.kernels = since(&before, &kernel_times());
        row.gpu_memory_bytes = gpu.as_ref().map(|gpu| gpu.borrow().device_bytes().total());
        let goes_on = on_row(&row);
        rows.push(row);
        if !goes_on {
            break;
        }
    }
    Ok(rows)
}

/// What all rows of a model have in common.
struct About {
    model: String,
    encoding: String,
    size_bytes: u64,
    parameters: u64,
    run: RunOptions,
    load_seconds: f64,
}

impl About {
    fn new(checkpoint: &Checkpoint, run: &RunOptions, load_seconds: f64) -> Result<Self, Error> {
        let facts = checkpoint.facts();
        let planned = plan(checkpoint, &Workload { context: Some(1), place: run.place(), ..Workload::default() })?;
        let bytes = |encoding: &str| {
            planned.tensors.iter().filter(|t| t.encoding == encoding).map(|t| t.file_bytes).sum::<u64>()
        };
        let most = planned.tensors.iter().map(|t| t.encoding.as_str()).max_by_key(|encoding| bytes(encoding));
        Ok(Self {
            model: facts.name.clone(),
            encoding: most.unwrap_or_default().to_owned(),
            size_bytes: planned.mapped_bytes,
            parameters: facts.parameters,
            run: run.clone(),
            load_seconds,
        })
    }

    fn row(&self, runner: &dyn Runner, measurement: Measurement) -> BenchRow {
        let rate = measurement.tokens_per_second;
        let (prompt, generate) = (measurement.what.prompt, measurement.what.generate);
        BenchRow {
            model: self.model.clone(),
            encoding: self.encoding.clone(),
            size_bytes: self.size_bytes,
            parameters: self.parameters,
            device: runner.describe(),
            threads: self.run.worker_threads(),
            compute: match self.run.compute {
                Compute::Fast => "fast",
                Compute::F32 => "f32",
            }
            .to_owned(),
            cache_type: match self.run.cache_type {
                CacheType::F16 => "f16",
                CacheType::F32 => "f32",
                CacheType::Q8_0 => "q8_0",
            }
            .to_owned(),
            context: runner.context(),
            load_seconds: self.load_seconds,
            prefill_tokens_per_second: (generate == 0).then_some(rate),
            decode_tokens_per_second: (prompt == 0).then_some(rate),
            peak_memory_bytes: peak_memory_bytes(),
            gpu_memory_bytes: None,
            placement: Vec::new(),
            kernels: Vec::new(),
            measurement,
        }
    }
}

/// Load time from a warm page cache, speeds and peak memory of a model as users run it, on the processor where no device is named. Best in a process that does
/// nothing else: peak memory is the process's.
///
/// # Errors
/// What is wrong with the model; a context too short to measure.
pub fn measure(path: &Path, run: &RunOptions) -> Result<Speed, Error> {
    for file in open_quietly(path, run)?.files() {
        let read = io::copy(&mut open_file(file)?, &mut io::sink());
        read.map_err(|source| Error::Io { path: file.clone(), source })?;
    }
    let mut model = Model::open(path, &run.steady(), &mut |_| true)?;
    let load_seconds = model.load_seconds();
    let speed = Speed::measure(model.runner(), load_seconds)?;
    model.check_unchanged()?;
    Ok(speed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_and_generation_is_tested_at_every_depth() {
        let options = BenchOptions {
            prompts: vec![8, 0],
            generates: vec![4],
            depths: vec![0, 16],
            ..BenchOptions::new(BenchModel::Path(PathBuf::new()))
        };
        let names: Vec<String> = options.tests().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["pp8", "tg4", "pp8@d16", "tg4@d16"]);
    }

    #[test]
    fn nothing_to_measure_is_refused() {
        let options =
            BenchOptions { prompts: vec![0], generates: vec![], ..BenchOptions::new(BenchModel::Path(PathBuf::new())) };
        assert_eq!(benchmark(&options, &mut |_| true, &mut |_| true).expect_err("refused").code(), "empty-test");
    }
}
