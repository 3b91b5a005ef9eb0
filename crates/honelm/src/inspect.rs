//! What a model is, without running it.

use std::path::{Path, PathBuf};

use honelm_compress::STEP_ROWS;
use honelm_model::{Checkpoint, DEFAULT_CONTEXT, Origin};
use honelm_plan::{Compression, Evaluation, Peak, Plan, PlannedTensor, Workload, plan, plan_compression, plan_eval};
use honelm_text::{Family, Tokenizer};
use serde::Serialize;
use serde_json::Value;

use crate::open::{open_quietly, tokenizer_of, weight_bytes};
use crate::{Error, RunOptions};

/// Contexts that memory is planned for, as far as the model reaches.
const CONTEXTS: [usize; 3] = [2048, DEFAULT_CONTEXT, 32_768];
/// Tokens of a text that is read at once, and texts, where a user asks for no others.
const USUAL_LENGTH: usize = 512;
const USUAL_SAMPLES: usize = 256;

/// Everything that is known of a model before it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The model's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// `gguf`, `safetensors`, or `gptq` in safetensors.
    pub container: String,
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// Numbers in all weights.
    pub parameters: u64,
    /// Bytes of the weights' files.
    pub size_bytes: u64,
    /// File bits over all parameters.
    pub bits_per_weight: f64,
    /// Layers.
    pub layers: usize,
    /// Model width (D).
    pub width: usize,
    /// Rows of the embedding (V).
    pub vocabulary: usize,
    /// The model's own context limit in tokens.
    pub context: usize,
    /// The configuration in Hugging Face's form.
    pub config: Value,
    /// `generation_config.json`, where there is one.
    pub generation_config: Option<Value>,
    /// Encodings and how much of the model is in each, the most first.
    pub encodings: Vec<EncodingSummary>,
    /// Every weight.
    pub tensors: Vec<TensorEntry>,
    /// What its files leave open or contradict, and which reading was taken.
    pub warnings: Vec<String>,
    /// Tensors that nothing uses.
    pub ignored_tensors: Vec<String>,
    /// The tokenizer; `None` where it cannot be read.
    pub tokenizer: Option<TokenizerFacts>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_problem: Option<String>,
    /// Source of the chat template.
    pub chat_template: Option<String>,
    /// Bytes that it needs to run on the device that was chosen, for several contexts.
    pub memory: Vec<MemoryNeed>,
    /// Bytes that measuring and compressing it need at most, on the processor.
    pub jobs: Vec<JobNeed>,
}

/// How much of a model is in an encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EncodingSummary {
    /// `Q4_0`, `int4 g128`.
    pub encoding: String,
    /// Weights in it.
    pub tensors: usize,
    /// Their numbers.
    pub values: u64,
    /// Their bytes in the file.
    pub bytes: u64,
}

/// A weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorEntry {
    /// Name in the file.
    pub name: String,
    /// Layer number; `None` for the embedding, the last norm and the output.
    pub layer: Option<usize>,
    /// Canonical name in its part of the model: `q`, `down`.
    pub module: String,
    /// Encoding in the file.
    pub encoding: String,
    /// `[out, in]`.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub bytes: u64,
}

/// A token with a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenFact {
    /// Its id.
    pub id: u32,
    /// Its text in the vocabulary.
    pub text: String,
}

/// What is known of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenizerFacts {
    /// `byte-level BPE` or `SentencePiece BPE`.
    pub family: String,
    /// Number of ids.
    pub tokens: usize,
    /// Begins a text.
    pub bos: Option<TokenFact>,
    /// Whether it is put before every text.
    pub adds_bos: bool,
    /// End an answer.
    pub stop: Vec<TokenFact>,
    /// Fills batches.
    pub pad: Option<TokenFact>,
}

/// What a model needs to run with a context, from its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// Tokens.
    pub context: usize,
    /// Weights in the layout of the device.
    pub weights_bytes: u64,
    /// Keys and values of one full sequence.
    pub cache_bytes: u64,
    /// The most that a step's activations take.
    pub scratch_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
    /// Weights that a GPU holds as F16, since none of its layouts holds them exactly.
    pub rounded_tensors: usize,
}

