//! The list of the models that can be opened by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use honelm_formats::gguf::Gguf;
use honelm_formats::quantized::Settings;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{TensorInfo, TensorSource, parse_shard_name, read_json};
use honelm_store::hub::{CachedModel, cache_dir, cached};
use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::locate::model_folders;
use crate::open::weight_files;

/// The models that [`crate::locate`] finds by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The folder of the Hugging Face cache.
    pub cache: PathBuf,
    /// The models: those of the model folders in the order in which these are searched, then those of the cache.
    pub models: Vec<ListedModel>,
}

/// A model of a [`Listing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedModel {
    /// The name to type.
    pub name: String,
    /// The path of the folder or file.
    pub path: PathBuf,
    /// The model folder; `None` for a model of the cache.
    pub folder: Option<PathBuf>,
    /// The repository of a model of the cache, `ORG/REPO`.
    pub repository: Option<String>,
    /// The branch or tag of a model of the cache.
    pub revision: Option<String>,
    /// The commit of a model of the cache.
    pub commit: Option<String>,
    /// The container as [`crate::inspect`] names it: `gguf`, `safetensors` or a quantised format such as `gptq`; `None`
    /// if the model cannot be read.
    pub container: Option<String>,
    /// Hugging Face's `model_type` or GGUF's `general.architecture`.
    pub architecture: Option<String>,
    /// The encoding of most of the bytes; `None` in a quantised format.
    pub encoding: Option<String>,
    /// The size of the weights' files in bytes, as [`crate::inspect`] gives it.
    pub size_bytes: u64,
    /// The weights' files.
    pub files: Vec<ListedFile>,
    /// The reason why the model cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A file of a [`ListedModel`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedFile {
    /// The path below the model's folder.
    pub path: String,
    /// The size in bytes.
    pub bytes: u64,
}

/// Lists the models of the model folders and of the Hugging Face cache. Only headers and configurations are read; a model
/// that cannot be read is listed with its problem.
#[must_use]
pub fn list(model_dir: Option<&Path>) -> Listing {
    let cache = cache_dir();
    let mut models = in_folders(model_dir);
    models.extend(cached(&cache).into_iter().map(of_cache));
    Listing { cache, models }
}

