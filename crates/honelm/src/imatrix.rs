//! Importance matrices: collected from a text, read for quantisation.

use std::path::{Path, PathBuf};

use honelm_compress::{Importance, input_squares};
use honelm_cpu::Compute;
use honelm_formats::imatrix::{Form, Imatrix};
use honelm_formats::write_atomic;
use honelm_model::Tree;

use crate::documents::calibration_of;
use crate::open::{open, tokenizer_of};
use crate::texts::{CalibrationText, read_named};
use crate::work::gate_of;
use crate::{Error, Event, Events, RunOptions, TextSource};

/// The largest size of an importance matrix in bytes.
const MOST_BYTES: u64 = 1 << 30;

/// The settings of [`imatrix`].
#[derive(Debug, Clone)]
pub struct ImatrixOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// The form of the file.
    pub form: Form,
    /// The calibration texts, at least one.
    pub texts: Vec<TextSource>,
    /// The largest number of samples.
    pub samples: usize,
    /// The number of tokens per sample.
    pub length: usize,
    /// `true` to replace an earlier importance matrix.
    pub force: bool,
    /// The number of threads. The work is done on the CPU.
    pub run: RunOptions,
}

/// The result of [`imatrix`].
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CollectedImatrix {
    /// The file.
    pub path: PathBuf,
    /// The number of weights with an entry.
    pub tensors: usize,
    /// The number of samples.
    pub samples: usize,
    /// The number of tokens in all samples.
    pub tokens: usize,
    /// The warnings of the job.
    pub warnings: Vec<String>,
}

/// Collects the squared inputs of every linear module and of the output layer, and writes them as an importance matrix.
///
/// # Errors
/// An invalid model or text; an output that exists; [`Error::Interrupted`] if `events` returns `false`.
pub fn imatrix(options: &ImatrixOptions, events: Events<'_>) -> Result<CollectedImatrix, Error> {
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let gate = gate_of(&checkpoint, &options.texts, options.force);
    let check = || gate.file(&options.out, "an importance matrix", &|path| read(path).is_ok());
    check()?;
    let mut text = CalibrationText { warnings: checkpoint.warnings().to_vec(), ..CalibrationText::default() };
    let mut datasets = Vec::new();
    for source in &options.texts {
        let part = source.calibration()?;
        for warning in &part.warnings {
            events(&Event::Warning(warning));
        }
        text.documents.extend(part.documents);
        text.warnings.extend(part.warnings);
        datasets.push(part.name);
    }
    text.name = datasets.join(", ");
    let calibration = calibration_of(&tokenizer_of(&checkpoint)?, &text, options.samples, options.length)?;
    let mut backend = RunOptions { compute: Compute::F32, ..options.run.clone() }.cpu();
    let mut report = |p: &honelm_compress::Progress| {
        events(&Event::Stage { name: "observing", detail: &p.stage, done: p.done, total: p.total })
    };
    let entries = input_squares(&checkpoint, &calibration, &mut backend, &mut report)?;
    checkpoint.check_files()?;
    let (samples, tokens) = (calibration.samples.len(), calibration.tokens());
    let (chunk_count, chunk_size) = (small(samples), small(options.length));
    let found = Imatrix { entries, datasets, chunk_count, chunk_size };
    let bytes = found.to_bytes(options.form)?;
    check()?;
    write_atomic(&options.out, |file| {
        std::io::Write::write_all(file, &bytes).map_err(|source| Error::Io { path: options.out.clone(), source })
    })?;
    Ok(CollectedImatrix {
        path: options.out.clone(),
        tensors: found.entries.len(),
        samples,
        tokens,
        warnings: text.warnings,
    })
}

/// Reads the importances of a model's matrices.
pub(crate) fn importance(path: &Path, tree: &Tree) -> Result<Importance, Error> {
    Ok(Importance::new(tree, &read(path)?, &path.display().to_string())?)
}

fn read(path: &Path) -> Result<Imatrix, Error> {
    Ok(Imatrix::parse(read_named(path, MOST_BYTES)?.into(), &path.display().to_string())?)
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
