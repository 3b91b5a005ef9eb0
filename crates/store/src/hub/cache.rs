//! The cache that the Hub's tools share:
//!
//! ```text
//! models--ORG--REPO/blobs/HASH               the contents of a file; HASH.incomplete while it is fetched
//! models--ORG--REPO/snapshots/COMMIT/PATH    a link to the blob, or the file itself, by its name in the repository
//! models--ORG--REPO/refs/REVISION            the commit of a branch or tag
//! models--ORG--REPO/honelm-checked.json      only of HoneLM: the blobs whose hashes have been checked
//! .locks/models--ORG--REPO/HASH.lock         the lock of the program that fetches the blob
//! ```
//!
//! Without symbolic links (`HF_HUB_DISABLE_SYMLINKS`, or a file system that has none) a new blob is moved into the
//! snapshot, and one that was there before is copied, as `huggingface_hub` does.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use honelm_formats::hub_cache::{BLOBS, SNAPSHOTS, repository_folder};
use honelm_formats::{FormatError, open_file, open_no_follow, read_file, write_atomic};

use super::files::{collect, io_at};
use super::listing::{BlobId, is_commit};
use super::{ModelSpec, PullEvent, PullEvents, WantedFile, intact};
use crate::StoreError;

/// The folder of the commits of branches and tags.
pub(super) const REFS: &str = "refs";

/// One repository in the cache.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepositoryCache {
    pub fn new(cache: &Path, spec: &ModelSpec) -> Self {
        let name = repository_folder(spec.org(), spec.repo());
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    pub fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    pub fn blobs(&self) -> PathBuf {
        self.folder.join(BLOBS)
    }

    pub fn blob(&self, id: &BlobId) -> PathBuf {
        self.blobs().join(id.as_str())
    }

    /// Returns the path of the incomplete blob, which is kept when a fetch is interrupted.
    pub fn partial(&self, id: &BlobId) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", id.as_str()))
    }

    /// Returns the number of bytes that an interrupted fetch left.
    pub fn partial_length(&self, id: &BlobId) -> u64 {
        fs::metadata(self.partial(id)).map_or(0, |m| m.len())
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join(SNAPSHOTS).join(commit)
    }

    /// Returns `true` if the cache has an intact blob of the file.
    pub fn has_blob(&self, file: &WantedFile) -> bool {
        self.is_intact(&self.blob(&file.blob), file)
    }

    /// Returns `true` if the cache has a blob of the file with the right length and the wrong hash.
    pub fn has_damaged_blob(&self, file: &WantedFile) -> bool {
        has_length(&self.blob(&file.blob), file.size) && !self.has_blob(file)
    }

    /// Returns `true` if the snapshot has the file, intact.
    pub fn has_file(&self, commit: &str, file: &WantedFile) -> bool {
        self.is_intact(&self.snapshot(commit).join(&file.path), file)
    }

    fn is_intact(&self, path: &Path, file: &WantedFile) -> bool {
        // A file that cannot be read is fetched again.
        has_length(path, file.size) && matches!(intact::damage(&self.folder, path, &file.blob), Ok(None))
    }

    /// Records that a blob has just been checked.
    pub fn remember_intact(&self, id: &BlobId) {
        intact::remember(&self.folder, &self.blob(id));
    }

    /// Waits until no other program fetches the blob, and locks it until the result is dropped.
    pub fn lock(&self, id: &BlobId, events: PullEvents<'_>) -> Result<File, StoreError> {
        fs::create_dir_all(&self.locks).map_err(io_at(&self.locks))?;
        let path = self.locks.join(format!("{}.lock", id.as_str()));
        let file = open_no_follow(&path, OpenOptions::new().write(true).create(true).truncate(false))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                // On a file system without locks two programs may fetch the same file; the hash still protects it.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            }
            if !told {
                events(&PullEvent::Warning("another program is fetching the same file; waiting for it"));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(200));
            if !events(&PullEvent::Waiting) {
                return Err(StoreError::Interrupted);
            }
        }
    }

    /// Puts a blob into the snapshot of a commit under the file's name: as a symbolic link if there can be one, else as
    /// the file itself. `is_new` is `true` if no other snapshot can refer to the blob.
    pub fn place(&self, commit: &str, file: &WantedFile, symlinks: bool, is_new: bool) -> Result<(), StoreError> {
        if self.has_file(commit, file) {
            return Ok(());
        }
        let name = self.snapshot(commit).join(&file.path);
        let folder = name.parent().unwrap_or(&name);
        fs::create_dir_all(folder).map_err(io_at(folder))?;
        match fs::remove_file(&name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_at(&name)(e)),
            _ => {}
        }
        let blob = self.blob(&file.blob);
        let up = "../".repeat(2 + file.path.matches('/').count());
        let relative = format!("{up}{BLOBS}/{}", file.blob.as_str());
        if symlinks && symlink(Path::new(&relative), &name).is_ok() {
            return Ok(());
        }
        if is_new {
            fs::rename(&blob, &name).map_err(io_at(&name))?;
        } else {
            write_atomic(&name, |to| {
                let mut from = open_file(&blob)?;
                io::copy(&mut from, to).map_err(io_at(&name))?;
                Ok::<(), StoreError>(())
            })?;
        }
        intact::remember(&self.folder, &name);
        Ok(())
    }

    /// Returns the commit of a revision, as it was when the revision was last fetched.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let path = self.folder.join(REFS).join(revision);
        let text = String::from_utf8(read_file(&path, 256).ok()?).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Records the commit of a branch or tag.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<(), StoreError> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join(REFS).join(revision);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(io_at(folder))?;
        write_atomic(&path, |file| {
            io::Write::write_all(file, commit.as_bytes()).map_err(|e| FormatError::io("write", path.display(), e))?;
            Ok::<(), FormatError>(())
        })?;
        Ok(())
    }

    /// Returns the complete files of a commit: their paths in the repository and their lengths.
    pub fn files(&self, commit: &str) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        collect(&self.snapshot(commit), "", 0, &mut out);
        out.sort();
        out
    }
}

fn has_length(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == size)
}

#[cfg(unix)]
fn symlink(target: &Path, name: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, name)
}

#[cfg(windows)]
fn symlink(target: &Path, name: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target.to_string_lossy().replace('/', "\\"), name)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
