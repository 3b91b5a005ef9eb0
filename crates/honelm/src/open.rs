//! Opens models and tokenizers, and computes their digests and sizes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use honelm_formats::TensorSource;
use honelm_formats::gguf::Gguf;
use honelm_formats::{open_file, parse_shard_name, read_json, shard_name};
use honelm_model::{Checkpoint, OpenOptions, Origin};
use honelm_store::{Digest, digest_bytes, digest_file};
use honelm_text::{Tokenizer, TokenizerFiles};
use serde_json::Value;

use crate::{Error, Event, Events, RunOptions};

/// Opens the model at `path`, and reports what its files leave open or contradict as warnings.
pub fn open(path: &Path, run: &RunOptions, events: Events<'_>) -> Result<Checkpoint, Error> {
    let checkpoint = open_quietly(path, run)?;
    let context = run.context.unwrap_or_else(|| checkpoint.facts().context.min(honelm_model::DEFAULT_CONTEXT));
    let rope = dynamic_rope(checkpoint.config_json(), context);
    for warning in checkpoint.warnings().iter().chain(&rope) {
        events(&Event::Warning(warning));
    }
    Ok(checkpoint)
}

/// Returns a hint if dynamic rope scaling changes the frequencies, which happens in a context beyond the trained one.
fn dynamic_rope(config: &Value, context: usize) -> Option<String> {
    let config = config.get("text_config").unwrap_or(config);
    let settings = ["rope_parameters", "rope_scaling"].iter().find_map(|name| config.get(name)?.as_object())?;
    let kind = settings.get("rope_type").or_else(|| settings.get("type"))?.as_str()?;
    let trained = settings.get("original_max_position_embeddings").or_else(|| config.get("max_position_embeddings"));
    let trained = usize::try_from(trained?.as_u64()?).ok()?;
    (kind == "dynamic" && context > trained).then(|| {
        format!(
            "the context of {context} tokens is longer than the {trained} that the model was trained with: dynamic rope \
             scaling changes the answers to short texts too; use --context {trained} if that is enough"
        )
    })
}

/// Opens the model at `path` without reporting warnings.
pub fn open_quietly(path: &Path, run: &RunOptions) -> Result<Checkpoint, Error> {
    Ok(Checkpoint::open_with(path, &OpenOptions { allow_unknown: run.allow_unknown.clone() })?)
}

/// Reads the tokenizer of a checkpoint.
pub fn tokenizer_of(checkpoint: &Checkpoint) -> Result<Tokenizer, Error> {
    match (checkpoint.origin(), checkpoint.gguf()) {
        (Origin::HuggingFace { dir }, _) => Ok(Tokenizer::from_dir(dir)?),
        (_, Some(gguf)) => Ok(Tokenizer::from_gguf(gguf)?),
        _ => Err(Error::Usage(format!("{}: has no tokenizer", checkpoint.facts().name))),
    }
}

/// Opens the tokenizer of a model folder or a GGUF file, or a tokenizer's own file (`tokenizer.json`, `*.model`,
/// `*.tiktoken`, `vocab.json`). Reads no weights; the folder or file need not hold any.
///
/// # Errors
/// A file that cannot be read, and a tokenizer that is invalid or not supported.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer, Error> {
    let path = folder_of(path).unwrap_or(path);
    let is_gguf = || -> std::io::Result<bool> {
        let mut magic = [0; 4];
        open_file(path).map_err(std::io::Error::other)?.read_exact(&mut magic)?;
        Ok(magic == *b"GGUF")
    };
    if path.is_file() && (path.extension().is_some_and(|e| e == "gguf") || is_gguf().unwrap_or(false)) {
        return tokenizer_of_gguf(path);
    }
    if path.exists() && !path.is_dir() && !path.is_file() {
        // Returns an error that says what the path is: a device, for example.
        open_file(path)?;
    }
    Ok(Tokenizer::from_dir(path)?)
}

