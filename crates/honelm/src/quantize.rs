//! Quantises a model to one encoding, without a verdict on its quality.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use honelm_blocks::Encoding;
use honelm_compress::{Calibration, GroupNumbers, Mix, Recipe, Scheme, TUNE, TuneFigures, check_written, compress};
use honelm_cpu::Compute;
use honelm_formats::quantized::GroupFormat;
use honelm_formats::{AtomicDir, OutputGate, gguf, publish, remove_output};
use honelm_model::export::{self, Container, GroupForm, Groups};
use honelm_model::{Checkpoint, Origin, Parameters};
use honelm_store::{Digest, Journal};
use honelm_text::{GgufVocab, Tokenizer, TokenizerFiles};
use serde_json::Value;

use crate::documents::calibration_of;
use crate::fallback::{self, fallback_lines};
use crate::imatrix;
use crate::open::{digest_of, open, tokenizer_digest, tokenizer_of, weight_bytes};
use crate::steps::Steps;
use crate::times::{StageTime, Times};
use crate::types::{TypeRules, tensor_types};
use crate::work::{JobCard, Work, gate_of};
use crate::{Error, Event, Events, Fallback, RunOptions, TextSource, TypeName};

/// The format that a model is quantised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeTarget {
    /// A GGUF file whose linear modules have this encoding.
    Encoding(Encoding),
    /// A GGUF file with one of llama.cpp's mixes of encodings.
    Mix(&'static Mix),
    /// A folder whose linear modules are integer groups.
    Groups {
        /// The container.
        container: &'static Container,
        /// The bits per code.
        bits: u8,
        /// The columns per group.
        group_size: usize,
    },
}

impl QuantizeTarget {
    /// Returns the container that is written.
    fn container(self) -> &'static Container {
        match self {
            Self::Encoding(_) | Self::Mix(_) => Container::gguf(),
            Self::Groups { container, .. } => container,
        }
    }

    /// `true` for a GGUF file.
    pub(crate) fn is_gguf(self) -> bool {
        self.container().groups.is_none()
    }
}

/// The settings of [`quantize`].
#[derive(Debug, Clone)]
pub struct QuantizeOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// The file or folder to write. It appears when it is complete.
    pub out: PathBuf,
    /// The format to write.
    pub target: QuantizeTarget,
    /// The encodings of single tensors.
    pub types: TypeRules,
    /// The largest size of a file of weights in bytes; `None` writes one file.
    pub max_shard_size: Option<u64>,
    /// `true` to replace an earlier output of the same kind.
    pub force: bool,
    /// The calibration text; `None` rounds every value to the nearest.
    pub calibration: Option<TextSource>,
    /// The recipe; by default `best` with a calibration text, otherwise rounding to nearest.
    pub recipe: Option<Recipe>,
    /// An importance matrix, which weights the columns when values are rounded to nearest; not with another recipe.
    pub imatrix: Option<PathBuf>,
    /// The largest number of calibration samples.
    pub calibration_samples: usize,
    /// The number of tokens per sample.
    pub calibration_length: usize,
    /// `true` to return an error instead of a fallback to another encoding or another way of rounding.
    pub strict: bool,
    /// The number of threads. The work is done on the CPU.
    pub run: RunOptions,
}

impl QuantizeOptions {
    /// Returns the default settings: one file, rounding to nearest without a calibration text, fallbacks allowed.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>, target: QuantizeTarget) -> Self {
        Self {
            model: model.into(),
            out: out.into(),
            target,
            types: TypeRules::default(),
            max_shard_size: None,
            force: false,
            calibration: None,
            recipe: None,
            imatrix: None,
            calibration_samples: 256,
            calibration_length: 512,
            strict: false,
            run: RunOptions::default(),
        }
    }
}

