//! Test results for this machine, kept in the user's cache folder. A result that is lost or damaged is determined
//! again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use honelm_formats::{FormatError, read_file, write_atomic};
use honelm_store::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::caches;

/// The largest size of the file in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// Results by name, in one JSON file. Without a cache folder nothing is kept.
#[derive(Debug)]
pub(crate) struct Remembered(Option<PathBuf>);

impl Remembered {
    /// Opens the file `honelm/NAME` in the user's cache folder.
    pub(crate) fn in_cache(name: &str) -> Self {
        Self(caches::folder().map(|folder| folder.join(name)))
    }

    #[cfg(test)]
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self(Some(file))
    }

    /// Returns a result, or `None` if it is missing, damaged or of another type.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let Sealed { finding, sha256 } = serde_json::from_value(self.all().remove(key)?).ok()?;
        let intact = seal(key, &finding) == sha256;
        intact.then(|| serde_json::from_str(&finding).ok()).flatten()
    }

    /// Keeps a result. A failure to write it is ignored: the next start determines it again.
    pub(crate) fn set(&self, key: &str, finding: &impl Serialize) {
        let (Some(file), Ok(finding)) = (&self.0, serde_json::to_string(finding)) else { return };
        let Ok(sealed) = serde_json::to_value(Sealed { sha256: seal(key, &finding), finding }) else { return };
        let mut all = self.all();
        all.insert(key.to_owned(), sealed);
        let Ok(bytes) = serde_json::to_vec_pretty(&all) else { return };
        if let Some(folder) = file.parent() {
            drop(fs::create_dir_all(folder));
        }
        let written =
            write_atomic(file, |out| out.write_all(&bytes).map_err(|e| FormatError::io("write", file.display(), e)));
        drop(written);
    }

    fn all(&self) -> BTreeMap<String, Value> {
        let bytes = self.0.as_ref().and_then(|file| read_file(file, MOST_BYTES).ok());
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }
}

/// A result as text, with the digest of its name and contents.
#[derive(Serialize, Deserialize)]
struct Sealed {
    finding: String,
    sha256: String,
}

fn seal(key: &str, finding: &str) -> String {
    Digest::default().with(key).with(finding).hex()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn results_are_kept_by_name_and_a_damaged_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new").join("found.json");
        let remembered = Remembered::in_file(file.clone());
        assert_eq!(remembered.get::<u32>("a"), None);
        remembered.set("a", &1);
        remembered.set("b", &"two");
        assert_eq!((remembered.get("a"), remembered.get("b")), (Some(1), Some("two".to_owned())));
        assert_eq!(remembered.get::<u32>("b"), None, "of another type");
        fs::write(&file, "{").unwrap();
        assert_eq!(remembered.get::<u32>("a"), None);
        remembered.set("a", &3);
        assert_eq!(remembered.get("a"), Some(3));
        Remembered(None).set("a", &1);
    }

    #[test]
    fn a_damaged_result_is_not_returned() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("found.json");
        let remembered = Remembered::in_file(file.clone());
        remembered.set("a", &12);
        remembered.set("b", &12);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("12", "13", 1)).unwrap();
        assert_eq!((remembered.get::<u32>("a"), remembered.get("b")), (None, Some(12)));
    }
}