/// Returns the model folder that a path to one of its files stands for (`config.json`, the weights or their index).
pub(crate) fn folder_of(path: &Path) -> Option<&Path> {
    let name = path.file_name()?.to_str()?;
    let is_member = ["config.json", "model.safetensors", "model.safetensors.index.json"].contains(&name);
    let dir = path.parent()?;
    (is_member && !path.is_dir()).then(|| if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
}

/// Reads the tokenizer of a GGUF file.
fn tokenizer_of_gguf(path: &Path) -> Result<Tokenizer, Error> {
    let gguf = Gguf::open(path)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    gguf.watch().check()?;
    Ok(tokenizer)
}

/// Returns a digest of the files that a model consists of, as they were when it was opened.
pub fn digest_of(checkpoint: &Checkpoint) -> Result<String, Error> {
    let mut digest = Digest::default();
    for path in checkpoint.files() {
        digest = digest.with(digest_file(path)?);
    }
    // The files were read by their paths, so they must still be the ones that were opened.
    checkpoint.check_files()?;
    Ok(digest.hex())
}

/// Returns a digest of a model's weights as 64 hexadecimal digits: the SHA-256 of its file, or of the list of its files'
/// digests. The files are read completely.
///
/// # Errors
/// No model at `path`, I/O errors, files that change meanwhile.
pub fn model_digest(path: &Path, run: &RunOptions) -> Result<String, Error> {
    let checkpoint = open_quietly(path, run)?;
    match checkpoint.files() {
        [file] => {
            let digest = digest_file(file)?;
            checkpoint.check_files()?;
            Ok(digest)
        }
        _ => digest_of(&checkpoint),
    }
}

/// Returns the SHA-256 of a text as 64 hexadecimal digits.
#[must_use]
pub fn text_digest(text: &str) -> String {
    digest_bytes(text)
}

/// As [`digest_of`]. For a folder, the digest covers the tokenizer, the templates and the sampling settings too.
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

/// Returns a digest of the tokenizer.
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

/// Returns the size in bytes of the files that hold a model's weights. Every size that is shown for a model is this one.
///
/// # Errors
/// The errors of [`weight_files`].
pub fn weight_bytes(path: &Path) -> Result<u64, Error> {
    Ok(weight_files(path)?.into_iter().map(|(_, bytes)| bytes).sum())
}

/// Returns the files that hold a model's weights, with their sizes in bytes: the GGUF file and its other parts, or the
/// safetensors files that [`Checkpoint::open`] reads of a folder.
///
/// # Errors
/// A file that is missing or cannot be read.
pub fn weight_files(path: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    // The files of the Hub's cache are links, which `metadata` follows.
    let sized = |file: PathBuf| match std::fs::metadata(&file) {
        Ok(metadata) => Ok((file, metadata.len())),
        Err(source) => Err(Error::Io { path: file, source }),
    };
    weight_paths(path)?.into_iter().map(sized).collect()
}

fn weight_paths(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = folder_of(path).or_else(|| path.is_dir().then_some(path));
    if let Some(folder) = folder {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        return match read_json(&index)? {
            Some(index) if !single.exists() => {
                let shards = index["weight_map"].as_object().into_iter().flat_map(|map| map.values());
                let names: BTreeSet<&str> = shards.filter_map(Value::as_str).collect();
                Ok(names.into_iter().map(|name| folder.join(name)).collect())
            }
            _ => Ok(vec![single]),
        };
    }
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let part = |(stem, _, count): (&str, usize, usize)| {
        let parts = (0..count).map(|no| path.with_file_name(format!("{}.gguf", shard_name(stem, no, count))));
        parts.collect()
    };
    Ok(name.and_then(parse_shard_name).map_or_else(|| vec![path.to_owned()], part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn dynamic_rope_scaling_is_told_of_beyond_the_trained_context() {
        let rope = serde_json::json!({"rope_type": "dynamic", "factor": 4.0});
        let config = serde_json::json!({"max_position_embeddings": 2048, "rope_scaling": rope});
        let told = dynamic_rope(&config, 4096).unwrap();
        assert!(told.contains("4096") && told.contains("--context 2048"), "{told}");
        assert_eq!(dynamic_rope(&config, 2048), None);
        let nested = serde_json::json!({"text_config": config});
        assert!(dynamic_rope(&nested, 2049).is_some());
        let linear = serde_json::json!({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear"}});
        assert_eq!(dynamic_rope(&linear, 4096), None);
    }

    #[test]
    fn all_parts_of_a_model_count_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            path
        };
        let whole = write("other.gguf", 7);
        let part = write("model-00001-of-00002.gguf", 10);
        assert!(weight_bytes(&part).unwrap_err().to_string().contains("model-00002-of-00002.gguf"));
        write("model-00002-of-00002.gguf", 20);
        assert_eq!((weight_bytes(&whole).unwrap(), weight_bytes(&part).unwrap()), (7, 30));
        write("a.safetensors", 100);
        write("b.safetensors", 200);
        write("consolidated.safetensors", 400);
        let index = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "a.safetensors"}}"#;
        let index_file = write("model.safetensors.index.json", 0);
        std::fs::write(&index_file, index).unwrap();
        assert_eq!((weight_bytes(dir.path()).unwrap(), weight_bytes(&index_file).unwrap()), (300, 300));
        write("model.safetensors", 50);
        assert_eq!(weight_bytes(dir.path()).unwrap(), 50);
    }
}
