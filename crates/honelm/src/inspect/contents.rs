//! The contents of files that are no model that can run here: an unknown architecture, an adapter, a vocabulary, a
//! folder without weights.

use std::path::{Path, PathBuf};

use honelm_formats::gguf::{Gguf, Value as GgufValue};
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{TensorInfo, TensorSource, read_json};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{EncodingSummary, TokenizerFacts, counted};
use crate::Error;
use crate::open::{folder_of, open_tokenizer};

/// The contents of a folder or a GGUF file, whether or not they are a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contents {
    /// The folder or file.
    pub path: PathBuf,
    /// `gguf` or `safetensors`; `None` without weights.
    pub container: Option<String>,
    /// The architecture that the files name, known or not.
    pub architecture: Option<String>,
    /// `config.json`, or `adapter_config.json`, or the GGUF metadata, arrays being shown by their type and length.
    pub config: Option<Value>,
    /// The number of values in all tensors.
    pub parameters: u64,
    /// The size of the files that hold the tensors, in bytes.
    pub size_bytes: u64,
    /// The encodings, the one with the most bytes first.
    pub encodings: Vec<EncodingSummary>,
    /// Every tensor.
    pub tensors: Vec<StoredTensor>,
    /// The tokenizer; `None` if it is missing or cannot be read.
    pub tokenizer: Option<TokenizerFacts>,
    /// The reason why there is no tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_problem: Option<String>,
    /// The source of the chat template.
    pub chat_template: Option<String>,
    /// Parts of the contents that could not be read, with reasons.
    pub problems: Vec<String>,
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredTensor {
    /// The name in the file.
    pub name: String,
    /// The encoding in the file.
    pub encoding: String,
    /// The dimensions, the outermost first.
    pub shape: Vec<usize>,
    /// The size in the file, in bytes.
    pub bytes: u64,
}

impl From<&TensorInfo> for StoredTensor {
    fn from(info: &TensorInfo) -> Self {
        Self {
            name: info.name.clone(),
            encoding: info.element.to_string(),
            shape: info.shape.clone(),
            bytes: info.size,
        }
    }
}

/// Reads what can be read of a folder or a file, for those that [`super::inspect`] rejects. Returns `None` if there is
/// neither a tensor nor a configuration nor a tokenizer.
#[must_use]
pub fn contents(path: &Path) -> Option<Contents> {
    let folder = folder_of(path).or_else(|| path.is_dir().then_some(path));
    let mut found = match folder {
        Some(folder) => of_folder(folder),
        None => of_gguf(path)?,
    };
    path.clone_into(&mut found.path);
    match open_tokenizer(path) {
        Ok(tokenizer) => {
            found.chat_template = tokenizer.chat_template().map(str::to_owned);
            found.tokenizer = Some(TokenizerFacts::from(&tokenizer));
        }
        Err(problem) => found.tokenizer_problem = Some(problem.to_string()),
    }
    let sized = found.tensors.iter().map(|t| (t.encoding.as_str(), t.shape.as_slice(), t.bytes));
    found.encodings = counted(sized);
    found.parameters = found.encodings.iter().map(|encoding| encoding.values).sum();
    let is_empty = found.tensors.is_empty() && found.config.is_none() && found.tokenizer.is_none();
    (!is_empty).then_some(found)
}

fn empty() -> Contents {
    Contents {
        path: PathBuf::new(),
        container: None,
        architecture: None,
        config: None,
        parameters: 0,
        size_bytes: 0,
        encodings: Vec::new(),
        tensors: Vec::new(),
        tokenizer: None,
        tokenizer_problem: None,
        chat_template: None,
        problems: Vec::new(),
    }
}

fn of_folder(folder: &Path) -> Contents {
    let mut found = empty();
    for name in ["config.json", "adapter_config.json"] {
        match read_json(folder.join(name)) {
            Ok(None) => {}
            Ok(Some(config)) => {
                found.config.get_or_insert(config);
            }
            Err(problem) => found.problems.push(problem.to_string()),
        }
    }
    let named = |key: &str| found.config.as_ref().and_then(|config| config[key].as_str());
    found.architecture = named("model_type").or_else(|| named("peft_type")).map(str::to_owned);
    let adapter = folder.join("adapter_model.safetensors");
    let weights = if adapter.is_file() { Safetensors::open(&adapter) } else { Safetensors::open(folder) };
    match weights {
        Ok(weights) => {
            found.container = Some("safetensors".to_owned());
            found.tensors = weights.tensors().map(StoredTensor::from).collect();
            found.size_bytes = size_of(weights.files());
        }
        Err(problem) => found.problems.push(problem.to_string()),
    }
    found
}

