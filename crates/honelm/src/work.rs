//! Folders of unfinished work: marked as ours, and worked in by one run at a time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use honelm_formats::{FormatError, LockFile, OutputGate, refuse_special, write_atomic};
use honelm_model::{Checkpoint, Origin};
use serde::{Deserialize, Serialize};

use crate::{Error, TextSource};

/// Says whose work a folder holds, and marks it as ours.
const CARD: &str = "job.json";
const LOCK: &str = "lock";
/// How often a folder is made again that the run before removes at the same time.
const ATTEMPTS: usize = 10;

/// What is written down of a job before it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCard {
    /// The model's name.
    pub model: String,
    /// Digest of the model's files.
    pub model_digest: String,
    /// Digest of everything that decides the result.
    pub key: String,
}

/// A gate for the outputs of a job that reads these files.
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

/// A folder of unfinished work that no other run works in meanwhile.
///
/// Work that could be resumed outlives a run that fails. Where there is none, dropping this removes the folder and
/// those above it that were made for it.
#[derive(Debug)]
pub(crate) struct Work {
    folder: PathBuf,
    lock: Option<LockFile>,
    /// The folders that were made, innermost first.
    made: Vec<PathBuf>,
    /// Whether the folder stays even where it holds no work.
    stays: bool,
}

impl Work {
    /// Claims `folder`, which is made where it is not there. One that holds anything but our work is refused. With
    /// `is_mark`, one that an earlier run left stays for what it says of the folder around it.
    pub(crate) fn claim(folder: &Path, gate: &OutputGate, is_mark: bool) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            gate.work_folder(folder, &is_ours)?;
            // Nor may a link in it lead what is written elsewhere.
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

    /// A name in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The job whose work the folder holds.
    pub(crate) fn card(&self) -> Option<JobCard> {
        card_in(&self.folder)
    }

    /// Says that the folder holds the work of `card` from now on.
    pub(crate) fn begin(&self, card: &JobCard) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(card).unwrap_or_default();
        let path = self.path(CARD);
        let failed = |error| FormatError::io("write", path.display(), error);
        Ok(write_atomic(&path, |file| file.write_all(&json).map_err(failed))?)
    }

    /// Goes on with the work of `card`; that of any other job is removed.
    pub(crate) fn take_up(&self, card: &JobCard) -> Result<(), Error> {
        if self.card().as_ref() != Some(card) {
            self.tidy(&[])?;
        }
        self.begin(card)
    }

    /// Removes all work but `keep`; the card and the lock stay.
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

    /// Keeps the folder as a mark after its work is done.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
    }

    /// Removes the folder with all that is in it.
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
        // Another run may have claimed the folder just now: then it is no longer ours to remove.
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

/// Whether a folder is a real one and holds our work, or nothing that is not ours.
pub(crate) fn is_ours(folder: &Path) -> bool {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    is_folder && (is_marked(folder) || names(folder).is_some_and(|names| names.iter().all(|name| is_beginning(name))))
}

/// Whether a folder is a real one with a job's card in it.
pub(crate) fn is_marked(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) && card_in(folder).is_some()
}

/// Removes a file, or a folder with all that is in it, where it is there; of a link, the link.
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

/// Whether a run leaves a file of this name that ended before its card was written.
fn is_beginning(name: &str) -> bool {
    let partial = name.strip_prefix('.').and_then(|rest| rest.strip_prefix(CARD));
    name == LOCK || partial.is_some_and(|rest| rest.ends_with(".partial"))
}

fn names(folder: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(folder).ok()?;
    entries.map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

/// Whether there is a file besides card and lock. What cannot be read is taken for one.
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

/// Makes a folder and those above it; gives those that were not there, innermost first.
fn make(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err();
    let missing: Vec<PathBuf> = folder.ancestors().take_while(is_missing).map(Path::to_owned).collect();
    let made = fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source });
    if made.is_err() {
        unmake(&missing);
    }
    made.map(|()| missing)
}

/// Removes folders that were made, as far as they are empty.
fn unmake(made: &[PathBuf]) {
    for folder in made {
        // One that holds something by now stays, and so do those around it.
        if fs::remove_dir(folder).is_err() && folder.exists() {
            break;
        }
    }
}
