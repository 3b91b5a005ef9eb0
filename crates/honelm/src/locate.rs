//! Finds a model by the name that a user types.

use std::path::{Path, PathBuf};

use honelm_store::hub::{ModelSpec, cache_dir, check_model, find, is_address};

use crate::Error;

/// The name of the model that ships with the program.
pub const SHIPPED: &str = "pocket";

/// Returns the path of the model `name`, or of the shipped model if there is no name.
///
/// A name is one of these, the first that exists:
/// - the path of a folder or a file;
/// - `ORG/REPO`, `ORG/REPO@REVISION` or `ORG/REPO:QUANT`, or the address of a page of the Hub: a model in the Hugging Face
///   cache. Nothing is downloaded; the
///   digests of its files are checked when they are first used;
/// - the name of a folder or a `.gguf` file in one of the model folders. These are `model_dir`, `HONELM_HOME` and
///   `models` in it, `models` beside the executable, and `models` in the current folder and the folders above it.
///
/// # Errors
/// [`Error::ModelNotFound`] if there is no such model, [`Error::Usage`] for an empty name, [`Error::Store`] for a damaged
/// or incomplete model in the Hugging Face cache and for the address of another host.
pub fn locate(name: Option<&str>, model_dir: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(name) = name {
        if name.is_empty() {
            let problem = "MODEL: found an empty name, expected a folder, a GGUF file or a name such as pocket";
            return Err(Error::Usage(problem.to_owned()));
        }
        let path = Path::new(name);
        if path.exists() {
            check_model(path)?;
            return Ok(path.to_owned());
        }
        match name.parse::<ModelSpec>() {
            Ok(spec) => {
                let path = find(&spec, &cache_dir())?;
                check_model(&path)?;
                return Ok(path);
            }
            Err(invalid) if is_address(name) => return Err(invalid.into()),
            Err(_) => {}
        }
        if path.components().count() > 1 {
            return Err(Error::ModelNotFound { name: name.to_owned(), searched: vec![path.to_owned()] });
        }
    }
    let name = name.unwrap_or(SHIPPED);
    let searched = model_folders(model_dir);
    for folder in &searched {
        for candidate in [folder.join(name), folder.join(format!("{name}.gguf"))] {
            if candidate.exists() {
                return Ok(candidate);
            }
        }
    }
    Err(Error::ModelNotFound { name: name.to_owned(), searched })
}

/// Returns the model folders in the order in which they are searched; some may not exist.
pub(crate) fn model_folders(model_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = model_dir.map(Path::to_owned).into_iter().collect();
    if let Some(home) = std::env::var_os("HONELM_HOME").map(PathBuf::from) {
        out.push(home.join("models"));
        out.push(home);
    }
    if let Some(beside) = std::env::current_exe().ok().and_then(|e| e.parent().map(|p| p.join("models"))) {
        out.push(beside);
    }
    if let Ok(here) = std::env::current_dir() {
        out.extend(here.ancestors().map(|a| a.join("models")));
    }
    // The source checkout of this build. It exists on the machine of its developer alone.
    out.extend(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").canonicalize());
    let mut seen = std::collections::HashSet::new();
    out.retain(|folder| seen.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_and_files_in_the_model_folder_are_found() {
        assert!(locate(None, None).expect("the shipped model").join("config.json").exists());
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("small.gguf"), "").expect("written");
        assert_eq!(locate(Some("small"), Some(dir.path())).expect("found"), dir.path().join("small.gguf"));
    }

    #[test]
    fn the_error_lists_the_folders_that_were_searched() {
        let error = locate(Some("no-such-model"), None).expect_err("not there");
        assert!(error.to_string().contains("no-such-model"), "{error}");
        assert_eq!(error.code(), "model-not-found");
        assert_eq!(locate(Some(""), None).expect_err("no name").code(), "usage");
        assert_eq!(locate(Some("no/such/model"), None).expect_err("not there").code(), "model-not-found");
    }

    #[test]
    #[cfg(unix)]
    fn models_of_the_hubs_cache_have_the_names_of_repositories_and_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let snapshot = dir.path().join("models--org--tiny/snapshots/0123456789abcdef0123456789abcdef01234567");
        std::fs::create_dir_all(&snapshot).expect("a folder");
        std::fs::write(dir.path().join("blob"), "").expect("written");
        let file = snapshot.join("tiny-Q4_0.gguf");
        std::os::unix::fs::symlink("../../../blob", &file).expect("linked");
        assert_eq!(crate::model_name(&snapshot), "tiny");
        assert_eq!(crate::model_name(&snapshot.join("config.json")), "tiny");
        assert_eq!(crate::model_name(&file), "tiny-Q4_0");
    }

    #[test]
    fn addresses_of_other_hosts_are_refused_as_such() {
        let error = locate(Some("https://example.com/org/model"), None).expect_err("a foreign host");
        assert_eq!(error.code(), "invalid-repository");
        assert!(error.to_string().contains("example.com"), "{error}");
        let error = locate(Some("https://huggingface.co/no-such-org/x/tree/v1"), None).expect_err("not there");
        assert!(error.to_string().contains("`honelm pull no-such-org/x@v1`"), "{error}");
    }

    #[test]
    fn a_repository_outside_the_cache_is_not_downloaded() {
        let error = locate(Some("no-such-org/no-such-model:Q4_K_M"), None).expect_err("not there");
        assert!(error.to_string().contains("`honelm pull no-such-org/no-such-model:Q4_K_M`"), "{error}");
        assert_eq!(error.code(), "model-not-found");
    }
}
