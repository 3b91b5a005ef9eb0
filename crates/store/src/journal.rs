use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use honelm_formats::AtomicFile;

use crate::{Digest, StoreError};

const MAGIC: &[u8; 8] = b"honelmj1";
const HASH: usize = 64;

/// Finished pieces of a long job, so that a killed run goes on where it stopped.
///
/// A folder with one file an entry, written whole or not at all, each beginning with the hash of the job's key, its
/// own name and its contents. The hash is checked whenever an entry is read. To [`Journal::get`], what was damaged or
/// belongs to another job is as good as absent; where an entry has to be there, [`Journal::require`] refuses it.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
    key: String,
}

impl Journal {
    /// Opens the journal in `dir`, made when the first entry is. `key` stands for everything that decides the job's
    /// result: hashes of model, texts, options and version.
    #[must_use]
    pub fn new(dir: &Path, key: &str) -> Self {
        Self { dir: dir.to_owned(), key: key.to_owned() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of that name, if it is there and intact.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let head = MAGIC.len() + HASH;
        if bytes.len() < head || &bytes[..MAGIC.len()] != MAGIC {
            return Ok(None);
        }
        let contents = &bytes[head..];
        let intact = bytes[MAGIC.len()..head] == *self.seal(name, contents).as_bytes();
        Ok(intact.then(|| contents.to_vec()))
    }

    /// The entry of that name, which was found or kept before.
    ///
    /// # Errors
    /// [`StoreError::LostEntry`] where it is not there any more, was damaged, or belongs to another job.
    pub fn require(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let lost = || StoreError::LostEntry { path: self.dir.join(name) };
        self.get(name)?.ok_or_else(lost)
    }

    /// Keeps an entry; once this returns it survives a crash.
    pub fn put(&self, name: &str, contents: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name)?;
        fs::create_dir_all(&self.dir).map_err(|source| StoreError::Io { path: self.dir.clone(), source })?;
        let mut file = AtomicFile::create(&path)?;
        let at = |source| StoreError::Io { path: path.clone(), source };
        file.write_all(MAGIC).map_err(at)?;
        file.write_all(self.seal(name, contents).as_bytes()).map_err(at)?;
        file.write_all(contents).map_err(at)?;
        file.commit()?;
        Ok(())
    }

    /// Removes the whole journal.
    pub fn clear(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(&self.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Io { path: self.dir.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn seal(&self, name: &str, contents: &[u8]) -> String {
        Digest::default().with(&self.key).with(name).with(contents).hex()
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
    fn damaged_foreign_and_renamed_entries_are_as_good_as_absent() {
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
    fn an_entry_that_has_to_be_there_is_never_silently_absent() {
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
    fn refuses_names_that_leave_the_folder() {
        let journal = Journal::new(Path::new("/nowhere"), "key");
        for name in ["", "..", "../a", "a/b", ".hidden", "a\\b"] {
            assert!(matches!(journal.put(name, b""), Err(StoreError::Name(_))), "{name}");
        }
    }
}
