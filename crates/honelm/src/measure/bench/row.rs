//! The results of speed tests.

use honelm_bench::{Measurement, RECORD_VERSION};
use honelm_cpu::Compute;
use honelm_model::{Checkpoint, Runner};
use honelm_plan::Plan;
use serde::Serialize;

use super::machine::{CeilingRow, Cpus};
use super::{BenchModel, PlacedOperation, TimedKernel};
use crate::device::cpu_name;
use crate::open::weight_bytes;
use crate::{Error, RunOptions};

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchRow {
    /// The version of the form of the record ([`honelm_bench::RECORD_VERSION`]).
    pub record: u64,
    /// The version of the program.
    pub version: &'static str,
    /// The time of the end of the test in UTC, in ISO 8601 form.
    pub date: String,
    /// The CPU's name, if the platform reports one.
    pub cpu: Option<String>,
    /// The CPUs that the program may use.
    #[serde(flatten)]
    pub cpus: Cpus,
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
    /// The bytes that loading read from storage rather than from memory, if the platform reports it.
    pub load_read_bytes: Option<u64>,
    /// `true` if the pages of the model's files were dropped from memory before.
    pub cold: bool,
    /// The test and its timing.
    #[serde(flatten)]
    pub measurement: Measurement,
    /// The prefill rate; `None` if the test decodes too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_second: Option<f64>,
    /// The decode rate; `None` if the test prefills too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_second: Option<f64>,
    /// The median time to the first token; `None` for other tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_seconds: Option<f64>,
    /// The time to the first token that 95% of the repeats did not exceed; `None` for other tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_p95_seconds: Option<f64>,
    /// The limits of the machine; `None` on a GPU, which is not probed.
    pub ceilings: Option<CeilingRow>,
    /// The energy of the processor per token, where its counters can be read.
    pub joules_per_token: Option<f64>,
    /// The reason why the energy is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_energy: Option<String>,
    /// The shortest time of a decoding step in seconds; `None` if the test prefills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_seconds: Option<f64>,
    /// [`Self::step_seconds`] in terms of that of a step of one row; `None` unless [`super::BenchOptions::rows`] asks for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_cost: Option<f64>,
    /// The peak memory of this process so far in bytes, without that of probes, if the platform reports it.
    pub peak_memory_bytes: Option<u64>,
    /// The bytes that the plan says: weights, the cache of the longest test's tokens, and the activations of a step.
    pub planned_memory_bytes: u64,
    /// The GPU memory in use after the test in bytes: weights, cache and working memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// The cost of each operation, the most expensive first; empty unless [`super::BenchOptions::placement`] is set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlacedOperation>,
    /// The time of each GPU kernel by the GPU's clock, the most expensive first; empty if the GPU has no clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<TimedKernel>,
}

/// The values that all rows share.
pub(super) struct About {
    pub model: String,
    pub encoding: String,
    size_bytes: u64,
    parameters: u64,
    run: RunOptions,
    load: Loaded,
    planned_memory_bytes: u64,
}

/// The circumstances of loading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded {
    pub seconds: f64,
    pub read_bytes: Option<u64>,
    pub cold: bool,
}

impl About {
    pub fn new(
        model: &BenchModel,
        checkpoint: &Checkpoint,
        planned: &Plan,
        run: &RunOptions,
        load: Loaded,
    ) -> Result<Self, Error> {
        let facts = checkpoint.facts();
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
            load,
            planned_memory_bytes: planned.total_bytes,
        })
    }

    pub fn row(&self, runner: &dyn Runner, measurement: Measurement) -> BenchRow {
        let rate = measurement.tokens_per_second;
        let (prompt, generate) = (measurement.what.prompt, measurement.what.generate);
        let first = |share: f64| measurement.what.first_token.then(|| measurement.quantile_seconds(share));
        BenchRow {
            record: RECORD_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            date: date(),
            cpu: cpu_name(),
            cpus: Cpus::here(),
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
            cache_type: self.run.cache_type.name().to_owned(),
            context: runner.context(),
            load_seconds: self.load.seconds,
            load_read_bytes: self.load.read_bytes,
            cold: self.load.cold,
            prefill_tokens_per_second: (generate == 0 && !measurement.what.first_token).then_some(rate),
            decode_tokens_per_second: (prompt == 0).then_some(rate),
            first_token_seconds: first(0.5),
            first_token_p95_seconds: first(0.95),
            ceilings: None,
            joules_per_token: measurement.joules_per_token(),
            no_energy: None,
            step_seconds: measurement.step_seconds(),
            step_cost: None,
            peak_memory_bytes: None,
            planned_memory_bytes: self.planned_memory_bytes,
            gpu_memory_bytes: None,
            placement: Vec::new(),
            kernels: Vec::new(),
            measurement,
        }
    }
}

/// Returns the time in UTC in ISO 8601 form.
pub(super) fn date() -> String {
    crate::now().strftime("%Y-%m-%dT%H:%M:%SZ")
}
