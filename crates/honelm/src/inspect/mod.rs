//! Shows what a model is without running it.

mod contents;

use std::path::{Path, PathBuf};

use honelm_compress::{KEPT_BYTES, STEP_ROWS};
use honelm_model::{Checkpoint, DEFAULT_CONTEXT, Origin};
use honelm_plan::{Compression, Evaluation, Peak, Plan, PlannedTensor, Workload, plan, plan_compression, plan_eval};
use honelm_text::{Family, Tokenizer};
use serde::Serialize;
use serde_json::Value;

use crate::open::{open_quietly, tokenizer_of, weight_bytes};
use crate::{Error, RunOptions};

pub use contents::{Contents, StoredTensor, contents};

/// The contexts that memory is planned for, if the model supports them.
const CONTEXTS: [usize; 3] = [2048, DEFAULT_CONTEXT, 32_768];
/// The default number of tokens per sample and of samples.
const USUAL_LENGTH: usize = 512;
const USUAL_SAMPLES: usize = 256;

/// The facts about a model that are known before it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The model's name.
    pub name: String,
    /// The path that was inspected.
    pub path: PathBuf,
    /// `gguf`, `safetensors`, or the quantised format of a Hugging Face folder, for example `gptq`.
    pub container: String,
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// `true` for an encoder, which only makes embeddings.
    pub encoder: bool,
    /// The number of parameters.
    pub parameters: u64,
    /// The size of the files that hold the weights, in bytes.
    pub size_bytes: u64,
    /// The bits of these files divided by the number of parameters.
    pub bits_per_weight: f64,
    /// The number of layers.
    pub layers: usize,
    /// The model width (D).
    pub width: usize,
    /// The number of rows of the embedding (V).
    pub vocabulary: usize,
    /// The model's own context limit in tokens.
    pub context: usize,
    /// The configuration in Hugging Face's form.
    pub config: Value,
    /// The contents of `generation_config.json`, if there is one.
    pub generation_config: Option<Value>,
    /// The encodings of the weights, the one with the most bytes first.
    pub encodings: Vec<EncodingSummary>,
    /// Every weight.
    pub tensors: Vec<TensorEntry>,
    /// The points that the files leave open or contradict, and how each was read.
    pub warnings: Vec<String>,
    /// The names of tensors that nothing uses.
    pub ignored_tensors: Vec<String>,
    /// The tokenizer; `None` if it cannot be read.
    pub tokenizer: Option<TokenizerFacts>,
    /// The reason why the tokenizer cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_problem: Option<String>,
    /// The source of the chat template.
    pub chat_template: Option<String>,
    /// The memory that the model needs on the chosen device, for several contexts.
    pub memory: Vec<MemoryNeed>,
    /// The memory that evaluation and compression of the model need on the CPU.
    pub jobs: Vec<JobNeed>,
}

/// The weights in one encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EncodingSummary {
    /// The name of the encoding: `Q4_0`, `int4 g128`.
    pub encoding: String,
    /// The number of weights.
    pub tensors: usize,
    /// The number of values in them.
    pub values: u64,
    /// Their size in the file, in bytes.
    pub bytes: u64,
}

/// A weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorEntry {
    /// The name in the file.
    pub name: String,
    /// The index of the layer; `None` for the embedding, the last norm and the output.
    pub layer: Option<usize>,
    /// The canonical name of the module: `q`, `down`.
    pub module: String,
    /// The encoding in the file.
    pub encoding: String,
    /// The shape, `[out, in]`.
    pub shape: Vec<usize>,
    /// The size in the file, in bytes.
    pub bytes: u64,
}

/// A token with a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenFact {
    /// The id.
    pub id: u32,
    /// The text in the vocabulary.
    pub text: String,
}

/// The facts about a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenizerFacts {
    /// `byte-level BPE` or `SentencePiece BPE`.
    pub family: String,
    /// The number of ids.
    pub tokens: usize,
    /// The token that begins a text (BOS).
    pub bos: Option<TokenFact>,
    /// `true` if BOS is put before every text.
    pub adds_bos: bool,
    /// The tokens that end an answer.
    pub stop: Vec<TokenFact>,
    /// The padding token.
    pub pad: Option<TokenFact>,
}