/// Returns the models of the model folders. A name that an earlier folder has too is left out, since it does not find
/// the model.
fn in_folders(model_dir: Option<&Path>) -> Vec<ListedModel> {
    let (mut seen, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut out = Vec::new();
    for folder in model_folders(model_dir) {
        let Ok(folder) = folder.canonicalize() else { continue };
        if !seen.insert(folder.clone()) {
            continue;
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        // A folder is found before a file of the same name.
        let mut found: Vec<(String, bool, PathBuf)> = entries.filter_map(|entry| named(&entry.path())).collect();
        found.sort();
        for (name, _, path) in found {
            if names.insert(name.clone()) {
                let (size_bytes, files) = sizes(&path);
                let model = ListedModel {
                    name,
                    path,
                    folder: Some(folder.clone()),
                    repository: None,
                    revision: None,
                    commit: None,
                    container: None,
                    architecture: None,
                    encoding: None,
                    size_bytes,
                    files,
                    problem: None,
                };
                out.push(described(model));
            }
        }
    }
    out
}

/// Returns the name of an entry of a model folder if it is a model, and `true` if it is a file.
fn named(path: &Path) -> Option<(String, bool, PathBuf)> {
    if path.is_dir() {
        let is_weights = |file: std::fs::DirEntry| file.path().extension().is_some_and(|e| e == "safetensors");
        let mut entries = std::fs::read_dir(path).ok()?.flatten();
        let is_model = path.join("config.json").is_file() || entries.any(is_weights);
        return is_model.then(|| Some((path.file_name()?.to_str()?.to_owned(), false, path.to_owned())))?;
    }
    let stem = path.file_stem()?.to_str()?;
    let is_first = parse_shard_name(stem).is_none_or(|(_, no, _)| no == 0);
    let is_gguf = path.extension().is_some_and(|e| e == "gguf");
    (is_gguf && is_first).then(|| (stem.to_owned(), true, path.to_owned()))
}

fn of_cache(model: CachedModel) -> ListedModel {
    let files: Vec<ListedFile> = model.files.into_iter().map(|(path, bytes)| ListedFile { path, bytes }).collect();
    let listed = ListedModel {
        name: model.name,
        size_bytes: weight_files(&model.path).map_or(0, |files| files.iter().map(|(_, bytes)| bytes).sum()),
        path: model.path,
        folder: None,
        repository: Some(model.repository),
        revision: model.revision,
        commit: Some(model.commit),
        container: None,
        architecture: None,
        encoding: None,
        files,
        problem: model.problem,
    };
    if listed.problem.is_some() { listed } else { described(listed) }
}

fn sizes(path: &Path) -> (u64, Vec<ListedFile>) {
    let files = weight_files(path).unwrap_or_default();
    let name = |file: &Path| file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let files: Vec<ListedFile> =
        files.into_iter().map(|(file, bytes)| ListedFile { path: name(&file), bytes }).collect();
    (files.iter().map(|file| file.bytes).sum(), files)
}

/// Adds container, architecture and encoding from the headers, or the reason why they cannot be read.
fn described(mut model: ListedModel) -> ListedModel {
    let read = if model.path.is_dir() { of_folder(&model.path) } else { of_gguf(&model.path) };
    match read {
        Ok(Kind { container, architecture, encoding }) => {
            let known = honelm_model::architectures();
            if !known.iter().any(|(hf, gguf)| *(if container == "gguf" { gguf } else { hf }) == architecture) {
                model.problem = Some(format!("unknown architecture {architecture:?}"));
            }
            model.encoding = encoding;
            (model.container, model.architecture) = (Some(container.to_owned()), Some(architecture));
        }
        Err(error) => model.problem = Some(error.to_string()),
    }
    model
}

struct Kind {
    container: &'static str,
    architecture: String,
    encoding: Option<String>,
}

fn of_gguf(path: &Path) -> Result<Kind, Error> {
    let gguf = Gguf::open(path)?;
    let architecture: &str = gguf.require("general.architecture")?;
    let infos = gguf.names().into_iter().filter_map(|name| gguf.info(name));
    Ok(Kind { container: "gguf", architecture: architecture.to_owned(), encoding: most(infos) })
}

fn of_folder(dir: &Path) -> Result<Kind, Error> {
    let file = dir.join("config.json");
    let missing = || honelm_model::ModelError::NotAModel { path: dir.display().to_string() };
    let config: Value = read_json(&file)?.ok_or_else(missing)?;
    let (gptq, awq) = ("quantize_config.json", "quant_config.json");
    let own: [(&str, Option<Value>); 2] = [(gptq, read_json(dir.join(gptq))?), (awq, read_json(dir.join(awq))?)];
    let own: Vec<(&str, &Value)> = own.iter().filter_map(|(name, json)| Some((*name, json.as_ref()?))).collect();
    let file = file.display().to_string();
    let format = Settings::find(Some((&file, &config)), &own).map(|settings| settings.format()).transpose()?;
    let tensors = Safetensors::open(dir)?;
    let architecture = config["model_type"].as_str().unwrap_or_default().to_owned();
    Ok(match format {
        Some(format) => Kind { container: format.name(), architecture, encoding: None },
        None => Kind { container: "safetensors", architecture, encoding: most(tensors.tensors()) },
    })
}

/// Returns the encoding of most of the bytes.
fn most<'a>(tensors: impl Iterator<Item = &'a TensorInfo>) -> Option<String> {
    let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
    for tensor in tensors {
        let sum = bytes.entry(tensor.element.to_string()).or_default();
        *sum = sum.saturating_add(tensor.size);
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(encoding, _)| encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_of_a_folder_are_listed_with_their_problems() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("broken.gguf"), "GGUF").expect("written");
        std::fs::write(dir.path().join("notes.txt"), "").expect("written");
        for part in 1..=2 {
            std::fs::write(dir.path().join(format!("split-0000{part}-of-00002.gguf")), "GGUF").expect("written");
        }
        std::fs::create_dir(dir.path().join("empty")).expect("a folder");
        std::fs::create_dir(dir.path().join("lost")).expect("a folder");
        std::fs::write(dir.path().join("lost/config.json"), r#"{"model_type": "llama"}"#).expect("written");
        let found = list(Some(dir.path())).models;
        let own: Vec<&ListedModel> =
            found.iter().filter(|m| m.path.starts_with(dir.path().canonicalize().unwrap_or_default())).collect();
        let shown: Vec<(&str, bool)> = own.iter().map(|m| (m.name.as_str(), m.problem.is_some())).collect();
        assert_eq!(shown, [("broken", true), ("lost", true), ("split-00001-of-00002", true)]);
        assert_eq!((own[2].files.len(), own[2].size_bytes), (2, 8));

        let pocket = found.iter().find(|m| m.name == crate::SHIPPED).expect("the shipped model");
        let inspected = crate::inspect(&pocket.path, &crate::RunOptions::default()).expect("inspected");
        assert_eq!(pocket.size_bytes, inspected.size_bytes);
        assert_eq!(pocket.container.as_deref(), Some(inspected.container.as_str()));
        assert_eq!(pocket.encoding.as_deref(), Some("F16"));
        assert_eq!(pocket.problem, None);
    }
}
