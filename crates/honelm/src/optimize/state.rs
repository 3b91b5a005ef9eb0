//! A job at work, and its journal.

use std::path::Path;
use std::rc::Rc;

use honelm_model::Checkpoint;
use honelm_store::Journal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::folder::Folder;
use super::gates::Judges;
use super::plan::Plan;
use super::{Candidate, OptimizeOptions};
use crate::open::{digest_of_all, open_quietly};
use crate::times::{StageTime, Times};
use crate::{Error, RunOptions};

/// Returns the digest of a written model's files, or `None` if there is no model at `path`.
pub(super) fn published_digest(path: &Path, run: &RunOptions) -> Result<Option<String>, Error> {
    match open_quietly(path, run) {
        Ok(written) => Ok(Some(digest_of_all(&written)?)),
        Err(_) => Ok(None),
    }
}

/// The model that candidates are made of: the original, or one that an earlier step of a pipeline made of it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub checkpoint: &'a Checkpoint,
    /// A digest of its files.
    pub digest: &'a str,
}

/// A job at work.
pub(super) struct Job<'a> {
    pub options: &'a OptimizeOptions,
    /// The original, which candidates are compared with.
    pub checkpoint: &'a Checkpoint,
    pub source: Source<'a>,
    pub plan: &'a Plan,
    pub folder: &'a Folder,
    /// All candidates, container by container, each in the order in which they are tried.
    pub candidates: &'a [Candidate],
    pub journal: Journal,
    /// The facts about the original that the gates need.
    pub judges: Rc<Judges>,
    /// The index of the calibration text in use.
    pub calibration: usize,
    /// `true` if saved work stays until the end of the job, because later steps go on from it.
    pub keeps_work: bool,
    pub warnings: Vec<String>,
}

/// The journal entry of the times of the job's parts.
const TIMES: &str = "times";

impl<'a> Job<'a> {
    /// Returns a part of the job with options, a model and candidates of its own. Its warnings are its own as well.
    pub(super) fn part<'b>(
        &self,
        options: &'b OptimizeOptions,
        source: Source<'b>,
        candidates: &'b [Candidate],
    ) -> Job<'b>
    where
        'a: 'b,
    {
        let whole: &Job<'b> = self;
        let (journal, judges) = (whole.journal.clone(), Rc::clone(&whole.judges));
        Job { options, source, candidates, journal, judges, warnings: Vec::new(), ..*whole }
    }

    /// Adds to the times of the job's parts.
    pub(super) fn spend(&self, parts: &[StageTime]) -> Result<(), Error> {
        let mut times = Times::new(self.times()?);
        parts.iter().for_each(|part| times.add(&part.name, part.seconds));
        self.save(TIMES, &times.stages).map(drop)
    }

    /// Returns the times of the job's parts so far.
    pub(super) fn times(&self) -> Result<Vec<StageTime>, Error> {
        Ok(self.saved(TIMES)?.unwrap_or_default())
    }

    /// Does a part of the job, and adds the time that it took.
    pub(super) fn timed<T>(
        &mut self,
        name: &str,
        part: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut times = Times::default();
        times.begin(name);
        let done = part(self);
        times.end();
        self.spend(&times.stages)?;
        done
    }

    pub(super) fn bits_per_weight(&self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.checkpoint.facts().parameters as f64
    }

    /// Reads a journal entry; `None` if it is missing or damaged.
    pub(super) fn saved<T: DeserializeOwned>(&self, entry: &str) -> Result<Option<T>, Error> {
        Ok(self.journal.get(entry)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Saves a journal entry. Returns the value as a resumed run reads it, so that both report the same bits of every
    /// number.
    pub(super) fn save<T: Serialize + DeserializeOwned>(&self, entry: &str, value: &T) -> Result<T, Error> {
        let failed = |source| Error::Serialise { what: "a journal entry", source };
        let bytes = serde_json::to_vec(value).map_err(failed)?;
        self.journal.put(entry, &bytes)?;
        serde_json::from_slice(&bytes).map_err(failed)
    }
}
