//! Folders of unfinished work. A card marks them, and a lock admits one process at a time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use honelm_formats::{FormatError, LockFile, OutputGate, refuse_special, write_atomic};
use honelm_model::{Checkpoint, Origin};
use serde::{Deserialize, Serialize};

use crate::{Error, TextSource};

/// The file that marks a folder and names its job.
const CARD: &str = "job.json";
const LOCK: &str = "lock";
/// The number of attempts to make a folder that another process removes at the same time.
const ATTEMPTS: usize = 10;

/// The card of a job, written before the work begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCard {
    /// The model's name.
    pub model: String,
    /// A digest of the model's files.
    pub model_digest: String,
    /// A digest of everything that decides the result.
    pub key: String,
}

/// Returns a gate that protects the files that a job reads.
pub(crate) fn gate_of<'a>(
    checkpoint: &Checkpoint,
    texts: impl IntoIterator<Item = &'a TextSource>,
    replace: bool,
) -> OutputGate {
    let mut gate = OutputGate::new(replace);
    if let Origin::HuggingFace { dir } = checkpoint.origin() {
        gate = gate.with_input(dir);
    }
    let texts = texts.into_iter().filter_map(|text| match text {
        TextSource::File(path) => Some(path),
        TextSource::Shipped => None,
    });
    checkpoint.files().iter().chain(texts).fold(gate, |gate, path| gate.with_input(path))
}

/// A folder of unfinished work, locked for this process.
///
/// Dropping this value leaves work that can be resumed. If there is none, it removes the folder and the folders above
/// that were made for it.
#[derive(Debug)]
pub(crate) struct Work {
    folder: PathBuf,
    lock: Option<LockFile>,
    /// The folders that were made, innermost first.
    made: Vec<PathBuf>,
    /// `true` if the folder stays even without work in it.
    stays: bool,
}

impl Work {
    /// Claims `folder` and makes it if it does not exist. With `is_mark`, a folder of an earlier run stays, because it
    /// marks the folder around it.
    ///
    /// # Errors
    /// [`Error::Busy`], or a folder that holds anything but unfinished work.
    pub(crate) fn claim(folder: &Path, gate: &OutputGate, is_mark: bool) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            gate.work_folder(folder, &is_ours)?;
            // A link in the folder could lead writes elsewhere.
            for name in names(folder).unwrap_or_default() {
                refuse_special(&folder.join(name))?;
            }
            let made = make(folder)?;
            match LockFile::acquire(folder.join(LOCK)) {
                Ok(Some(lock)) => {
                    let stays = is_mark && made.is_empty();
                    return Ok(Self { folder: folder.to_owned(), lock: Some(lock), made, stays });
                }
                Ok(None) => break,
                Err(FormatError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    unmake(&made);
                    return Err(error.into());
                }
            }
        }
        Err(Error::Busy { path: folder.to_owned() })
    }

    /// Returns the path of a name in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the card of the job whose work the folder holds.
    pub(crate) fn card(&self) -> Option<JobCard> {
        card_in(&self.folder)
    }

    /// Writes the card of a new job.
    pub(crate) fn begin(&self, card: &JobCard) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(card).unwrap_or_default();
        let path = self.path(CARD);
        let failed = |error| FormatError::io("write", path.display(), error);
        Ok(write_atomic(&path, |file| file.write_all(&json).map_err(failed))?)
    }

    /// Resumes the work of `card`. Removes the work of any other job.
    pub(crate) fn take_up(&self, card: &JobCard) -> Result<(), Error> {
        if self.card().as_ref() != Some(card) {
            self.tidy(&[])?;
        }
        self.begin(card)
    }

    /// Removes all work but `keep`, the card and the lock.
    pub(crate) fn tidy(&self, keep: &[&str]) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        for entry in fs::read_dir(&self.folder).map_err(failed(&self.folder))? {
            let entry = entry.map_err(failed(&self.folder))?;
            let name = entry.file_name();
            if name != LOCK && name != CARD && !keep.iter().any(|kept| name == *kept) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Keeps the folder as a mark after the work is done.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
    }

    /// Removes the folder with its contents.
    pub(crate) fn remove(mut self) -> Result<(), Error> {
        self.stays = true;
        self.take_down()
    }

    fn take_down(&mut self) -> Result<(), Error> {
        self.tidy(&[])?;
        remove(&self.path(CARD))?;
        if let Some(lock) = self.lock.take() {
            lock.remove()?;
        }
        // Fails if another process has claimed the folder in the meantime, which is right.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.stays && !holds_work(&self.folder) && self.take_down().is_ok() {
            unmake(&self.made);
        }
    }
}

/// Returns `true` if the path is a folder, not a link, that holds unfinished work or nothing.
pub(crate) fn is_ours(folder: &Path) -> bool {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    is_folder && (is_marked(folder) || names(folder).is_some_and(|names| names.iter().all(|name| is_beginning(name))))
}

/// Returns `true` if the path is a folder, not a link, with the card of a job.
pub(crate) fn is_marked(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) && card_in(folder).is_some()
}

/// Removes a file, or a folder with its contents, if it exists. Of a link, removes the link.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

fn card_in(folder: &Path) -> Option<JobCard> {
    let path = folder.join(CARD);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
    let json = if is_file { honelm_formats::read_json(&path).ok()? } else { None };
    serde_json::from_value(json?).ok()
}

/// Returns `true` for a file that a process leaves if it ends before it has written its card.
fn is_beginning(name: &str) -> bool {
    let partial = name.strip_prefix('.').and_then(|rest| rest.strip_prefix(CARD));
    name == LOCK || partial.is_some_and(|rest| rest.ends_with(".partial"))
}

fn names(folder: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(folder).ok()?;
    entries.map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

/// Returns `true` if there is a file besides card and lock, or the folder cannot be read.
fn holds_work(folder: &Path) -> bool {
    names(folder).is_none_or(|names| {
        let mut others = names.iter().filter(|name| *name != CARD && !is_beginning(name));
        others.any(|name| {
            let path = folder.join(name);
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            !is_folder || holds_work(&path)
        })
    })
}

/// Makes a folder and those above it. Returns those that did not exist, the innermost first.
fn make(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err();
    let missing: Vec<PathBuf> = folder.ancestors().take_while(is_missing).map(Path::to_owned).collect();
    let made = fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source });
    if made.is_err() {
        unmake(&missing);
    }
    made.map(|()| missing)
}

/// Removes folders that were made, if they are empty.
fn unmake(made: &[PathBuf]) {
    for folder in made {
        // A folder that holds something stays, and so do the folders around it.
        if fs::remove_dir(folder).is_err() && folder.exists() {
            break;
        }
    }
}