/// What a job needs at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobNeed {
    /// The job, in words.
    pub job: &'static str,
    /// What it is doing when it needs the most.
    pub phase: &'static str,
    /// Bytes.
    pub peak_bytes: u64,
}

impl JobNeed {
    fn new(job: &'static str, peak: &Peak) -> Self {
        let phase = peak.phases.iter().max_by_key(|(_, bytes)| *bytes).map_or("", |(phase, _)| phase);
        Self { job, phase, peak_bytes: peak.peak_bytes }
    }
}

impl From<&Plan> for MemoryNeed {
    fn from(plan: &Plan) -> Self {
        Self {
            context: plan.context,
            weights_bytes: plan.weights_bytes,
            cache_bytes: plan.cache_bytes,
            scratch_bytes: plan.scratch_bytes,
            total_bytes: plan.total_bytes,
            rounded_tensors: plan.tensors.iter().filter(|tensor| tensor.rounded).count(),
        }
    }
}

/// Opens a model and tells what it is; of the weights, names, shapes and encodings are read, not the values.
///
/// # Errors
/// What is wrong with a file; a context beyond the model's. A tokenizer that cannot be read is part of the answer.
pub fn inspect(path: &Path, run: &RunOptions) -> Result<Inspection, Error> {
    let checkpoint = open_quietly(path, run)?;
    let facts = checkpoint.facts();
    let plans = contexts(facts.context, run.context)
        .into_iter()
        .map(|context| {
            let work = Workload {
                context: Some(context),
                cache_type: run.cache_type,
                place: run.place(),
                ..Workload::default()
            };
            plan(&checkpoint, &work)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let tensors = plans.first().map(|p| entries(&checkpoint, &p.tensors)).unwrap_or_default();
    let tokenizer = tokenizer_of(&checkpoint);
    let size_bytes = weight_bytes(&weights_path(&checkpoint, path))?;
    checkpoint.check_files()?;
    Ok(Inspection {
        name: facts.name.clone(),
        path: path.to_owned(),
        container: container(&checkpoint).to_owned(),
        architecture: facts.architecture.to_owned(),
        parameters: facts.parameters,
        size_bytes,
        bits_per_weight: size_bytes as f64 * 8.0 / facts.parameters.max(1) as f64,
        layers: facts.layers,
        width: facts.width,
        vocabulary: facts.vocabulary,
        context: facts.context,
        config: checkpoint.config_json().clone(),
        generation_config: checkpoint.generation_config().cloned(),
        encodings: summary(&tensors),
        tensors,
        warnings: checkpoint.warnings().to_vec(),
        ignored_tensors: checkpoint.ignored_tensors().to_vec(),
        chat_template: tokenizer.as_ref().ok().and_then(|t| t.chat_template().map(str::to_owned)),
        tokenizer: tokenizer.as_ref().ok().map(TokenizerFacts::from),
        tokenizer_problem: tokenizer.err().map(|e| e.to_string()),
        memory: plans.iter().map(MemoryNeed::from).collect(),
        jobs: jobs(&checkpoint, run)?,
    })
}

/// Measuring a model beside itself, and compressing it, with the usual texts as far as the model reads so much.
fn jobs(checkpoint: &Checkpoint, run: &RunOptions) -> Result<Vec<JobNeed>, Error> {
    let length = checkpoint.facts().context.min(USUAL_LENGTH);
    let how = Evaluation { window: length, cache_type: run.cache_type, compute: run.compute };
    let eval = plan_eval(checkpoint, Some(checkpoint), &how)?;
    let how = Compression { samples: USUAL_SAMPLES, length, step_rows: STEP_ROWS };
    let calibration = plan_compression(checkpoint, &how)?;
    Ok(vec![JobNeed::new("eval --against itself", &eval), JobNeed::new("quantize --calibration", &calibration)])
}

/// The context asked for, else the usual ones that the model reaches and its own.
fn contexts(limit: usize, wanted: Option<usize>) -> Vec<usize> {
    if let Some(wanted) = wanted {
        return vec![wanted];
    }
    let below = CONTEXTS.into_iter().filter(|&context| context < limit);
    below.chain([limit.min(131_072)]).collect()
}

fn container(checkpoint: &Checkpoint) -> &'static str {
    match checkpoint.origin() {
        Origin::Gguf { .. } => "gguf",
        Origin::HuggingFace { .. } => checkpoint.quantized_format().unwrap_or("safetensors"),
        Origin::Synthetic => "synthetic",
    }
}

/// The folder, where `path` names a file in it.
fn weights_path(checkpoint: &Checkpoint, path: &Path) -> PathBuf {
    match checkpoint.origin() {
        Origin::HuggingFace { dir } => dir.clone(),
        Origin::Gguf { .. } | Origin::Synthetic => path.to_owned(),
    }
}

fn entries(checkpoint: &Checkpoint, tensors: &[PlannedTensor]) -> Vec<TensorEntry> {
    let slots = checkpoint.tree().slots();
    let entry = |(slot, tensor): (honelm_model::Slot, &PlannedTensor)| TensorEntry {
        name: tensor.name.clone(),
        layer: slot.layer,
        module: slot.module.to_owned(),
        encoding: tensor.encoding.clone(),
        shape: tensor.shape.to_vec(),
        bytes: tensor.file_bytes,
    };
    slots.zip(tensors).map(entry).collect()
}

/// Encodings, the one with the most bytes first.
pub(crate) fn summary(tensors: &[TensorEntry]) -> Vec<EncodingSummary> {
    let mut out: Vec<EncodingSummary> = Vec::new();
    for tensor in tensors {
        let values = tensor.shape.iter().map(|&n| n as u64).product::<u64>();
        match out.iter_mut().find(|e| e.encoding == tensor.encoding) {
            Some(entry) => {
                entry.tensors += 1;
                entry.values += values;
                entry.bytes += tensor.bytes;
            }
            None => {
                out.push(EncodingSummary { encoding: tensor.encoding.clone(), tensors: 1, values, bytes: tensor.bytes })
            }
        }
    }
    out.sort_by_key(|e| std::cmp::Reverse(e.bytes));
    out
}

impl From<&Tokenizer> for TokenizerFacts {
    fn from(tokenizer: &Tokenizer) -> Self {
        let fact = |id: u32| TokenFact { id, text: tokenizer.token(id).unwrap_or_default().to_owned() };
        Self {
            family: match tokenizer.family() {
                Family::ByteLevel => "byte-level BPE",
                Family::SentencePiece => "SentencePiece BPE",
            }
            .to_owned(),
            tokens: tokenizer.vocab_size(),
            bos: tokenizer.bos().map(fact),
            adds_bos: tokenizer.adds_bos(),
            stop: tokenizer.eos_ids().iter().copied().map(fact).collect(),
            pad: tokenizer.pad().map(fact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_is_what_its_files_say() {
        let path = crate::locate(None, None).expect("the shipped model");
        let found = inspect(&path, &RunOptions::default()).expect("inspected");
        assert_eq!((found.layers, found.width, found.vocabulary, found.context), (8, 256, 8192, 1024));
        assert_eq!(found.container, "safetensors");
        assert_eq!(found.encodings[0].encoding, "F16");
        assert_eq!(found.encodings.iter().map(|e| e.values).sum::<u64>(), found.parameters);
        let tokenizer = found.tokenizer.expect("a tokenizer");
        assert!(tokenizer.adds_bos);
        assert_eq!(tokenizer.stop.iter().map(|t| t.text.as_str()).collect::<Vec<_>>(), ["<|eos|>", "<|end|>"]);
        assert!(found.chat_template.is_some());
        let need = found.memory.first().expect("planned");
        assert_eq!(need.total_bytes, need.weights_bytes + need.cache_bytes + need.scratch_bytes);
    }

    #[test]
    fn a_context_beyond_the_models_is_refused() {
        let path = crate::locate(None, None).expect("the shipped model");
        let run = RunOptions { context: Some(4096), ..RunOptions::default() };
        assert_eq!(inspect(&path, &run).expect_err("refused").code(), "context-too-long");
    }
}
