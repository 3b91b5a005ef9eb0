//! Facts about models that need not be loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use honelm::{Inspection, RunOptions};
use honelm_text::Reasoning;
use sha2::{Digest, Sha256};

use super::response::Details;
use crate::ApiError;
use crate::worker::gap_marks;

/// The facts about a model.
#[derive(Debug)]
pub(super) struct Facts {
    /// The inspected files.
    pub inspection: Inspection,
    /// The time of the newest file.
    pub modified: SystemTime,
    /// A digest of the names, sizes and times of the files.
    pub digest: String,
    /// The chat template separates reasoning from the answer.
    pub reasons: bool,
    /// There are tokens for a text with a gap.
    pub fills_gaps: bool,
}

/// The facts of the models that were asked for, as long as their files are the same.
#[derive(Debug, Default)]
pub(crate) struct FactsCache(Mutex<HashMap<PathBuf, Arc<Facts>>>);

impl FactsCache {
    /// Returns the facts about the model of a folder or file. Blocks.
    pub(super) fn of(&self, path: &Path) -> Result<Arc<Facts>, ApiError> {
        let (modified, digest) = stamp(path);
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = lock().get(path).filter(|facts| facts.digest == digest) {
            return Ok(Arc::clone(facts));
        }
        let inspection = honelm::inspect(path, &RunOptions::default())?;
        let tokenizer = honelm::open_tokenizer(path).ok();
        let template = inspection.chat_template.as_deref().unwrap_or_default();
        let reasons = tokenizer.as_ref().is_some_and(|tokenizer| Reasoning::find(template, tokenizer).is_some());
        let fills_gaps = tokenizer.as_ref().is_some_and(|tokenizer| gap_marks(tokenizer).is_some());
        let facts = Arc::new(Facts { inspection, modified, digest, reasons, fills_gaps });
        lock().insert(path.to_owned(), Arc::clone(&facts));
        Ok(facts)
    }
}

/// Returns the time of the newest file of a model, and a digest of the names, sizes and times of its files.
fn stamp(path: &Path) -> (SystemTime, String) {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    files.sort();
    let (mut newest, mut digest) = (UNIX_EPOCH, Sha256::new());
    for file in files {
        let Ok(metadata) = std::fs::metadata(&file) else { continue };
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        newest = newest.max(modified);
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        digest.update(format!("{name}\n{}\n{}\n", metadata.len(), since.as_nanos()));
    }
    (newest, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Facts {
    /// Returns the kind of model.
    pub fn details(&self) -> Details {
        let Inspection { container, architecture, parameters, encodings, .. } = &self.inspection;
        Details {
            parent_model: String::new(),
            format: container.clone(),
            family: architecture.clone(),
            families: vec![architecture.clone()],
            parameter_size: short(*parameters),
            quantization_level: encodings.first().map(|of| of.encoding.clone()).unwrap_or_default(),
        }
    }
}

/// Returns a number of parameters as people write it: `1.5B`, `135M`.
fn short(parameters: u64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    let n = parameters as f64;
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| n >= *unit) else { return parameters.to_string() };
    let value = n / unit;
    if value < 10.0 { format!("{value:.1}{name}") } else { format!("{value:.0}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_once_and_again_when_files_change() {
        let dir = tempfile::tempdir().expect("a folder");
        let shipped = honelm_testing::pocket_dir();
        for entry in std::fs::read_dir(&shipped).expect("the shipped model").flatten() {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
        }
        let cache = FactsCache::default();
        let first = cache.of(dir.path()).expect("facts");
        assert!(Arc::ptr_eq(&first, &cache.of(dir.path()).expect("facts")));
        assert_eq!(first.details().family, "llama");
        std::fs::write(dir.path().join("notes.txt"), "new").expect("written");
        assert_ne!(first.digest, cache.of(dir.path()).expect("facts").digest);
    }

    #[test]
    fn numbers_of_parameters_are_short() {
        for (parameters, expected) in
            [(0, "0"), (999, "999"), (1_540_000_000, "1.5B"), (134_515_008, "135M"), (8_030_261_248, "8.0B")]
        {
            assert_eq!(short(parameters), expected);
        }
    }
}
