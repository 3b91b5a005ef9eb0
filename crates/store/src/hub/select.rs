//! The selection of the files of a repository that make up a model.

use super::ModelSpec;
use std::collections::{BTreeMap, HashSet};

use super::glob::matches;
use super::listing::{RemoteFile, check_names};
use super::parts::{GgufModel, file_name, gguf_models, is_pickle, missing_part, part, without_ending};
use crate::StoreError;

/// The selected files, and notes for the user about the others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub files: Vec<RemoteFile>,
    pub notes: Vec<String>,
}

/// Selects the files that match a pattern of `include` and the GGUF model that `spec` chooses. Without either, selects the
/// safetensors weights with the files that belong to them, or if there are none, the only GGUF model. Of several GGUF
/// models none is preferred.
pub(crate) fn select(spec: &ModelSpec, listed: &[RemoteFile], include: &[String]) -> Result<Selection, StoreError> {
    let mut out = Selection::default();
    if !include.is_empty() {
        included(spec, listed, include, &mut out)?;
    }
    if let Some(choice) = spec.choice() {
        let models = models_of(listed);
        add_model(spec, listed, choose(spec, &models, choice)?, &mut out)?;
    } else if include.is_empty() {
        default_files(spec, listed, &mut out)?;
    }
    out.files.sort_by(|a, b| a.path.cmp(&b.path));
    out.files.dedup();
    check_names(spec, &out.files)?;
    Ok(out)
}

fn included(
    spec: &ModelSpec,
    listed: &[RemoteFile],
    include: &[String],
    out: &mut Selection,
) -> Result<(), StoreError> {
    for pattern in include {
        let mut found = 0;
        let mut pickles = Vec::new();
        for file in listed.iter().filter(|f| matches(pattern, &f.path)) {
            if is_pickle(&file.path) {
                pickles.push(file.path.clone());
            } else {
                out.files.push(file.clone());
                found += 1;
            }
        }
        match (found, pickles.len()) {
            (0, 0) => {
                let files = listed.iter().map(|f| f.path.clone()).collect();
                return Err(StoreError::NoMatch { repo: spec.id(), patterns: format!("'{pattern}'"), files });
            }
            (0, _) => return Err(StoreError::Pickle { repo: spec.id(), files: pickles }),
            (_, 0) => {}
            _ => out.notes.push(format!("not fetched because pickles can run code: {}", pickles.join(", "))),
        }
    }
    Ok(())
}

fn models_of(listed: &[RemoteFile]) -> Vec<GgufModel> {
    gguf_models(listed.iter().map(|f| (f.path.as_str(), f.size.unwrap_or(0))))
}

/// Returns the model among `models` that a user means by `wanted`.
pub(crate) fn choose<'a>(spec: &ModelSpec, models: &'a [GgufModel], wanted: &str) -> Result<&'a GgufModel, StoreError> {
    let meant: Vec<&GgufModel> = models.iter().filter(|m| m.is_meant(wanted)).collect();
    let exact = meant.iter().find(|m| m.label.eq_ignore_ascii_case(wanted));
    match (exact, meant.as_slice()) {
        (Some(model), _) | (None, [model]) => Ok(model),
        (None, []) => {
            let choices = models.iter().map(|m| m.label.clone()).collect();
            Err(StoreError::UnknownFile { repo: spec.id(), wanted: wanted.to_owned(), choices })
        }
        (None, several) => Err(several_files(spec, several.iter().copied())),
    }
}

/// Returns the error that lists the choices.
pub(crate) fn several_files<'a>(spec: &ModelSpec, models: impl Iterator<Item = &'a GgufModel>) -> StoreError {
    let line = |m: &GgufModel| match m.bytes {
        0 => m.label.clone(),
        bytes => format!("{}  {}", m.label, size(bytes)),
    };
    StoreError::SeveralFiles { repo: spec.id(), choices: models.map(line).collect() }
}

/// Formats a size for messages.
fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn add_model(
    spec: &ModelSpec,
    listed: &[RemoteFile],
    model: &GgufModel,
    out: &mut Selection,
) -> Result<(), StoreError> {
    if let Some(missing) = model.missing {
        let file = format!("{}.gguf", model.prefix);
        return Err(StoreError::MissingPart { repo: spec.id(), file, parts: model.count, missing });
    }
    let paths: HashSet<&str> = model.paths.iter().map(String::as_str).collect();
    out.files.extend(listed.iter().filter(|f| paths.contains(f.path.as_str())).cloned());
    Ok(())
}