/// The result of [`quantize`].
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Quantized {
    /// The file or folder; the first file of several.
    pub path: PathBuf,
    /// The size of the files that hold the weights, in bytes.
    pub size_bytes: u64,
    /// The same of the original.
    pub original_bytes: u64,
    /// The bits of these files divided by the number of parameters.
    pub bits_per_weight: f64,
    /// The same if every matrix could have the encoding asked for.
    pub wanted_bits_per_weight: f64,
    /// The encoding of every matrix, by its name in the output.
    pub tensor_types: BTreeMap<String, String>,
    /// The matrices that have another encoding than the one asked for.
    pub fallbacks: Vec<Fallback>,
    /// The time that each part of the work took in this run.
    pub stages: Vec<StageTime>,
    /// The figures of the tuning; `None` if the recipe has none.
    pub tuning: Option<TuneFigures>,
    /// Warnings of the job.
    pub warnings: Vec<String>,
}

/// Quantises a model. Saves unfinished work beside the output; the next call with the same settings resumes it.
///
/// # Errors
/// An invalid model or text; an output that exists; [`Error::Fallback`] with [`QuantizeOptions::strict`];
/// [`Error::Interrupted`] if `events` returns `false`.
pub fn quantize(options: &QuantizeOptions, events: Events<'_>) -> Result<Quantized, Error> {
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let gate = gate_of(&checkpoint, options.calibration.as_slice(), options.force);
    let gate = options.imatrix.iter().fold(gate, |gate, path| gate.with_input(path));
    check_output(options, &gate)?;
    let work = Work::claim(&beside(&options.out), &gate, false)?;
    // A process that held the lock before may have written the output.
    check_output(options, &gate)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let scheme = scheme_of(options, &checkpoint)?;
    let fallbacks = fallback::of(&checkpoint, &scheme);
    if options.strict && !fallbacks.is_empty() {
        return Err(Error::Fallback { problems: fallback_lines(&fallbacks) });
    }
    let loss = match options.target.is_gguf() {
        true => gguf_vocab(&checkpoint, &tokenizer, options.force)?.1,
        false => None,
    };
    let text = options.calibration.as_ref().map(TextSource::calibration).transpose()?;
    let calibration = match &text {
        Some(text) => Some(calibration_of(&tokenizer, text, options.calibration_samples, options.calibration_length)?),
        None => None,
    };
    let text_warnings = text.as_ref().map(|text| text.warnings.clone()).unwrap_or_default();
    let model_digest = digest_of(&checkpoint)?;
    let key = Digest::default()
        .with(env!("CARGO_PKG_VERSION"))
        .with(&model_digest)
        .with(tokenizer_digest(&checkpoint, &tokenizer)?)
        .with(scheme.describe())
        .with(text.as_ref().map(|t| t.digest.as_str()).unwrap_or_default())
        .with(format!("{} {} {}", options.calibration_samples, options.calibration_length, options.strict))
        .hex();
    let journal = Journal::new(&work.path("layers"), &key);
    work.take_up(&JobCard { model: checkpoint.facts().name.clone(), model_digest, key })?;
    for warning in &text_warnings {
        events(&Event::Warning(warning));
    }
    let (mut warnings, mut problems) = (checkpoint.warnings().to_vec(), Vec::new());
    warnings.extend(text_warnings);
    let (run, mut times) = (&options.run, Times::default());
    let made =
        make(&checkpoint, &scheme, calibration.as_ref(), &journal, ("quantising", &mut times), run, &mut |event| {
            match event {
                // The compression warns of another way of rounding than the one asked for.
                Event::Warning(text) if options.strict => problems.push((*text).to_owned()),
                Event::Warning(text) => warnings.push((*text).to_owned()),
                _ => {}
            }
            events(event) && problems.is_empty()
        });
    if !problems.is_empty() {
        return Err(Error::Fallback { problems });
    }
    let made = made?;
    warnings.extend(loss);
    let tuning = made.tuning()?;
    times.begin("writing");
    let complete = work.path("complete");
    std::fs::create_dir_all(&complete).map_err(|source| Error::Io { path: complete.clone(), source })?;
    let complete = complete.join(options.out.file_name().unwrap_or_default());
    let limits = (options.max_shard_size, options.force);
    let complete = write(options.target.container(), &checkpoint, &tokenizer, &made, &scheme, &complete, limits)?;
    let files = publish_beside(&complete, &options.out, options.force)?;
    work.remove()?;
    times.end();
    let path = files.into_iter().next().unwrap_or_else(|| options.out.clone());
    let size_bytes = weight_bytes(&path)?;
    let parameters = checkpoint.facts().parameters as f64;
    Ok(Quantized {
        path,
        size_bytes,
        original_bytes: weight_bytes(&options.model)?,
        bits_per_weight: size_bytes as f64 * 8.0 / parameters,
        wanted_bits_per_weight: (size_bytes as f64 * 8.0 - fallback::bits_above(&checkpoint, &scheme)) / parameters,
        tensor_types: tensor_types(&checkpoint, &scheme, options.target.is_gguf()),
        fallbacks,
        stages: times.stages,
        tuning,
        warnings,
    })
}

