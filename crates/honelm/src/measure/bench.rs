//! Speed tests of a model file, or of a published shape with synthetic weights.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use honelm_backend::{CacheType, Placement, Profile};
use honelm_bench::{BenchError, Measurement, Rows, Test, peak_memory_bytes};
use honelm_blocks::Encoding;
use honelm_cpu::Compute;
use honelm_gpu::KernelTime;
use honelm_model::{Checkpoint, Runner};
use honelm_plan::{Workload, plan};
use serde::Serialize;

use crate::device::{load_on, open_for};
use crate::open::{open, weight_bytes};
use crate::{Error, Event, Events, RunOptions};

/// The seed of synthetic weights.
const SEED: u64 = 1;

/// The model of a speed test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchModel {
    /// A folder or a GGUF file.
    Path(PathBuf),
    /// Synthetic weights of a published model's shape.
    Synthetic {
        /// The name of the shape, for example `llama-3.2-1b`.
        shape: String,
        /// The encoding of the linear modules.
        encoding: Encoding,
    },
}

/// The settings of [`benchmark`]. Every prompt length and every generation length is a test at every depth; a length of
/// 0 is ignored.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The model.
    pub model: BenchModel,
    /// The prompt lengths in tokens, one prefill test per length.
    pub prompts: Vec<usize>,
    /// The numbers of tokens to decode, one test per number.
    pub generates: Vec<usize>,
    /// The numbers of tokens in the cache when a test begins.
    pub depths: Vec<usize>,
    /// The numbers of rows of a step whose costs are compared, one more test for each: decoding of as many sequences, and
    /// verification of a draft of as many rows of one sequence.
    pub rows: Vec<usize>,
    /// The largest number of tokens per prefill step.
    pub batch: usize,
    /// The number of timed repeats per test, after one that is not timed.
    pub repeats: usize,
    /// The device, threads and context.
    pub run: RunOptions,
    /// `true` to time every operation, which slows the test down a little.
    pub placement: bool,
}

impl BenchOptions {
    /// Returns the usual tests, pp512 and tg64, with five repeats each.
    #[must_use]
    pub fn new(model: BenchModel) -> Self {
        Self {
            model,
            prompts: vec![512],
            generates: vec![64],
            depths: vec![0],
            rows: Vec::new(),
            batch: 512,
            repeats: 5,
            run: RunOptions::default(),
            placement: false,
        }
    }

    /// Returns the tests, those together that run in turns.
    fn tests(&self) -> Vec<Vec<Test>> {
        let mut out = Vec::new();
        for &depth in &self.depths {
            let test = |prompt, generate| Test { depth, ..Test::new(prompt, generate, self.batch) };
            let generates = self.generates.iter().filter(|&&n| n > 0);
            out.extend(self.prompts.iter().filter(|&&n| n > 0).map(|&n| vec![test(n, 0)]));
            if self.rows.is_empty() {
                out.extend(generates.map(|&n| vec![test(0, n)]));
                continue;
            }
            let kinds = self.rows.iter().filter(|&&rows| rows > 0).flat_map(|&rows| {
                let draft = (rows > 1).then_some(Rows::Draft(rows));
                [Some(Rows::Sequences(rows)), draft].into_iter().flatten()
            });
            out.extend(generates.map(|&n| kinds.clone().map(|rows| Test { rows, ..test(0, n) }).collect()));
        }
        out.retain(|turns: &Vec<Test>| !turns.is_empty());
        out
    }
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchRow {
    /// The name of the model or of the shape.
    pub model: String,
    /// The encoding of most of the weights.
    pub encoding: String,
    /// The size of the files that hold the weights, in bytes; of synthetic weights, of the weights themselves.
    pub size_bytes: u64,
    /// The number of parameters.
    pub parameters: u64,
    /// The back end and its kernels.
    pub device: String,
    /// The number of threads.
    pub threads: usize,
    /// `fast` or `f32`.
    pub compute: String,
    /// `f16`, `f32` or `q8_0`.
    pub cache_type: String,
    /// The context in tokens.
    pub context: usize,
    /// The time to open and load the model, or to make synthetic weights.
    pub load_seconds: f64,
    /// The test and its timing.
    #[serde(flatten)]
    pub measurement: Measurement,
    /// The prefill rate; `None` if the test decodes too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_second: Option<f64>,
    /// The decode rate; `None` if the test prefills too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_second: Option<f64>,
    /// The shortest time of a decoding step in seconds; `None` if the test prefills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_seconds: Option<f64>,
    /// [`Self::step_seconds`] in terms of that of a step of one row; `None` unless [`BenchOptions::rows`] asks for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_cost: Option<f64>,
    /// The peak memory of this process so far in bytes, if the platform reports it.
    pub peak_memory_bytes: Option<u64>,
    /// The GPU memory in use after the test in bytes: weights, cache and working memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// The cost of each operation, the most expensive first; empty unless [`BenchOptions::placement`] is set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlacedOperation>,
    /// The time of each GPU kernel by the GPU's clock, the most expensive first; empty if the GPU has no clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<TimedKernel>,
}

/// The time of a GPU kernel in a test. Each call is timed in a pass of its own, so the sum exceeds the time of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimedKernel {
    /// The name, for example `linear_rows`.
    pub kernel: &'static str,
    /// The number of dispatches.
    pub calls: u64,
    /// The time on the device in seconds.
    pub seconds: f64,
}