fn default_files(spec: &ModelSpec, listed: &[RemoteFile], out: &mut Selection) -> Result<(), StoreError> {
    let paths: Vec<&str> = listed.iter().map(|f| f.path.as_str()).collect();
    let weights = weights(&paths);
    let models = models_of(listed);
    if weights.is_empty() {
        return match models.as_slice() {
            [] => Err(without_weights(spec, listed)),
            [only] => add_model(spec, listed, only, out),
            several => Err(several_files(spec, several.iter())),
        };
    }
    if let Some((file, parts, missing)) = missing_weights(&weights) {
        return Err(StoreError::MissingPart { repo: spec.id(), file, parts, missing });
    }
    let weights: HashSet<&str> = weights.into_iter().collect();
    let wanted = |f: &&RemoteFile| weights.contains(f.path.as_str()) || is_companion(&f.path);
    out.files.extend(listed.iter().filter(wanted).cloned());
    if !models.is_empty() {
        let labels: Vec<&str> = models.iter().map(|m| m.label.as_str()).collect();
        out.notes.push(format!(
            "GGUF files are not fetched; to fetch one, pull {}:QUANT with QUANT one of {}",
            spec.id(),
            labels.join(", ")
        ));
    }
    Ok(())
}

fn without_weights(spec: &ModelSpec, listed: &[RemoteFile]) -> StoreError {
    let pickles: Vec<String> = listed.iter().map(|f| f.path.clone()).filter(|p| is_pickle(p)).collect();
    let files = listed.iter().map(|f| f.path.clone()).collect();
    let repo = spec.id();
    if pickles.is_empty() { StoreError::NoWeights { repo, files } } else { StoreError::Pickle { repo, files: pickles } }
}

/// Returns the safetensors files that make up the model: `model*.safetensors` if there are any, without further copies of
/// the weights (`consolidated`, `fp16` variants, folders of other formats), else all at the top level.
pub(crate) fn weights<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let own = |path: &&str| !path.contains('/') && without_ending(path, ".safetensors").is_some();
    let usual = |path: &&&str| without_ending(path, ".safetensors").is_some_and(|stem| part(stem).prefix == "model");
    let all: Vec<&str> = paths.iter().copied().filter(own).collect();
    let usual: Vec<&str> = all.iter().filter(usual).copied().collect();
    let in_parts = usual.iter().any(|p| *p != "model.safetensors");
    match usual.as_slice() {
        [] => all,
        // A single file beside the parts holds the same weights.
        _ if in_parts && usual.contains(&"model.safetensors") => vec!["model.safetensors"],
        _ => usual,
    }
}

/// Returns a file with missing parts: its name, the number of its parts and the first missing one.
pub(crate) fn missing_weights(weights: &[&str]) -> Option<(String, usize, usize)> {
    let mut numbers: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for part in weights.iter().filter_map(|p| without_ending(p, ".safetensors")).map(part) {
        numbers.entry((part.prefix, part.count)).or_default().push(part.number);
    }
    numbers.into_iter().find_map(|((prefix, count), there)| {
        missing_part(count, there).map(|missing| (format!("{prefix}.safetensors"), count, missing))
    })
}