fn of_gguf(path: &Path) -> Option<Contents> {
    let gguf = Gguf::open(path).ok()?;
    let mut found = empty();
    found.container = Some("gguf".to_owned());
    found.architecture = gguf.get_str("general.architecture").ok().flatten().map(str::to_owned);
    let metadata: Map<String, Value> =
        gguf.metadata.iter().map(|(key, value)| (key.to_owned(), as_json(value))).collect();
    found.config = Some(Value::Object(metadata));
    found.tensors = gguf.names().into_iter().filter_map(|name| gguf.info(name)).map(StoredTensor::from).collect();
    found.size_bytes = size_of(gguf.files());
    Some(found)
}

fn size_of<'a>(files: impl Iterator<Item = &'a str>) -> u64 {
    files.filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Returns a metadata value as JSON; of an array, its description.
fn as_json(value: &GgufValue) -> Value {
    match value {
        GgufValue::U8(v) => json!(v),
        GgufValue::I8(v) => json!(v),
        GgufValue::U16(v) => json!(v),
        GgufValue::I16(v) => json!(v),
        GgufValue::U32(v) => json!(v),
        GgufValue::I32(v) => json!(v),
        GgufValue::F32(v) => json!(v),
        GgufValue::Bool(v) => json!(v),
        GgufValue::String(v) => json!(v),
        GgufValue::U64(v) => json!(v),
        GgufValue::I64(v) => json!(v),
        GgufValue::F64(v) => json!(v),
        GgufValue::Array(_) => json!(value.describe()),
    }
}

impl Error {
    /// Returns `true` if the files are the problem, not an option: [`contents`] may show what they hold.
    #[must_use]
    pub fn is_of_model(&self) -> bool {
        matches!(self, Self::Model(_) | Self::Format(_) | Self::Plan(_)) && self.code() != "context-too-long"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;
    use crate::RunOptions;

    #[test]
    fn files_that_are_no_model_are_shown_as_far_as_they_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        honelm_testing::write_small_model(dir.path(), &[]).unwrap();
        let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
        let rejected = |dir: &Path| {
            let error = crate::inspect(dir, &RunOptions::default()).unwrap_err();
            assert!(error.is_of_model(), "{error}");
            contents(dir).unwrap()
        };
        fs::write(dir.path().join("config.json"), config.replace("llama", "mystery")).unwrap();
        let unknown = rejected(dir.path());
        assert_eq!(
            (unknown.architecture.as_deref(), unknown.container.as_deref()),
            (Some("mystery"), Some("safetensors"))
        );
        assert!(unknown.tokenizer.is_some() && unknown.parameters > 0 && unknown.problems.is_empty(), "{unknown:?}");
        assert_eq!(unknown.encodings.iter().map(|e| e.tensors).sum::<usize>(), unknown.tensors.len());
        // An adapter, without a tokenizer.
        fs::write(dir.path().join("config.json"), config).unwrap();
        fs::rename(dir.path().join("model.safetensors"), dir.path().join("adapter_model.safetensors")).unwrap();
        fs::remove_file(dir.path().join("vocab.json")).unwrap();
        fs::rename(dir.path().join("config.json"), dir.path().join("adapter_config.json")).unwrap();
        let adapter = rejected(dir.path());
        assert_eq!(adapter.tensors.len(), unknown.tensors.len());
        assert!(adapter.tokenizer_problem.is_some() && adapter.config.is_some());
        fs::remove_file(dir.path().join("adapter_model.safetensors")).unwrap();
        let bare = rejected(dir.path());
        assert!(bare.tensors.is_empty() && bare.problems.len() == 1, "{bare:?}");
        fs::remove_file(dir.path().join("adapter_config.json")).unwrap();
        assert_eq!(contents(dir.path()), None);
        assert_eq!(contents(&dir.path().join("none")), None);
    }

    #[test]
    fn a_gguf_file_with_a_vocabulary_alone_shows_it() {
        let Some(data) = std::env::var_os("HONELM_TEST_DATA") else {
            eprintln!("SKIPPED a_gguf_file_with_a_vocabulary_alone_shows_it: needs HONELM_TEST_DATA");
            return;
        };
        let path = Path::new(&data).join("data/vocab");
        let file =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "gguf"));
        let file = file.expect("a vocabulary");
        let found = contents(&file).unwrap();
        assert!(found.tensors.is_empty() && found.architecture.is_some(), "{}", file.display());
        assert!(found.config.unwrap()["tokenizer.ggml.tokens"].as_str().unwrap().starts_with("an array of "));
    }
}
