//! The output folder of a job.

use std::path::{Path, PathBuf};

use honelm_formats::{OutputGate, refuse_special, remove_output};

use crate::Error;
use crate::work::{JobCard, Work, is_marked, is_ours};

/// An output folder that is locked for this process.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    work: Work,
}

/// The treatment of an earlier run's work and results in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Earlier {
    /// The same job is resumed; any other is an error.
    Resumed,
    /// Jobs on the same model are replaced; any other is an error.
    Restarted,
    /// Every job is replaced.
    Replaced,
}

/// The name of the work folder in an output folder.
pub const WORK: &str = ".work";

/// Checks that `root` is new, empty, or an earlier run's, which has a card in its work folder.
pub fn check(root: &Path, gate: &OutputGate) -> Result<(), Error> {
    gate.work_folder(root, &|root| {
        let work = root.join(WORK);
        let alone = || std::fs::read_dir(root).is_ok_and(|entries| entries.count() == 1);
        is_marked(&work) || is_ours(&work) && alone()
    })?;
    for name in super::results() {
        refuse_special(&root.join(name))?;
    }
    Ok(())
}

impl Folder {
    /// Claims `root` for the job of `card`. Files that are no results stay untouched.
    pub fn claim(root: &Path, gate: &OutputGate, card: &JobCard, earlier: Earlier) -> Result<Self, Error> {
        check(root, gate)?;
        let work = Work::claim(&root.join(WORK), gate, true).map_err(|error| match error {
            Error::Busy { .. } => Error::Busy { path: root.to_owned() },
            other => other,
        })?;
        match work.card() {
            Some(old) if old.model_digest != card.model_digest && earlier < Earlier::Replaced => {
                return Err(Error::OtherModel { path: root.to_owned(), found: old.model });
            }
            Some(old) if old.key != card.key && earlier < Earlier::Restarted => {
                return Err(Error::OtherOptions { path: root.to_owned() });
            }
            _ => {}
        }
        let folder = Self { root: root.to_owned(), work };
        if earlier > Earlier::Resumed {
            folder.clear()?;
        }
        folder.work.begin(card)?;
        Ok(folder)
    }

    /// Returns the path of a result.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the path of unfinished work.
    pub fn work(&self, name: &str) -> PathBuf {
        self.work.path(name)
    }

    /// Removes unfinished work, if it exists.
    pub fn remove(&self, path: &Path) -> Result<(), Error> {
        crate::work::remove(path)
    }

    /// Removes the results and the work of an earlier run. The lock and all other files stay.
    fn clear(&self) -> Result<(), Error> {
        for name in super::results() {
            remove_output(&self.path(name))?;
        }
        self.tidy(&[])
    }

    /// Removes unfinished work except `keep`, the job's card and the lock.
    pub fn tidy(&self, keep: &[&str]) -> Result<(), Error> {
        self.work.tidy(keep)
    }

    /// Keeps the folder after the job is done.
    pub fn finish(&mut self) {
        self.work.stay();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn card(model: &str, key: &str) -> JobCard {
        JobCard { model: model.to_owned(), model_digest: format!("digest of {model}"), key: key.to_owned() }
    }

    fn claim(root: &Path, card: &JobCard, earlier: Earlier) -> Result<Folder, Error> {
        Folder::claim(root, &OutputGate::new(false), card, earlier)
    }

    #[test]
    fn only_the_same_job_resumes_work() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("out");
        let folder = claim(&root, &card("a", "1"), Earlier::Resumed).expect("new");
        fs::write(folder.work("base.bin"), "x").expect("written");
        drop(folder);
        drop(claim(&root, &card("a", "1"), Earlier::Resumed).expect("again"));
        let code = |r: Result<Folder, Error>| r.expect_err("refused").code();
        assert_eq!(code(claim(&root, &card("b", "1"), Earlier::Restarted)), "folder-of-another-model");
        assert_eq!(code(claim(&root, &card("a", "2"), Earlier::Resumed)), "folder-of-other-options");
        assert!(root.join(".work/base.bin").exists());
        let folder = claim(&root, &card("a", "2"), Earlier::Restarted).expect("restarted");
        assert!(!folder.work("base.bin").exists());
        drop(folder);
        drop(claim(&root, &card("b", "1"), Earlier::Replaced).expect("replaced"));
    }

    #[test]
    fn a_job_that_fails_before_it_saves_anything_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let claimed = |root: &str| claim(&dir.path().join(root), &card("a", "1"), Earlier::Resumed).expect("new");
        let folder = claimed("new/out");
        fs::create_dir(folder.work("journal")).expect("a folder");
        drop(folder);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
        // A finished job leaves its card.
        let mut folder = claimed("new/out");
        folder.finish();
        drop(folder);
        drop(claimed("new/out"));
        assert!(dir.path().join("new/out/.work/job.json").exists());
    }

    #[test]
    fn a_folder_admits_one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = claim(dir.path(), &card("a", "1"), Earlier::Resumed).expect("new");
        let refused = claim(dir.path(), &card("a", "1"), Earlier::Replaced).expect_err("refused");
        assert_eq!(refused.code(), "folder-busy");
        drop(folder);
        drop(claim(dir.path(), &card("a", "1"), Earlier::Resumed).expect("free again"));
    }

    #[test]
    fn restart_clears_results_and_work_but_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = claim(dir.path(), &card("a", "1"), Earlier::Resumed).expect("new");
        for path in [folder.path("model.gguf"), folder.path("notes.txt"), folder.work("base.bin")] {
            fs::write(path, "x").expect("written");
        }
        drop(folder);
        let folder = claim(dir.path(), &card("a", "1"), Earlier::Restarted).expect("restarted");
        assert!(!folder.path("model.gguf").exists() && !folder.work("base.bin").exists());
        assert!(folder.path("notes.txt").exists());
    }

    #[test]
    fn a_folder_without_a_card_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("model.gguf"), "theirs").expect("written");
        let refused = claim(dir.path(), &card("a", "1"), Earlier::Replaced).expect_err("refused");
        assert_eq!(refused.code(), "folder-not-ours");
    }
}
