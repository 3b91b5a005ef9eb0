//! Opening a model with its tokenizer, and putting it on a device.

use std::io::Read;
use std::path::Path;

use honelm_formats::TensorSource;
use honelm_formats::gguf::Gguf;
use honelm_formats::open_file;
use honelm_model::{Checkpoint, Device, LoadOptions, Loader, Model, OpenOptions, Origin, Parameters};
use honelm_store::{Digest, digest_file};
use honelm_text::{Tokenizer, TokenizerFiles};

use crate::{DeviceChoice, Error, Event, Events, RunOptions};

/// Opens the model at `path`, and tells `events` what its files leave open or contradict.
pub fn open(path: &Path, run: &RunOptions, events: Events<'_>) -> Result<Checkpoint, Error> {
    let checkpoint = open_quietly(path, run)?;
    for warning in checkpoint.warnings() {
        events(&Event::Warning(warning));
    }
    Ok(checkpoint)
}

/// As [`open`], of a model whose warnings were told before, or are shown elsewhere.
pub fn open_quietly(path: &Path, run: &RunOptions) -> Result<Checkpoint, Error> {
    Ok(Checkpoint::open_with(path, &OpenOptions { allow_unknown: run.allow_unknown.clone() })?)
}

/// The tokenizer that came with a checkpoint.
pub fn tokenizer_of(checkpoint: &Checkpoint) -> Result<Tokenizer, Error> {
    match (checkpoint.origin(), checkpoint.gguf()) {
        (Origin::HuggingFace { dir }, _) => Ok(Tokenizer::from_dir(dir)?),
        (_, Some(gguf)) => Ok(Tokenizer::from_gguf(gguf)?),
        _ => Err(Error::Usage(format!("{} has no tokenizer", checkpoint.facts().name))),
    }
}

/// Opens a tokenizer alone: that of a model folder or GGUF file, which need not hold anything else, or a tokenizer's own
/// file (`tokenizer.json`, `*.model`, `*.tiktoken`, `vocab.json`).
///
/// # Errors
/// What is wrong with a file.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer, Error> {
    let names_a_folder = ["config.json", "model.safetensors", "model.safetensors.index.json"];
    let path = match (path.file_name().and_then(|name| name.to_str()), path.parent()) {
        (Some(name), Some(dir)) if names_a_folder.contains(&name) && path.is_file() => dir,
        _ => path,
    };
    let is_gguf = || -> std::io::Result<bool> {
        let mut magic = [0; 4];
        open_file(path).map_err(std::io::Error::other)?.read_exact(&mut magic)?;
        Ok(magic == *b"GGUF")
    };
    if path.is_file() && (path.extension().is_some_and(|e| e == "gguf") || is_gguf().unwrap_or(false)) {
        return tokenizer_of_gguf(path);
    }
    Ok(Tokenizer::from_dir(path)?)
}

/// The tokenizer of a GGUF file.
pub(crate) fn tokenizer_of_gguf(path: &Path) -> Result<Tokenizer, Error> {
    let gguf = Gguf::open(path)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    gguf.watch().check()?;
    Ok(tokenizer)
}

/// Loads a checkpoint onto the device that `run` asks for. The processor stands in for a GPU that nobody asked for by name.
pub fn load(checkpoint: &Checkpoint, run: &RunOptions, events: Events<'_>) -> Result<Model, Error> {
    let chosen = run.chosen(checkpoint, &mut *events)?;
    match load_chosen(chosen, checkpoint, run, &mut *events) {
        Err(problem) if may_fall_back(run, chosen, &problem) => {
            events(&Event::Warning(&format!("on the processor instead of {chosen}: {problem}")));
            load_chosen(DeviceChoice::Cpu, checkpoint, run, events)
        }
        done => done,
    }
}

fn load_chosen(
    device: DeviceChoice,
    checkpoint: &Checkpoint,
    run: &RunOptions,
    events: Events<'_>,
) -> Result<Model, Error> {
    let run = RunOptions { device, ..run.clone() };
    load_on(run.device_for(checkpoint, &mut *events)?, checkpoint, &run, events)
}

/// Whether it is the GPU that refuses, and the GPU was our choice.
fn may_fall_back(run: &RunOptions, chosen: DeviceChoice, problem: &Error) -> bool {
    run.device == DeviceChoice::Auto && matches!(chosen, DeviceChoice::Gpu(_)) && problem.is_of_device()
}

