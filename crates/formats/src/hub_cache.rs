//! The names of the folders in the cache that Hugging Face's tools share: `models--ORG--REPO/snapshots/COMMIT/FILE`.

use std::path::{Path, PathBuf};

/// The prefix of the folders of model repositories.
const MODELS: &str = "models--";
/// The folder of the snapshots in a repository's folder.
pub const SNAPSHOTS: &str = "snapshots";
/// The folder of the files' contents, named by their hashes, in a repository's folder.
pub const BLOBS: &str = "blobs";

/// Returns the name of the folder of the repository `org`/`repo`.
#[must_use]
pub fn repository_folder(org: &str, repo: &str) -> String {
    format!("{MODELS}{org}--{repo}")
}

/// Returns `ORG/REPO` if `folder` is the name of a model repository's folder.
#[must_use]
pub fn repository_name(folder: &str) -> Option<String> {
    let (org, repo) = folder.strip_prefix(MODELS)?.split_once("--")?;
    Some(format!("{org}/{repo}"))
}

/// Returns REPO if `path` is the folder of a snapshot, as a better name than the commit.
#[must_use]
pub fn snapshot_name(path: &Path) -> Option<&str> {
    let revisions = path.parent().filter(|p| p.file_name().is_some_and(|n| n == SNAPSHOTS))?;
    let (_, repo) = revisions.parent()?.file_name()?.to_str()?.strip_prefix(MODELS)?.split_once("--")?;
    Some(repo)
}

/// Returns the folder of the files' contents if `path` is the folder of a snapshot, whose files are usually links to them.
#[must_use]
pub fn blobs(path: &Path) -> Option<PathBuf> {
    snapshot_name(path)?;
    Some(path.parent()?.parent()?.join(BLOBS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_repository() {
        let folder = Path::new("hub").join(repository_folder("org", "tiny-llama")).join(SNAPSHOTS).join("0123abcd");
        assert_eq!(snapshot_name(&folder), Some("tiny-llama"));
        assert_eq!(repository_name(&repository_folder("org", "a--b")).as_deref(), Some("org/a--b"));
        assert_eq!(repository_name("datasets--org--x"), None);
        assert_eq!(snapshot_name(&folder.join("model.gguf")), None);
        assert_eq!(blobs(&folder), Some(Path::new("hub/models--org--tiny-llama/blobs").to_owned()));
        assert_eq!(blobs(&folder.join("sub")), None);
        assert_eq!(snapshot_name(Path::new("models--org--x/other/0123")), None);
        assert_eq!(snapshot_name(Path::new("x")), None);
    }
}