/// Returns `true` if a file belongs to safetensors weights: configuration, tokenizer, chat template.
pub(crate) fn is_companion(path: &str) -> bool {
    let name = file_name(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "jinja" => true,
        _ if path.contains('/') => false,
        "json" => !name.ends_with(".bin.index.json"),
        "model" | "tiktoken" => true,
        "txt" => matches!(name, "merges.txt" | "vocab.txt"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<RemoteFile> {
        paths.iter().map(|p| RemoteFile { path: (*p).to_owned(), size: Some(2_500_000), blob: None }).collect()
    }

    fn of(spec: &str, paths: &[&str], include: &[&str]) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let include: Vec<String> = include.iter().map(|p| (*p).to_owned()).collect();
        let found = select(&spec.parse().expect("a spec"), &files(paths), &include)?;
        Ok((found.files.into_iter().map(|f| f.path).collect(), found.notes))
    }

    const FOLDER: &[&str] = &[
        ".gitattributes",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "consolidated.safetensors",
        "generation_config.json",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.fp16.safetensors",
        "model.safetensors.index.json",
        "modeling_own.py",
        "onnx/model.safetensors",
        "original/params.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "requirements.txt",
        "tokenizer.json",
        "tokenizer.model",
        "training_args.bin",
    ];

    #[test]
    fn a_folder_is_its_weights_configuration_tokenizer_and_template() {
        let (files, notes) = of("org/repo", FOLDER, &[]).expect("selected");
        assert_eq!(
            files,
            [
                "chat_template.jinja",
                "config.json",
                "generation_config.json",
                "merges.txt",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "tokenizer.json",
                "tokenizer.model",
            ]
        );
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn a_whole_file_is_enough_beside_its_parts() {
        let both = ["model.safetensors", "model-00001-of-00001.safetensors"];
        assert_eq!(of("org/repo", &both, &[]).expect("selected").0, ["model.safetensors"]);
        assert_eq!(of("org/repo", &["adapter.safetensors"], &[]).expect("selected").0, ["adapter.safetensors"]);
    }

    #[test]
    fn several_quants_are_listed_and_none_is_preferred() {
        let repo = ["config.json", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-m-f16.gguf"];
        let error = of("org/repo", &repo, &[]).expect_err("a choice");
        assert_eq!(error.code(), "several-files");
        let text = error.to_string();
        assert!(text.contains("org/repo:Q4_K_M") && text.contains("Q8_0  2.5 MB"), "{text}");
        assert_eq!(of("org/repo:q8_0", &repo, &[]).expect("chosen").0, ["m-Q8_0.gguf"]);
        let unknown = of("org/repo:Q5_K_M", &repo, &[]).expect_err("not there").to_string();
        assert!(unknown.contains("Q5_K_M") && unknown.contains("Q4_K_M, Q8_0"), "{unknown}");
        assert_eq!(of("org/repo", &["one.gguf"], &[]).expect("the only one").0, ["one.gguf"]);
        let with = of("org/repo:Q8_0", &repo, &["mmproj*"]).expect("both");
        assert_eq!(with.0, ["m-Q8_0.gguf", "mmproj-m-f16.gguf"]);
    }

    #[test]
    fn a_note_lists_the_gguf_models_beside_safetensors() {
        let (files, notes) = of("org/repo", &["model.safetensors", "m-Q8_0.gguf"], &[]).expect("selected");
        assert_eq!(files, ["model.safetensors"]);
        assert!(notes[0].contains("Q8_0"), "{notes:?}");
    }

    #[test]
    fn parts_come_together_or_not_at_all() {
        let split = ["q/m-Q8_0-00001-of-00002.gguf", "q/m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"];
        assert_eq!(of("org/repo:Q8_0", &split, &[]).expect("both").0, split[..2]);
        assert_eq!(of("org/repo:Q8_0", &split[..1], &[]).expect_err("half").code(), "missing-shard");
        assert_eq!(of("org/repo", &FOLDER[7..8], &[]).expect_err("half").code(), "missing-shard");
    }

    #[test]
    fn pickles_are_never_fetched() {
        let only = of("org/repo", &["config.json", "pytorch_model.bin"], &[]).expect_err("a pickle");
        assert_eq!(only.code(), "pickle-file");
        for pattern in ["pytorch_model.bin", "*.bin"] {
            let error = of("org/repo", FOLDER, &[pattern]).expect_err("a pickle");
            assert_eq!(error.code(), "pickle-file", "{pattern}");
            assert!(error.to_string().contains("runs code"), "{error}");
        }
        let (files, notes) = of("org/repo", FOLDER, &["*"]).expect("the others");
        assert!(!files.iter().any(|f| f.ends_with(".bin")) && files.contains(&"README.md".to_owned()), "{files:?}");
        assert!(notes[0].contains("training_args.bin"), "{notes:?}");
    }

    #[test]
    fn patterns_must_match() {
        assert_eq!(of("org/repo", FOLDER, &["*.gguf"]).expect_err("none").code(), "no-file-matches");
        assert_eq!(of("org/repo", &["README.md"], &[]).expect_err("none").code(), "no-weights");
        assert_eq!(of("org/repo", FOLDER, &["onnx/", "*.md"]).expect("two").0, ["README.md", "onnx/model.safetensors"]);
    }

    #[test]
    fn hostile_names_are_refused_where_they_would_be_written() {
        let hostile = ["config.json", "../../evil.jinja", "model.safetensors"];
        assert_eq!(of("org/repo", &hostile, &[]).expect_err("hostile").code(), "unsafe-file-name");
        let inside = ["a.json", "a.json/model.jinja", "model.safetensors"];
        assert_eq!(of("org/repo", &inside, &[]).expect_err("hostile").code(), "unsafe-file-name");
    }
}