/// Loads a checkpoint onto a device.
pub fn load_on(device: Device, checkpoint: &Checkpoint, run: &RunOptions, events: Events<'_>) -> Result<Model, Error> {
    let options = LoadOptions { context: run.context, cache_type: run.cache_type, ..LoadOptions::default() };
    options.context_of(checkpoint.facts())?;
    let mut loader = Loader::new(checkpoint.blueprint());
    loop {
        let (done, total) = loader.progress();
        if !events(&Event::Stage { name: "loading", detail: "", done, total }) {
            return Err(Error::Interrupted);
        }
        let advanced = loader.advance(checkpoint, &mut *device.borrow_mut())?;
        // Devices have copies in layouts of their own.
        checkpoint.forget();
        if !advanced {
            return Ok(loader.finish(device, &options)?);
        }
    }
}

/// A digest of the files that a model consists of, as they were when it was opened.
pub fn digest_of(checkpoint: &Checkpoint) -> Result<String, Error> {
    let mut digest = Digest::default();
    for path in checkpoint.files() {
        digest = digest.with(digest_file(path)?);
    }
    // What was hashed by its path is what was opened.
    checkpoint.check_files()?;
    Ok(digest.hex())
}

/// [`digest_of`], and of a folder the files beside the weights that bear on what a user gets: tokenizer, templates,
/// sampling settings.
pub fn digest_of_all(checkpoint: &Checkpoint) -> Result<String, Error> {
    let weights = digest_of(checkpoint)?;
    let Origin::HuggingFace { dir } = checkpoint.origin() else { return Ok(weights) };
    let mut files = TokenizerFiles::paths(dir)?;
    files.extend(Some(dir.join("generation_config.json")).filter(|path| path.is_file()));
    let mut digest = Digest::default().with(weights);
    for path in files {
        digest = digest.with(digest_file(&path)?);
    }
    Ok(digest.hex())
}

/// A digest of what decides how text becomes tokens.
pub fn tokenizer_digest(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<String, Error> {
    if let Origin::HuggingFace { dir } = checkpoint.origin() {
        let json = dir.join("tokenizer.json");
        if json.is_file() {
            return Ok(digest_file(&json)?);
        }
        let mut digest = Digest::default();
        for path in TokenizerFiles::paths(dir)? {
            digest = digest.with(digest_file(&path)?);
        }
        return Ok(digest.hex());
    }
    let json = tokenizer.to_tokenizer_json()?;
    Ok(Digest::default().with(json).hex())
}

/// Bytes of the files under `path`: a file, or a folder's safetensors.
pub fn weight_bytes(path: &Path) -> Result<u64, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    if path.is_file() {
        return Ok(std::fs::metadata(path).map_err(io)?.len());
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.path().extension().is_some_and(|e| e == "safetensors") {
            // Through links, as the Hub's cache has them.
            bytes += std::fs::metadata(entry.path()).map_err(io)?.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use honelm_gpu::GpuError;

    use super::*;

    #[test]
    fn the_processor_stands_in_for_a_gpu_that_nobody_named() {
        let checkpoint = Checkpoint::open(crate::locate(None, None).unwrap()).unwrap();
        let gone = DeviceChoice::Gpu(Some(99));
        let problem = load_chosen(gone, &checkpoint, &RunOptions::default(), &mut |_| true).err().unwrap();
        assert!(matches!(problem, Error::Gpu(GpuError::NoSuchAdapter { .. } | GpuError::NoAdapter)), "{problem}");
        let auto = RunOptions { device: DeviceChoice::Auto, ..RunOptions::default() };
        let named = RunOptions { device: gone, ..auto.clone() };
        assert!(may_fall_back(&auto, gone, &problem));
        assert!(!may_fall_back(&named, gone, &problem), "it was asked for");
        assert!(!may_fall_back(&auto, DeviceChoice::Cpu, &problem));
        assert!(!may_fall_back(&auto, gone, &Error::Interrupted));
        let Err(error) = load(&checkpoint, &named, &mut |_| true) else { panic!("there is no such GPU") };
        assert_eq!(error.code(), problem.code());
    }
}