/// Returns the scheme that the options ask for.
pub(crate) fn scheme_of(options: &QuantizeOptions, checkpoint: &Checkpoint) -> Result<Scheme, Error> {
    let default = || if options.calibration.is_some() { Recipe::best() } else { Recipe::rtn() };
    let recipe = options.recipe.clone().unwrap_or_else(default);
    recipe.check()?;
    if recipe.is_pipeline() {
        let problem = "the recipe has steps that work on whole models, or budgets: only `honelm optimize` runs it";
        return Err(Error::Usage(problem.to_owned()));
    }
    if options.imatrix.is_some() && recipe.steps.iter().any(|step| step.kind != "rtn") {
        let problem = "an importance matrix is for rounding to nearest: use it without a calibration text, or with the recipe rtn";
        return Err(Error::Usage(problem.to_owned()));
    }
    let weighted = options.imatrix.is_some();
    let rules = &options.types;
    let scheme = match options.target {
        QuantizeTarget::Encoding(e) => rules.scheme(TypeName::Encoding(e), checkpoint.tree(), recipe, weighted)?,
        QuantizeTarget::Mix(mix) => rules.scheme(TypeName::Mix(mix), checkpoint.tree(), recipe, weighted)?,
        QuantizeTarget::Groups { .. } if !rules.is_empty() => {
            let problem = "--pure and --tensor-type are for GGUF: found a container of integer groups";
            return Err(Error::Usage(problem.to_owned()));
        }
        QuantizeTarget::Groups { container, bits, group_size } => {
            let usage = |error: honelm_model::ModelError| Error::Usage(error.to_string());
            let groups = container.check_form(Some(bits), Some(group_size)).map_err(usage)?;
            Scheme::gptq(bits, group_size, groups.symmetric, recipe).with_numbers(numbers(groups, checkpoint)?)
        }
    };
    let importance = options.imatrix.as_ref().map(|path| imatrix::importance(path, checkpoint.tree())).transpose()?;
    let scheme = scheme.with_importance(importance);
    check_model(options.target.container(), checkpoint, &scheme)?;
    Ok(scheme)
}

/// Checks that the output may be written.
fn check_output(options: &QuantizeOptions, gate: &OutputGate) -> Result<(), Error> {
    Ok(match options.target.is_gguf() {
        true => gate.gguf(&options.out, options.max_shard_size.is_some()),
        false => gate.folder(&options.out),
    }?)
}

/// Moves complete files into the folder of `out`; gives their paths there. Where one cannot be moved, those before it
/// go.
pub(crate) fn publish_beside(complete: &[PathBuf], out: &Path, replace: bool) -> Result<Vec<PathBuf>, Error> {
    let mut published: Vec<PathBuf> = Vec::new();
    for from in complete {
        let to = out.with_file_name(from.file_name().unwrap_or_default());
        if let Err(error) = publish(from, &to, replace) {
            for path in &published {
                // The first error says more than any that follows from it.
                let _ = remove_output(path);
            }
            return Err(error.into());
        }
        published.push(to);
    }
    Ok(published)
}

