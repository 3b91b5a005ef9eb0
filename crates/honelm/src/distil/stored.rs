//! The teacher's distributions in a folder: computed once, the most likely tokens of each.

use std::path::Path;

use honelm_backend::Backend;
use honelm_cpu::Pool;
use honelm_formats::{OutputGate, read_json, write_atomic};
use honelm_model::Checkpoint;
use honelm_store::{Digest, Journal};
use honelm_train::{SaveError, Saves, Stored, Top, Trainer, top_of};
use serde::{Deserialize, Serialize};

use super::run::failed;
use crate::{Error, Event, Events};

/// The file that says what a folder holds.
const CARD: &str = "teacher.json";
const STAGE: &str = "teacher: computing distributions";

/// A journal as the place of a training's work.
pub(super) struct JournalSaves(pub Journal);

impl Saves for JournalSaves {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, SaveError> {
        Ok(self.0.get(name)?)
    }

    fn put(&self, name: &str, contents: &[u8]) -> Result<(), SaveError> {
        Ok(self.0.put(name, contents)?)
    }
}

/// The facts that decide what a folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Card {
    /// The digest of the teacher's files.
    pub teacher: String,
    /// The digest of the samples.
    pub samples: String,
    /// The temperature of the distributions.
    pub temperature: f32,
    /// The number of tokens that each names.
    pub top_k: usize,
}

impl Card {
    /// Checks that a folder holds what this card says.
    fn check(&self, found: &Self, folder: &Path) -> Result<(), Error> {
        let fields = [
            ("teacher", &found.teacher, &self.teacher),
            ("samples", &found.samples, &self.samples),
            ("temperature", &found.temperature.to_string(), &self.temperature.to_string()),
            ("top_k", &found.top_k.to_string(), &self.top_k.to_string()),
        ];
        match fields.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok(()),
            Some((field, found, expected)) => Err(Error::Usage(format!(
                "{}: `{field}`: found {found}, expected {expected}; choose another folder with --teacher-logits, or remove this one",
                folder.join(CARD).display()
            ))),
        }
    }
}

/// Returns the distributions of a folder for all samples, and computes those that it lacks.
pub(super) fn distributions(
    folder: &Path,
    card: &Card,
    (teacher, samples): (&Checkpoint, &[Vec<u32>]),
    gate: &OutputGate,
    (backend, pool): (&mut dyn Backend, &Pool),
    events: Events<'_>,
) -> Result<JournalSaves, Error> {
    gate.work_folder(folder, &|folder| folder.join(CARD).is_file())?;
    let path = folder.join(CARD);
    match read_json(&path)? {
        Some(found) => {
            let bad =
                |error: serde_json::Error| Error::Text { path: path.display().to_string(), problem: error.to_string() };
            card.check(&serde_json::from_value(found).map_err(bad)?, folder)?;
        }
        None => {
            std::fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
            let json = serde_json::to_vec_pretty(card).unwrap_or_default();
            write_atomic(&path, |file| {
                use std::io::Write;
                file.write_all(&json).map_err(|error| honelm_formats::FormatError::io("write", path.display(), error))
            })?;
        }
    }
    let key = Digest::default().with(serde_json::to_vec(card).unwrap_or_default()).hex();
    let saves = JournalSaves(Journal::new(folder, &key));
    let context = samples.iter().map(Vec::len).max().unwrap_or(1);
    let mut trainer = Trainer::new(teacher.blueprint(), context, backend, pool).map_err(failed)?;
    for (i, sample) in samples.iter().enumerate() {
        let entry = Stored::entry(i);
        let vocabulary = teacher.facts().vocabulary;
        let is_whole = |bytes: Vec<u8>| {
            Top::unpack(&bytes, card.top_k.min(vocabulary), vocabulary).is_some_and(|rows| rows.len() == sample.len())
        };
        if saves.0.get(&entry)?.is_some_and(is_whole) {
            continue;
        }
        if !events(&Event::Stage { name: STAGE, detail: "", done: i, total: samples.len() }) {
            return Err(Error::Interrupted);
        }
        let rows = top_of(&mut trainer, teacher, sample, (card.top_k, card.temperature)).map_err(failed)?;
        teacher.check_unchanged()?;
        saves.0.put(&entry, &rows)?;
    }
    Ok(saves)
}