/// The memory that a model needs to run with a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// The context in tokens.
    pub context: usize,
    /// The bytes of the weights in the layout of the device.
    pub weights_bytes: u64,
    /// The bytes of the keys and values of one sequence of `context` tokens.
    pub cache_bytes: u64,
    /// The largest size of a step's activations, in bytes.
    pub scratch_bytes: u64,
    /// The sum of weights, cache and activations, in bytes.
    pub total_bytes: u64,
    /// The number of weights that a GPU rounds to F16 because none of its layouts holds them exactly.
    pub rounded_tensors: usize,
}

/// The peak memory of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobNeed {
    /// The job.
    pub job: &'static str,
    /// The phase of the job that needs the most memory.
    pub phase: &'static str,
    /// The peak memory in bytes.
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

/// Inspects a model. Reads the names, shapes and encodings of the weights, not their values.
///
/// # Errors
/// An invalid file, or a context longer than the model's. [`contents`] shows what an invalid model's files hold. A
/// tokenizer that cannot be read is not an error: see [`Inspection::tokenizer_problem`].
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
    let size_bytes = weight_bytes(path)?;
    checkpoint.check_files()?;
    Ok(Inspection {
        name: facts.name.clone(),
        path: path.to_owned(),
        container: container(&checkpoint).to_owned(),
        architecture: facts.architecture.to_owned(),
        encoder: facts.encoder,
        parameters: facts.parameters,
        size_bytes,
        bits_per_weight: size_bytes as f64 * 8.0 / facts.parameters.max(1) as f64,
        layers: facts.layers,
        width: facts.width,
        vocabulary: facts.vocabulary,
        context: facts.context,
        config: checkpoint.config_json().clone(),
        generation_config: checkpoint.generation_config().cloned(),
        encodings: counted(tensors.iter().map(|t| (t.encoding.as_str(), t.shape.as_slice(), t.bytes))),
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

/// Plans an evaluation of the model against itself and its compression, with the default sizes.
fn jobs(checkpoint: &Checkpoint, run: &RunOptions) -> Result<Vec<JobNeed>, Error> {
    let length = checkpoint.facts().context.min(USUAL_LENGTH);
    let how = Evaluation { chunk: length, cache_type: run.cache_type, compute: run.compute };
    let eval = plan_eval(checkpoint, Some(checkpoint), &how)?;
    let how = Compression {
        samples: USUAL_SAMPLES,
        length,
        step_rows: STEP_ROWS,
        kept_bytes: KEPT_BYTES as u64,
        originals: true,
    };
    let calibration = plan_compression(checkpoint, &how)?;
    let mut jobs = vec![JobNeed::new("quantize --calibration", &calibration)];
    if !checkpoint.facts().encoder {
        jobs.insert(0, JobNeed::new("eval --against itself", &eval));
    }
    Ok(jobs)
}

/// Returns the context asked for, or else the usual ones below the model's own, and the model's own.
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

/// Sums up the tensors per encoding, the one with the most bytes first. A tensor is its encoding, its shape, and its
/// size in bytes.
fn counted<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], u64)>) -> Vec<EncodingSummary> {
    let mut out: Vec<EncodingSummary> = Vec::new();
    for (encoding, shape, bytes) in tensors {
        let values = shape.iter().fold(1u64, |values, &n| values.saturating_mul(n as u64));
        match out.iter_mut().find(|e| e.encoding == encoding) {
            Some(entry) => {
                entry.tensors += 1;
                entry.values += values;
                entry.bytes += bytes;
            }
            None => out.push(EncodingSummary { encoding: encoding.to_owned(), tensors: 1, values, bytes }),
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
                Family::WordPiece => "WordPiece",
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
    fn the_shipped_model_is_described() {
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
    fn a_context_longer_than_the_models_is_an_error() {
        let path = crate::locate(None, None).expect("the shipped model");
        let run = RunOptions { context: Some(4096), ..RunOptions::default() };
        assert_eq!(inspect(&path, &run).expect_err("refused").code(), "context-too-long");
    }
}
