//! The output folder: whose work it holds, and who works in it.

use std::fs;
use std::path::{Path, PathBuf};

use honelm_formats::write_atomic;
use serde::{Deserialize, Serialize};

use crate::Error;

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

/// An output folder that this process may write to.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    lock: PathBuf,
}

const CARD: &str = "job.json";
const WORK: &str = ".work";

impl Folder {
    /// Claims `root` for the job of `card`. Another model's work is never touched; with `restart` work on the same
    /// model starts afresh, without it other options are refused.
    pub fn claim(root: &Path, card: &JobCard, restart: bool) -> Result<Self, Error> {
        let io = |source| Error::Io { path: root.to_owned(), source };
        let work = root.join(WORK);
        match read_card(&work.join(CARD))? {
            Some(old) if old.model_digest != card.model_digest => {
                return Err(Error::OtherModel { path: root.to_owned(), found: old.model });
            }
            Some(old) if old.key != card.key && !restart => {
                return Err(Error::OtherOptions { path: root.to_owned() });
            }
            Some(_) => {}
            None => refuse_foreign(root)?,
        }
        fs::create_dir_all(&work).map_err(io)?;
        let lock = lock(root, &work)?;
        let folder = Self { root: root.to_owned(), lock };
        if restart {
            folder.clear()?;
        }
        let json = serde_json::to_vec_pretty(card).unwrap_or_default();
        let path = work.join(CARD);
        write_atomic(&path, |file| {
            let failed = |e| honelm_formats::FormatError::io("write", path.display(), e);
            std::io::Write::write_all(file, &json).map_err(failed)
        })?;
        Ok(folder)
    }

    /// A final name in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A name for unfinished work.
    pub fn work(&self, name: &str) -> PathBuf {
        self.root.join(WORK).join(name)
    }

    /// Removes a result or work, if it is there.
    pub fn remove(&self, path: &Path) -> Result<(), Error> {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Io { path: path.to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    /// Removes results and work of an earlier run; the lock and other people's files stay.
    fn clear(&self) -> Result<(), Error> {
        for name in super::RESULTS {
            self.remove(&self.path(name))?;
        }
        self.tidy(&[])
    }

    /// Removes unfinished work except `keep`, the job's card and the lock.
    pub fn tidy(&self, keep: &[&str]) -> Result<(), Error> {
        let work = self.root.join(WORK);
        let io = |source| Error::Io { path: work.clone(), source };
        for entry in fs::read_dir(&work).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let kept = entry.path() == self.lock || name == CARD || keep.iter().any(|k| name == *k);
            if !kept {
                self.remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
    }
}

fn read_card(path: &Path) -> Result<Option<JobCard>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// A folder without our card may hold nothing under the names that we would write.
fn refuse_foreign(root: &Path) -> Result<(), Error> {
    if root.is_file() {
        return Err(Error::NotOurs { path: root.to_owned(), found: "a file".to_owned() });
    }
    match super::RESULTS.iter().find(|name| root.join(name).exists()) {
        Some(found) => Err(Error::NotOurs { path: root.to_owned(), found: (*found).to_owned() }),
        None => Ok(()),
    }
}

/// Writes this process's number into the lock file, which must not be a live process's.
fn lock(root: &Path, work: &Path) -> Result<PathBuf, Error> {
    let path = work.join("lock");
    if let Ok(text) = fs::read_to_string(&path)
        && let Ok(process) = text.trim().parse::<u32>()
        && process != std::process::id()
        && is_alive(process)
    {
        return Err(Error::Busy { path: root.to_owned(), process });
    }
    fs::write(&path, std::process::id().to_string()).map_err(|source| Error::Io { path: path.clone(), source })?;
    Ok(path)
}

/// Whether a process runs, where the platform tells; a lock is never held by a process that cannot be seen.
fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).join("exe").read_link().is_ok_and(|exe| {
        let name = |p: &Path| p.file_name().map(std::ffi::OsStr::to_owned);
        std::env::current_exe().is_ok_and(|own| name(&own) == name(&exe))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(model: &str, key: &str) -> JobCard {
        JobCard { model: model.to_owned(), model_digest: format!("digest of {model}"), key: key.to_owned() }
    }

    #[test]
    fn work_goes_on_for_the_same_job_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("out");
        drop(Folder::claim(&root, &card("a", "1"), false).expect("new"));
        drop(Folder::claim(&root, &card("a", "1"), false).expect("again"));
        let code = |r: Result<Folder, Error>| r.expect_err("refused").code();
        assert_eq!(code(Folder::claim(&root, &card("b", "1"), true)), "folder-of-another-model");
        assert_eq!(code(Folder::claim(&root, &card("a", "2"), false)), "folder-of-other-options");
        drop(Folder::claim(&root, &card("a", "2"), true).expect("restarted"));
    }

    #[test]
    fn restart_clears_results_and_work_but_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::claim(dir.path(), &card("a", "1"), false).expect("new");
        for path in [folder.path("model.gguf"), folder.path("notes.txt"), folder.work("base.bin")] {
            fs::write(path, "x").expect("written");
        }
        drop(folder);
        let folder = Folder::claim(dir.path(), &card("a", "1"), true).expect("restarted");
        assert!(!folder.path("model.gguf").exists() && !folder.work("base.bin").exists());
        assert!(folder.path("notes.txt").exists());
    }

    #[test]
    fn folders_of_other_people_are_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("model.gguf"), "theirs").expect("written");
        let refused = Folder::claim(dir.path(), &card("a", "1"), true).expect_err("refused");
        assert_eq!(refused.code(), "folder-not-ours");
    }
}
