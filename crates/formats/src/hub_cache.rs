//! How the cache that Hugging Face's tools share names its folders: `models--ORG--REPO/snapshots/COMMIT/FILE`.

use std::path::Path;

/// Begins the folder of a model repository.
const MODELS: &str = "models--";
/// The folder of the revisions in a repository's folder.
pub const SNAPSHOTS: &str = "snapshots";

/// The folder of the repository `org`/`repo` in the cache.
#[must_use]
pub fn repository_folder(org: &str, repo: &str) -> String {
    format!("{MODELS}{org}--{repo}")
}

/// REPO, where `path` is a revision's folder in the cache: a better name than the commit.
#[must_use]
pub fn snapshot_name(path: &Path) -> Option<&str> {
    let revisions = path.parent().filter(|p| p.file_name().is_some_and(|n| n == SNAPSHOTS))?;
    let (_, repo) = revisions.parent()?.file_name()?.to_str()?.strip_prefix(MODELS)?.split_once("--")?;
    Some(repo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_repository() {
        let folder = Path::new("hub").join(repository_folder("org", "tiny-llama")).join(SNAPSHOTS).join("0123abcd");
        assert_eq!(snapshot_name(&folder), Some("tiny-llama"));
        assert_eq!(snapshot_name(&folder.join("model.gguf")), None);
        assert_eq!(snapshot_name(Path::new("models--org--x/other/0123")), None);
        assert_eq!(snapshot_name(Path::new("x")), None);
    }
}