/// `model.gguf` -> `.model.gguf.work`, in the same folder.
pub(crate) fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "model".to_owned());
    out.with_file_name(format!(".{name}.work"))
}

/// Compresses into `journal`, reports the progress under the name `stage`, and counts the time of each kind of work.
pub(crate) fn make<'a>(
    checkpoint: &'a Checkpoint,
    scheme: &Scheme,
    calibration: Option<&Calibration>,
    journal: &Journal,
    (stage, times): (&str, &mut Times),
    run: &RunOptions,
    events: Events<'_>,
) -> Result<honelm_compress::Compressed<'a>, Error> {
    let exact = RunOptions { compute: Compute::F32, ..run.clone() };
    let mut backend = exact.cpu();
    let mut steps = Steps::new(checkpoint);
    let total = steps.total();
    times.begin("embedding the text");
    let mut begun = String::new();
    let mut report = |p: &honelm_compress::Progress| match &p.warning {
        Some(warning) => events(&Event::Warning(warning)),
        None => {
            times.begin(&p.work);
            if p.work == TUNE {
                let name = stage.replace("quantising", "tuning");
                return events(&Event::Stage { name: &name, detail: &p.stage, done: p.done, total: p.total });
            }
            // A stage is told once, whatever kinds of work it takes.
            if p.stage == begun {
                return true;
            }
            begun.clone_from(&p.stage);
            events(&Event::Stage { name: stage, detail: &p.stage, done: steps.begin(p.done), total })
        }
    };
    let threads = run.worker_threads();
    let made = compress(checkpoint, scheme, calibration, journal, &mut backend, threads, &mut report);
    times.end();
    Ok(made?)
}

/// Checks that a written model is the one that was to be made, and that the original has not changed. Nothing gets its
/// final name before.
fn accept(written: &Checkpoint, original: &Checkpoint, scheme: &Scheme) -> Result<(), Error> {
    check_written(written, original, scheme)?;
    Ok(original.check_files()?)
}

/// Returns the numbers that a container's integer groups have for a model.
pub(crate) fn numbers(groups: &Groups, checkpoint: &Checkpoint) -> Result<GroupNumbers, Error> {
    let scale_type = groups.scale_type(checkpoint.tree(), checkpoint)?;
    Ok(GroupNumbers { scale_type, has_bias: groups.has_bias })
}

/// Returns the form of a scheme's integer groups, or `None` if it has none.
fn form_of(scheme: &Scheme) -> Option<GroupForm> {
    match scheme.linear {
        honelm_compress::Target::Groups { bits, group_size, symmetric, .. } => {
            Some(GroupForm { bits, group_size, symmetric })
        }
        _ => None,
    }
}

/// Checks, before any work, that the container can hold every module of the model.
pub(crate) fn check_model(container: &Container, checkpoint: &Checkpoint, scheme: &Scheme) -> Result<(), Error> {
    form_of(scheme).map_or(Ok(()), |form| Ok(container.check_model(checkpoint.tree(), form)?))
}

/// Writes a compressed model and returns its files or its folder. Integer groups go into a Hugging Face folder, all other
/// encodings into a GGUF file, or into parts of at most `max_shard_size` bytes. With `lossy`, the file may lack what GGUF
/// cannot express of the tokenizer.
pub(crate) fn write(
    container: &Container,
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    params: &dyn Parameters,
    scheme: &Scheme,
    out: &Path,
    (max_shard_size, lossy): (Option<u64>, bool),
) -> Result<Vec<PathBuf>, Error> {
    match form_of(scheme) {
        Some(form) => {
            let format = container.format(checkpoint.tree(), params, form)?;
            let folder =
                write_folder(checkpoint, (checkpoint, tokenizer), params, Some(&*format), out, max_shard_size)?;
            accept(&Checkpoint::open(folder.path())?, checkpoint, scheme)?;
            folder.commit()?;
            Ok(vec![out.to_owned()])
        }
        None => {
            let (vocab, _) = gguf_vocab(checkpoint, tokenizer, lossy)?;
            write_gguf(checkpoint, &vocab, params, scheme, out, max_shard_size)
        }
    }
}

