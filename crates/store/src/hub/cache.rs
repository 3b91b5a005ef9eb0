//! The cache that the Hub's tools share:
//!
//! ```text
//! models--ORG--REPO/blobs/HASH               the bytes, HASH.incomplete while they come
//! models--ORG--REPO/snapshots/COMMIT/PATH    links to them, by the names in the repository
//! models--ORG--REPO/honelm-checked.json      ours: the blobs whose hash was found right
//! models--ORG--REPO/refs/REVISION            the commit that a branch or tag was
//! .locks/models--ORG--REPO/HASH.lock         held by whoever fetches the blob
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use honelm_formats::hub_cache::{BLOBS, SNAPSHOTS, repository_folder};
use honelm_formats::{FormatError, open_file, open_no_follow, read_file, write_atomic};

use super::listing::{BlobId, is_commit};
use super::{ModelSpec, PullEvent, PullEvents, WantedFile, intact};
use crate::StoreError;

/// One repository in the cache.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryCache {
    folder: PathBuf,
    locks: PathBuf,
}

pub(crate) fn io_at(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    |source| StoreError::Io { path: path.to_owned(), source }
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

    /// Where the blob grows; stays when fetching it is interrupted.
    pub fn partial(&self, id: &BlobId) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", id.as_str()))
    }

    /// Bytes of the blob that an interrupted attempt left.
    pub fn partial_length(&self, id: &BlobId) -> u64 {
        fs::metadata(self.partial(id)).map_or(0, |m| m.len())
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join(SNAPSHOTS).join(commit)
    }

    /// Whether the bytes of a file are here and intact.
    pub fn has_blob(&self, file: &WantedFile) -> bool {
        self.is_intact(&self.blob(&file.blob), file)
    }

    /// Whether the cache has bytes of the right length for a file which are not its bytes.
    pub fn has_damaged_blob(&self, file: &WantedFile) -> bool {
        has_length(&self.blob(&file.blob), file.size) && !self.has_blob(file)
    }

    /// Whether a file is here under its name and intact.
    pub fn has_file(&self, commit: &str, file: &WantedFile) -> bool {
        self.is_intact(&self.snapshot(commit).join(&file.path), file)
    }

    fn is_intact(&self, path: &Path, file: &WantedFile) -> bool {
        // A file that cannot be read is fetched anew.
        has_length(path, file.size) && matches!(intact::damage(&self.folder, path, &file.blob), Ok(None))
    }

    /// Remembers that a blob has just been hashed.
    pub fn remember_intact(&self, id: &BlobId) {
        intact::remember(&self.folder, &self.blob(id));
    }

    /// Waits until nobody else fetches the blob; others wait until the result is dropped.
    pub fn lock(&self, id: &BlobId, events: PullEvents<'_>) -> Result<File, StoreError> {
        fs::create_dir_all(&self.locks).map_err(io_at(&self.locks))?;
        let path = self.locks.join(format!("{}.lock", id.as_str()));
        let file = open_no_follow(&path, OpenOptions::new().write(true).create(true).truncate(false))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                // Where the file system has no locks, two fetch the same file, and its hash tells whose is whole.
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

    /// Gives a blob its name in a revision: a link to it, or where the system makes none, a second name or a copy.
    pub fn link(&self, commit: &str, file: &WantedFile) -> Result<(), StoreError> {
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
        if symlink(Path::new(&relative), &name).is_ok() || fs::hard_link(&blob, &name).is_ok() {
            return Ok(());
        }
        write_atomic(&name, |to| {
            let mut from = open_file(&blob)?;
            io::copy(&mut from, to).map_err(io_at(&name))?;
            Ok(())
        })
    }

    /// The commit that a revision is here.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let path = self.folder.join("refs").join(revision);
        let text = String::from_utf8(read_file(&path, 256).ok()?).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit that a branch or tag is.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<(), StoreError> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(io_at(folder))?;
        write_atomic(&path, |file| {
            io::Write::write_all(file, commit.as_bytes()).map_err(|e| FormatError::io("write", path.display(), e))?;
            Ok::<(), FormatError>(())
        })?;
        Ok(())
    }

    /// Every file of a revision that is here whole, by its path in the repository, with its length.
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

/// Folders inside folders that are looked into.
const DEEPEST: usize = 8;

pub(super) fn collect(folder: &Path, prefix: &str, depth: usize, into: &mut Vec<(String, u64)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        // Through links: a dangling one is a file that is not here. Links to folders are not ours.
        match fs::metadata(entry.path()) {
            Ok(m) if m.is_file() => into.push((path, m.len())),
            Ok(_) if depth < DEEPEST && entry.file_type().is_ok_and(|t| t.is_dir()) => {
                collect(&entry.path(), &format!("{path}/"), depth + 1, into);
            }
            _ => {}
        }
    }
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
