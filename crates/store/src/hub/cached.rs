//! The list of the models in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use honelm_formats::hub_cache::{SNAPSHOTS, repository_name};
use honelm_formats::read_file;

use super::cache::{REFS, RepositoryCache};
use super::files::collect;
use super::listing::is_commit;
use super::parts::gguf_models;
use super::select::{missing_weights, weights};
use super::{DEFAULT_REVISION, ModelSpec};

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// The name that [`super::find`] finds it by: `ORG/REPO`, `ORG/REPO@REVISION`, `ORG/REPO:QUANT`.
    pub name: String,
    /// The repository, `ORG/REPO`.
    pub repository: String,
    /// The branch or tag that had the commit when it was last fetched, if any.
    pub revision: Option<String>,
    /// The commit.
    pub commit: String,
    /// The path to open: the snapshot's folder, or the first file of a GGUF model.
    pub path: PathBuf,
    /// The weights' files: paths in the snapshot, and sizes in bytes.
    pub files: Vec<(String, u64)>,
    /// The reason why the model cannot be opened: missing weights or parts.
    pub problem: Option<String>,
}

/// Returns the models in the cache, sorted by name. A snapshot without weights is one model with a problem. No file of a
/// model is read.
#[must_use]
pub fn cached(cache: &Path) -> Vec<CachedModel> {
    let mut out = Vec::new();
    for folder in names(cache) {
        let Some(spec) = repository_name(&folder).and_then(|id| id.parse::<ModelSpec>().ok()) else { continue };
        let here = RepositoryCache::new(cache, &spec);
        let revisions = revisions(&cache.join(&folder));
        for commit in names(&cache.join(&folder).join(SNAPSHOTS)).into_iter().filter(|name| is_commit(name)) {
            snapshot(&here, &spec.id(), revisions.get(&commit).map(String::as_str), &commit, &mut out);
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// Adds the models of a snapshot.
fn snapshot(here: &RepositoryCache, id: &str, revision: Option<&str>, commit: &str, out: &mut Vec<CachedModel>) {
    let folder = here.snapshot(commit);
    let files = here.files(commit);
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let (weights, models) = (weights(&paths), gguf_models(files.iter().map(|(path, bytes)| (path.as_str(), *bytes))));
    let base = match revision {
        Some(DEFAULT_REVISION) => id.to_owned(),
        other => format!("{id}@{}", other.unwrap_or(commit)),
    };
    let size_of = |path: &str| files.iter().find(|(own, _)| own == path).map_or(0, |(_, bytes)| *bytes);
    let missing = |(part, count): (usize, usize)| format!("part {part} of {count} is missing");
    let mut add = |name: String, path: PathBuf, files: Vec<&str>, problem: Option<String>| {
        out.push(CachedModel {
            name,
            repository: id.to_owned(),
            revision: revision.map(str::to_owned),
            commit: commit.to_owned(),
            path,
            files: files.into_iter().map(|path| (path.to_owned(), size_of(path))).collect(),
            problem,
        });
    };
    if !weights.is_empty() {
        let problem = missing_weights(&weights).map(|(_, count, part)| missing((part, count)));
        add(base.clone(), folder.clone(), weights.clone(), problem);
    }
    let is_only = weights.is_empty() && models.len() == 1;
    for model in &models {
        let name = if is_only { base.clone() } else { format!("{base}:{}", model.label) };
        let paths: Vec<&str> = model.paths.iter().map(String::as_str).collect();
        let first = paths.first().map_or_else(|| folder.clone(), |first| folder.join(first));
        add(name, first, paths, model.missing.map(|part| missing((part, model.count))));
    }
    if weights.is_empty() && models.is_empty() {
        add(base, folder, Vec::new(), Some("it has no safetensors and no GGUF weights".to_owned()));
    }
}

/// Returns a branch or tag of each commit; `main` if it is one of several.
fn revisions(folder: &Path) -> BTreeMap<String, String> {
    let refs = folder.join(REFS);
    let mut files = Vec::new();
    collect(&refs, "", 0, &mut files);
    files.sort();
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for (name, _) in files {
        let text = read_file(refs.join(&name), 256).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(commit) = text.map(|text| text.trim().to_owned()).filter(|commit| is_commit(commit)) else { continue };
        if name == DEFAULT_REVISION || !out.contains_key(&commit) {
            out.insert(commit, name);
        }
    }
    out
}

/// Returns the names in a folder, sorted; none if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::find;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "1123456789abcdef0123456789abcdef01234567";

    fn write(path: &Path, bytes: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("written");
    }

    #[test]
    fn every_model_is_listed_under_the_name_that_finds_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |path: String| dir.path().join(path);
        for (repo, commit, file) in [
            ("both", COMMIT, "model.safetensors"),
            ("both", COMMIT, "m-Q4_0.gguf"),
            ("both", COMMIT, "m-Q8_0-00001-of-00002.gguf"),
            ("both", OTHER, "m-Q4_0.gguf"),
            ("bare", COMMIT, "config.json"),
            ("tagged", COMMIT, "model.safetensors"),
        ] {
            write(&at(format!("models--org--{repo}/snapshots/{commit}/{file}")), "12345");
        }
        write(&at(format!("models--org--both/snapshots/{COMMIT}/sub/model.safetensors")), "123");
        write(&at("models--org--both/refs/a-tag".to_owned()), COMMIT);
        write(&at("models--org--both/refs/main".to_owned()), COMMIT);
        write(&at("models--org--bare/refs/main".to_owned()), COMMIT);
        write(&at("models--org--tagged/refs/refs/pr/1".to_owned()), COMMIT);
        write(&at(format!("datasets--org--x/snapshots/{COMMIT}/model.safetensors")), "123");
        write(&at("models--org--bare/snapshots/none".to_owned()), "");

        let found = cached(dir.path());
        let shown: Vec<(&str, bool)> = found.iter().map(|m| (m.name.as_str(), m.problem.is_none())).collect();
        let detached = format!("org/both@{OTHER}");
        let expected = [
            ("org/bare", false),
            ("org/both", true),
            ("org/both:Q4_0", true),
            ("org/both:Q8_0", false),
            (detached.as_str(), true),
            ("org/tagged@refs/pr/1", true),
        ];
        assert_eq!(shown, expected);
        for model in &found {
            let path = find(&model.name.parse().expect("a name"), dir.path()).ok();
            assert_eq!(path, model.problem.is_none().then(|| model.path.clone()), "{}", model.name);
        }
        assert_eq!(found[1].files, [("model.safetensors".to_owned(), 5)]);
        assert_eq!(cached(&dir.path().join("none")), []);
    }
}