/// Converts a tokenizer to GGUF metadata. If the result gives other tokens for some texts, returns a warning with
/// `lossy` and an error otherwise.
pub(crate) fn gguf_vocab(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    lossy: bool,
) -> Result<(GgufVocab, Option<String>), Error> {
    match tokenizer.to_lossy_gguf_vocab(checkpoint.facts().vocabulary)? {
        (_, Some(loss)) if !lossy => Err(loss.into()),
        (vocab, loss) => Ok((vocab, loss.map(|loss| loss.to_string()))),
    }
}

fn write_gguf(
    checkpoint: &Checkpoint,
    vocab: &GgufVocab,
    params: &dyn Parameters,
    scheme: &Scheme,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<Vec<PathBuf>, Error> {
    let metadata = gguf_metadata(checkpoint, vocab, scheme.file_type);
    let limit = max_shard_size.unwrap_or(u64::MAX);
    export::gguf_parts(out, limit, checkpoint.blueprint(), params, metadata, &|_| None, |written| {
        accept(written, checkpoint, scheme)
    })
}

/// Returns the metadata of a GGUF file that the model's configuration does not give.
pub(crate) fn gguf_metadata(
    checkpoint: &Checkpoint,
    vocab: &GgufVocab,
    file_type: Option<u32>,
) -> Vec<(String, gguf::Value)> {
    let mut metadata: Vec<(String, gguf::Value)> = vocab.to_metadata();
    metadata.extend(export::sampling_metadata(checkpoint.generation_config()));
    metadata.extend(export::embedding_metadata(checkpoint));
    metadata.extend(file_type.map(|number| (export::FILE_TYPE.to_owned(), number.into())));
    metadata
}

/// Writes the complete folder under a temporary name, with the tokenizer of `origin`.
pub(crate) fn write_folder(
    checkpoint: &Checkpoint,
    (origin, tokenizer): (&Checkpoint, &Tokenizer),
    params: &dyn Parameters,
    format: Option<&dyn GroupFormat>,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<AtomicDir, Error> {
    let folder = AtomicDir::create(out)?;
    let copy = tokenizer_files(origin)?;
    let options = export::HuggingFace { quantization: format, copy: &copy, max_shard_size };
    export::huggingface(folder.path(), checkpoint, params, &options)?;
    let mut files = Vec::new();
    if copy.is_empty() {
        files.push(("tokenizer.json", tokenizer.to_tokenizer_json()?));
        files.push(("tokenizer_config.json", tokenizer.to_tokenizer_config_json()?));
    }
    if copy.is_empty() || checkpoint.generation_config().is_none() && origin.generation_config().is_some() {
        files.push(("generation_config.json", generation_config(origin, tokenizer)));
    }
    for (name, contents) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).map_err(|source| Error::Io { path, source })?;
    }
    Ok(folder)
}

/// Returns a `generation_config.json` with all end tokens. The other files of a folder can name two only.
fn generation_config(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> String {
    let mut settings = checkpoint.generation_config().and_then(Value::as_object).cloned().unwrap_or_default();
    settings.insert("eos_token_id".to_owned(), tokenizer.eos_ids().into());
    format!("{:#}\n", Value::Object(settings))
}

/// Returns the files of the tokenizer in a Hugging Face folder.
fn tokenizer_files(checkpoint: &Checkpoint) -> Result<Vec<PathBuf>, Error> {
    match checkpoint.origin() {
        Origin::HuggingFace { dir } => Ok(TokenizerFiles::paths(dir)?),
        _ => Ok(Vec::new()),
    }
}