/// Returns the difference between two readings of the kernel times.
fn since(before: &BTreeMap<&'static str, KernelTime>, now: &BTreeMap<&'static str, KernelTime>) -> Vec<TimedKernel> {
    let kernels = now.iter().map(|(&kernel, time)| {
        let past = before.get(kernel).copied().unwrap_or_default();
        TimedKernel { kernel, calls: time.calls - past.calls, seconds: time.seconds - past.seconds }
    });
    let mut kernels: Vec<_> = kernels.filter(|kernel| kernel.calls > 0).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}

/// The cost of an operation in a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlacedOperation {
    /// The name in [`honelm_backend::Backend`]. A fused operation counts under its own name.
    pub operation: &'static str,
    /// The device.
    pub device: String,
    /// The number of calls.
    pub calls: u64,
    /// The time in the back end in seconds. On a GPU this is the time to record the operation: [`BenchRow::kernels`]
    /// has the time to compute it.
    pub seconds: f64,
    /// The bytes of weights read.
    pub weight_bytes: u64,
    /// The bytes of activations read and written.
    pub activation_bytes: u64,
}

/// Takes the costs that were counted since the last call.
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

/// Loads a model and runs the tests. Calls `on_row` after each; a return value of `false` ends the tests early.
///
/// # Errors
/// An invalid model, a test that does not fit into the context, [`Error::Interrupted`] if `events` returns `false`.
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
    let ((mut device, gpu), mut placement) = (open_for(&options.run, &checkpoint, &mut *events)?, None);
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
    let about = About::new(&options.model, &checkpoint, &options.run, load_seconds)?;
    checkpoint.check_unchanged()?;
    let watch = checkpoint.watch();
    drop(checkpoint);
    // The timed repeats, and one that is not timed.
    let steps = options.repeats.saturating_add(1);
    let total = tests.len().saturating_mul(steps);
    let mut rows = Vec::new();
    for (t, turns) in tests.into_iter().enumerate() {
        let names: Vec<String> = turns.iter().map(ToString::to_string).collect();
        let name = names.join(" ");
        let done = t.saturating_mul(steps);
        let mut progress = |repeat: usize| {
            events(&Event::Stage { name: "measuring", detail: &name, done: done.saturating_add(repeat + 1), total })
        };
        let before = kernel_times();
        let measured = honelm_bench::in_turns(&mut runner, &turns, options.repeats, 0.0, &mut progress)?;
        watch.check()?;
        let one = measured.iter().find(|m| m.what.rows.count() == 1).and_then(Measurement::step_seconds);
        let mut counted = (placement.as_deref().map(taken), since(&before, &kernel_times()));
        for measurement in measured {
            let mut row = about.row(&runner, measurement);
            row.step_cost = row.step_seconds.zip(one).filter(|_| turns.len() > 1).map(|(step, one)| step / one);
            // Tests in turns are counted together, and the counts are with the first.
            (row.placement, row.kernels) = (counted.0.take().unwrap_or_default(), std::mem::take(&mut counted.1));
            row.gpu_memory_bytes = gpu.as_ref().map(|gpu| gpu.borrow().device_bytes().total());
            let goes_on = on_row(&row);
            rows.push(row);
            if !goes_on {
                return Ok(rows);
            }
        }
    }
    Ok(rows)
}

/// The values that all rows share.
struct About {
    model: String,
    encoding: String,
    size_bytes: u64,
    parameters: u64,
    run: RunOptions,
    load_seconds: f64,
}

impl About {
    fn new(model: &BenchModel, checkpoint: &Checkpoint, run: &RunOptions, load_seconds: f64) -> Result<Self, Error> {
        let facts = checkpoint.facts();
        let planned = plan(checkpoint, &Workload { context: Some(1), place: run.place(), ..Workload::default() })?;
        let bytes = |encoding: &str| {
            planned.tensors.iter().filter(|t| t.encoding == encoding).map(|t| t.file_bytes).sum::<u64>()
        };
        let most = planned.tensors.iter().map(|t| t.encoding.as_str()).max_by_key(|encoding| bytes(encoding));
        Ok(Self {
            model: facts.name.clone(),
            encoding: most.unwrap_or_default().to_owned(),
            size_bytes: match model {
                BenchModel::Path(path) => weight_bytes(path)?,
                BenchModel::Synthetic { .. } => planned.mapped_bytes,
            },
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
            step_seconds: measurement.step_seconds(),
            step_cost: None,
            peak_memory_bytes: peak_memory_bytes(),
            gpu_memory_bytes: None,
            placement: Vec::new(),
            kernels: Vec::new(),
            measurement,
        }
    }
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
        let names: Vec<String> = options.tests().iter().flatten().map(ToString::to_string).collect();
        assert_eq!(names, ["pp8", "tg4", "pp8@d16", "tg4@d16"]);
    }

    #[test]
    fn steps_of_several_rows_are_tested_in_turns() {
        let options = BenchOptions {
            prompts: vec![8],
            generates: vec![4],
            depths: vec![16],
            rows: vec![1, 4],
            ..BenchOptions::new(BenchModel::Path(PathBuf::new()))
        };
        let names = |tests: &[Test]| tests.iter().map(ToString::to_string).collect::<Vec<_>>();
        let turns: Vec<_> = options.tests().iter().map(|turns| names(turns)).collect();
        assert_eq!(turns, [vec!["pp8@d16"], vec!["tg4@d16", "tg4x4@d16", "tg4/draft4@d16"]]);
    }

    #[test]
    fn nothing_to_measure_is_refused() {
        let options =
            BenchOptions { prompts: vec![0], generates: vec![], ..BenchOptions::new(BenchModel::Path(PathBuf::new())) };
        assert_eq!(benchmark(&options, &mut |_| true, &mut |_| true).expect_err("refused").code(), "empty-test");
    }
}
