//! The memory and the speed that a model will have, from the headers of its files.

use std::collections::BTreeMap;

use honelm_blocks::Encoding;
use honelm_model::{Checkpoint, Facts, Kind, StoredEncoding};
use honelm_plan::{Place, Plan, Workload};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::device::CPU_PREFILL_ROWS;
use crate::files::{Files, ModelFiles};
use crate::gpu::PREFILL_ROWS;
use crate::options::{DeviceName, LoadSettings, parsed};
use crate::{WebError, load, probe};

/// Returns what the model in `files` needs, as JSON: TypeScript's `ModelPlan`. Only headers and configurations are read. `options` is
/// the JSON of `WebModel.load`; the device is the CPU unless it is `gpu`. With `measure`, the CPU's kernels are measured with the
/// encodings of the model's own weights, which takes 0.2 s for each.
///
/// # Errors
/// Fails if a file is invalid, if the page's own code throws, or if the context is longer than the model's.
#[wasm_bindgen]
pub async fn plan(files: ModelFiles, options: String, measure: bool) -> Result<String, WebError> {
    let settings: LoadSettings = parsed("options", &options)?;
    let ignored = |_: &str, _: u64, _: u64| {};
    let checkpoint = load::checkpoint(&Files::new(&files, &ignored), &settings.open_options()).await?;
    let on_gpu = settings.device == DeviceName::Gpu;
    let work = Workload {
        context: settings.context,
        cache_type: settings.cache_type(),
        place: if on_gpu { Place::Gpu } else { Place::Cpu(settings.compute()) },
        step_rows: if on_gpu { PREFILL_ROWS } else { CPU_PREFILL_ROWS },
        logit_rows: 1,
    };
    let plan = honelm_plan::plan(&checkpoint, &work)?;
    let read = Read::of(&checkpoint, &plan);
    let speed = if measure && !on_gpu { read.tokens_per_second(&settings).await? } else { None };
    Ok(document(checkpoint.facts(), &plan, &read, on_gpu, speed).to_string())
}

fn document(facts: &Facts, plan: &Plan, read: &Read, on_gpu: bool, speed: Option<f64>) -> Value {
    json!({
        "name": facts.name, "architecture": facts.architecture, "parameters": facts.parameters,
        "model_context": facts.context, "context": plan.context, "device": if on_gpu { "gpu" } else { "cpu" },
        "file_bytes": plan.mapped_bytes, "weights_bytes": plan.weights_bytes, "cache_bytes": plan.cache_bytes,
        "scratch_bytes": plan.scratch_bytes, "total_bytes": plan.total_bytes, "token_bytes": read.bytes,
        "tokens_per_second": speed,
    })
}

/// The weights that each token reads: all matrices but the rows of other tokens in the embedding.
struct Read {
    /// The bytes in the files.
    bytes: u64,
    /// The numbers of weights by encoding.
    weights: BTreeMap<&'static str, (Encoding, u64)>,
    /// `true` if all of them are blocks or floats.
    are_blocks: bool,
}

impl Read {
    fn of(checkpoint: &Checkpoint, plan: &Plan) -> Self {
        let tree = checkpoint.tree();
        let output = tree.output_matrix().name;
        let mut read = Self { bytes: 0, weights: BTreeMap::new(), are_blocks: true };
        for (slot, tensor) in tree.slots().zip(&plan.tensors) {
            let is_read = tree.module(slot).is_some_and(|module| module.kind == Kind::Linear || module.name == output);
            if !is_read {
                continue;
            }
            read.bytes += tensor.file_bytes;
            match checkpoint.encoding(slot) {
                Ok(StoredEncoding::Blocks(encoding)) => {
                    let [rows, cols] = tensor.shape.map(|n| n as u64);
                    read.weights.entry(encoding.display_name()).or_insert((encoding, 0)).1 += rows * cols;
                }
                _ => read.are_blocks = false,
            }
        }
        read
    }

    /// Returns the tokens per second at which the CPU reads these weights; `None` for integer groups, which are not measured.
    async fn tokens_per_second(&self, settings: &LoadSettings) -> Result<Option<f64>, WebError> {
        if !self.are_blocks || self.weights.is_empty() {
            return Ok(None);
        }
        let mut seconds = 0.0;
        for &(encoding, weights) in self.weights.values() {
            seconds += weights as f64 / probe::weights_per_second(encoding, settings).await?;
        }
        Ok(Some(1.0 / seconds))
    }
}
