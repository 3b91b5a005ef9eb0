use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use honelm_chunks::{seal, unseal};
use honelm_formats::AtomicFile;

use crate::StoreError;

/// The saved work of a long job, from which a run that was killed resumes.
///
/// A journal is a folder with one file per entry. Entries are written atomically and begin with a hash of the job's key,
/// the entry's name and its contents, which is checked at every read. [`Journal::get`] treats entries that are damaged
/// or belong to another job as absent; [`Journal::require`] refuses them.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
    key: String,
}

impl Journal {
    /// Opens the journal in `dir`, which the first entry creates. `key` must depend on everything that determines the job's
    /// result: the hashes of model and texts, the options and the version.
    #[must_use]
    pub fn new(dir: &Path, key: &str) -> Self {
        Self { dir: dir.to_owned(), key: key.to_owned() }
    }

    /// Returns the folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the entry `name`; `None` if it is absent, damaged or belongs to another job.
    ///
    /// # Errors
    /// [`StoreError::Name`], I/O errors.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        Ok(unseal(&self.key, name, &bytes).map(<[u8]>::to_vec))
    }

    /// Returns the entry `name`, which must have been read or written before.
    ///
    /// # Errors
    /// [`StoreError::LostEntry`] if it is absent, damaged or belongs to another job; as [`Journal::get`].
    pub fn require(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let lost = || StoreError::LostEntry { path: self.dir.join(name) };
        self.get(name)?.ok_or_else(lost)
    }

    /// Writes an entry, which survives a crash once this returns.
    ///
    /// # Errors
    /// [`StoreError::Name`], I/O errors.
    pub fn put(&self, name: &str, contents: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name)?;
        fs::create_dir_all(&self.dir).map_err(|source| StoreError::Io { path: self.dir.clone(), source })?;
        let mut file = AtomicFile::create(&path)?;
        let sealed = seal(&self.key, name, contents);
        file.write_all(&sealed).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        file.commit()?;
        Ok(())
    }

    /// Removes the journal with all entries.
    ///
    /// # Errors
    /// I/O errors; it is not an error if there is no journal.
    pub fn clear(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(&self.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Io { path: self.dir.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(StoreError::Name(name.to_owned()));
        }
        Ok(self.dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_absent_ones_do_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(&dir.path().join("work"), "key");
        assert_eq!(journal.get("a").expect("readable"), None);
        journal.put("a", b"one").expect("written");
        journal.put("a", b"two").expect("written again");
        assert_eq!(journal.get("a").expect("readable").as_deref(), Some(&b"two"[..]));
        journal.clear().expect("cleared");
        journal.clear().expect("cleared twice");
        assert_eq!(journal.get("a").expect("readable"), None);
    }

    #[test]
    fn damaged_foreign_and_renamed_entries_count_as_absent() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(dir.path(), "key");
        journal.put("a", b"contents").expect("written");
        assert_eq!(Journal::new(dir.path(), "other key").get("a").expect("readable"), None);
        fs::copy(dir.path().join("a"), dir.path().join("b")).expect("copied");
        assert_eq!(journal.get("b").expect("readable"), None);
        let whole = fs::read(dir.path().join("a")).expect("read");
        for cut in [0, 5, 70, whole.len() - 1] {
            fs::write(dir.path().join("a"), &whole[..cut]).expect("cut");
            assert_eq!(journal.get("a").expect("readable"), None, "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(dir.path().join("a"), flipped).expect("flipped");
            assert_eq!(journal.get("a").expect("readable"), None, "flipped at {at}");
        }
    }

    #[test]
    fn a_required_entry_is_never_silently_absent() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(dir.path(), "key");
        journal.put("a", b"contents").expect("written");
        assert_eq!(journal.require("a").expect("there"), b"contents");
        let lost = |journal: &Journal| journal.require("a").expect_err("lost").code();
        assert_eq!(lost(&Journal::new(dir.path(), "other key")), "kept-work-lost");
        fs::write(dir.path().join("a"), b"damaged").expect("written");
        assert_eq!(lost(&journal), "kept-work-lost");
        fs::remove_file(dir.path().join("a")).expect("removed");
        assert_eq!(lost(&journal), "kept-work-lost");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let journal = Journal::new(Path::new("/nowhere"), "key");
        for name in ["", "..", "../a", "a/b", ".hidden", "a\\b"] {
            assert!(matches!(journal.put(name, b""), Err(StoreError::Name(_))), "{name}");
        }
    }
}
