//! The search for a model in the cache.

use std::path::{Path, PathBuf};

use super::ModelSpec;
use super::cache::RepositoryCache;
use super::parts::{GgufModel, gguf_models};
use super::select::{choose, missing_weights, several_files, weights};
use crate::StoreError;

/// Returns the path of a model in the cache, regardless of the tool that fetched it: the folder of a snapshot with
/// safetensors, or a GGUF file (the first part of a model in parts).
///
/// # Errors
/// [`StoreError::NotInCache`], [`StoreError::SeveralFiles`].
pub fn find(spec: &ModelSpec, cache: &Path) -> Result<PathBuf, StoreError> {
    let here = RepositoryCache::new(cache, spec);
    let absent = |problem: String| StoreError::NotInCache { name: spec.to_string(), cache: cache.to_owned(), problem };
    if !here.exists() {
        return Err(absent("it was never fetched".to_owned()));
    }
    let commit = here.commit(spec.revision());
    let commit = commit.ok_or_else(|| absent(format!("the revision '{}' was never fetched", spec.revision())))?;
    let folder = here.snapshot(&commit);
    let files = here.files(&commit);
    let models = gguf_models(files.iter().map(|(path, bytes)| (path.as_str(), *bytes)));
    let whole = |model: &GgufModel| match (model.missing, model.paths.first()) {
        (Some(missing), _) => Err(absent(format!("part {missing} of {} is missing", model.count))),
        (None, Some(first)) => Ok(folder.join(first)),
        (None, None) => Err(absent("it has no files".to_owned())),
    };
    if let Some(choice) = spec.choice() {
        return match choose(spec, &models, choice) {
            Ok(model) => whole(model),
            Err(StoreError::UnknownFile { choices, .. }) if choices.is_empty() => {
                Err(absent("the cache has no GGUF file of it".to_owned()))
            }
            Err(StoreError::UnknownFile { choices, .. }) => {
                Err(absent(format!("the cache does not have '{choice}', only {}", choices.join(", "))))
            }
            Err(other) => Err(other),
        };
    }
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let weights = weights(&paths);
    match (weights.as_slice(), models.as_slice()) {
        ([], []) => Err(absent("its weights are missing".to_owned())),
        ([], [only]) => whole(only),
        ([], several) => Err(several_files(spec, several.iter())),
        (weights, _) => match missing_weights(weights) {
            Some((_, parts, missing)) => Err(absent(format!("part {missing} of {parts} of its weights is missing"))),
            None => Ok(folder),
        },
    }
}
