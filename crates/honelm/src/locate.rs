//! Finding a model by what a user types.

use std::path::{Path, PathBuf};

use honelm_store::hub::{ModelSpec, cache_dir, check_model, find};

use crate::Error;

/// Name of the model that ships with the program.
pub const SHIPPED: &str = "pocket";

/// The path of `name`: a folder or file as it stands, else a folder or `.gguf` file of that name among the model
/// folders; `ORG/REPO`, `ORG/REPO@REVISION` and `ORG/REPO:QUANT` are models in the Hub's cache, which nothing is fetched
/// into here, and whose files are checked by their hashes when they are first used. Without a name, the shipped model.
///
/// Model folders: `model_dir`, `HONELM_HOME` (and `models` in it), `models` beside the executable, `models` in the
/// current folder and those above it, and in the source checkout that this was built from.
pub fn locate(name: Option<&str>, model_dir: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(name) = name {
        let path = Path::new(name);
        if path.exists() {
            check_model(path)?;
            return Ok(path.to_owned());
        }
        if let Ok(spec) = name.parse::<ModelSpec>() {
            let path = find(&spec, &cache_dir())?;
            check_model(&path)?;
            return Ok(path);
        }
        if path.components().count() > 1 {
            return Err(Error::ModelNotFound { name: name.to_owned(), searched: vec![path.to_owned()] });
        }
    }
    let name = name.unwrap_or(SHIPPED);
    let searched = folders(model_dir);
    for folder in &searched {
        for candidate in [folder.join(name), folder.join(format!("{name}.gguf"))] {
            if candidate.exists() {
                return Ok(candidate);
            }
        }
    }
    Err(Error::ModelNotFound { name: name.to_owned(), searched })
}

fn folders(model_dir: Option<&Path>) -> Vec<PathBuf> {
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
    out.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_shipped_model_and_files_in_the_model_folder() {
        assert!(locate(None, None).expect("the shipped model").join("config.json").exists());
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("small.gguf"), "").expect("written");
        assert_eq!(locate(Some("small"), Some(dir.path())).expect("found"), dir.path().join("small.gguf"));
    }

    #[test]
    fn says_where_it_searched() {
        let error = locate(Some("no-such-model"), None).expect_err("not there");
        assert!(error.to_string().contains("no-such-model"), "{error}");
        assert_eq!(error.code(), "model-not-found");
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
    fn a_repository_that_was_not_fetched_is_not_fetched_silently() {
        let error = locate(Some("no-such-org/no-such-model:Q4_K_M"), None).expect_err("not there");
        assert!(error.to_string().contains("`honelm pull no-such-org/no-such-model:Q4_K_M`"), "{error}");
        assert_eq!(error.code(), "model-not-found");
    }
}
