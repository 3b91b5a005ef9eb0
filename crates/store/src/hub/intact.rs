//! Checks of the cache's files against their hashes, which find blobs that were damaged on the disk.
//!
//! A blob is hashed when it is first used. `honelm-checked.json` in the repository's folder records the intact blobs with
//! their lengths and modification times, and a blob is hashed again only when one of these differs. The Hub's own tools
//! read only `blobs`, `refs` and `snapshots`, and delete the file together with the repository. If the cache is
//! read-only, nothing is recorded, and blobs are hashed at every use.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use honelm_formats::hub_cache::{repository_name, snapshot_name};
use honelm_formats::{FileStamp, FormatError, write_atomic};
use serde::{Deserialize, Serialize};

use super::WantedFile;
use super::files::{BlobHash, collect, io_at};
use super::listing::BlobId;
use super::parts::{part, without_ending};
use super::select::{is_companion, weights};
use crate::StoreError;

/// The name of the record in a repository's folder.
const MEMORY: &str = "honelm-checked.json";
/// The files by which users may name the folder that contains them.
const OF_FOLDER: [&str; 3] = ["config.json", "model.safetensors", "model.safetensors.index.json"];

/// Checks the files of the model at `path`: a snapshot's folder, or a GGUF file with all its parts. Does nothing for files
/// that are not blobs of the cache, since their hashes are unknown.
///
/// # Errors
/// [`StoreError::DamagedBlob`].
pub fn check_model(path: &Path) -> Result<(), StoreError> {
    let (folder, name) = match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        _ if path.is_dir() => (path, None),
        (Some(folder), Some(name)) if OF_FOLDER.contains(&name) => (folder, None),
        (Some(folder), Some(name)) => (folder, Some(name)),
        _ => return Ok(()),
    };
    let names = match name {
        Some(name) => parts_of(folder, name),
        None if folder.canonicalize().is_ok_and(|whole| snapshot_name(&whole).is_some()) => files_of(folder),
        None => return Ok(()),
    };
    for name in names {
        // The files of a snapshot are usually links to blobs.
        let Ok(blob) = folder.join(&name).canonicalize() else { continue };
        let Some((repository, id)) = blob_at(&blob) else { continue };
        if let Some(found) = damage(repository, &blob, &id)? {
            let repo = repository.file_name().and_then(|name| name.to_str()).and_then(repository_name);
            let (repo, expected) = (repo.unwrap_or_default(), id.as_str().to_owned());
            return Err(StoreError::DamagedBlob { path: folder.join(name), repo, expected, found });
        }
    }
    Ok(())
}

/// Returns the weights of a snapshot's folder and the files that belong to them.
fn files_of(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    collect(folder, "", 0, &mut files);
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let weights = weights(&paths);
    let wanted = paths.iter().filter(|path| weights.contains(path) || is_companion(path));
    wanted.map(|path| (*path).to_owned()).collect()
}

/// Returns all parts of the model that `name` is a part of.
fn parts_of(folder: &Path, name: &str) -> Vec<String> {
    let own = without_ending(name, ".gguf").map(part).filter(|part| part.count > 1);
    let Some(own) = own else { return vec![name.to_owned()] };
    let is_part = |other: &String| {
        let other = without_ending(other, ".gguf").map(part);
        other.is_some_and(|other| (other.prefix, other.count) == (own.prefix, own.count))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_part).collect()
}

/// Returns the repository's folder and the id of a blob.
fn blob_at(path: &Path) -> Option<(&Path, BlobId)> {
    let blobs = path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "blobs"))?;
    let repository = blobs.parent()?;
    repository_name(repository.file_name()?.to_str()?)?;
    let name = path.file_name()?.to_str()?;
    Some((repository, BlobId::parse(name).filter(|id| id.as_str() == name)?))
}

/// Returns the hash of a file if it is not `id`, and `None` if the file is intact.
pub(crate) fn damage(repository: &Path, file: &Path, id: &BlobId) -> Result<Option<String>, StoreError> {
    let now = Checked::of(file)?;
    if now.is_some() && Memory::of(repository).get(file) == now {
        return Ok(None);
    }
    let found = hash(file, id)?;
    if found != id.as_str() {
        return Ok(Some(found));
    }
    // A file that changed while it was hashed is not recorded.
    if Checked::of(file)? == now {
        remember(repository, file);
    }
    Ok(None)
}

/// Records that a file is intact. If that fails, the file will be hashed again.
pub(crate) fn remember(repository: &Path, file: &Path) {
    let (mut memory, Ok(Some(now))) = (Memory::of(repository), Checked::of(file)) else { return };
    memory.set(file, now);
}

fn hash(path: &Path, id: &BlobId) -> Result<String, StoreError> {
    let mut file = File::open(path).map_err(io_at(path))?;
    let size = file.metadata().map_err(io_at(path))?.len();
    let mut hash = BlobHash::new(&WantedFile { path: String::new(), size, blob: id.clone() });
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hash.hex()),
            Ok(n) => hash.update(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io_at(path)(e)),
        }
    }
}

/// The state of a file when it was found intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Checked {
    size: u64,
    /// The modification time in nanoseconds since 1970.
    modified_ns: u64,
}

impl Checked {
    /// Returns the current state of a file; `None` if the file system keeps no times.
    fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        let stamp = FileStamp::of(path)?;
        let since = stamp.modified().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Ok(modified_ns.map(|modified_ns| Self { size: stamp.len(), modified_ns }))
    }
}

/// The record of a repository's intact files, by their paths in its folder.
struct Memory {
    path: PathBuf,
    repository: PathBuf,
    checked: BTreeMap<String, Checked>,
}

impl Memory {
    fn of(repository: &Path) -> Self {
        let path = repository.join(MEMORY);
        // A lost or damaged record only costs time.
        let checked = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let repository = repository.canonicalize().unwrap_or_else(|_| repository.to_owned());
        Self { path, repository, checked }
    }

    /// Returns the key of a file, which is that of its blob for every link to it.
    fn key(&self, file: &Path) -> Option<String> {
        let file = file.canonicalize().ok()?;
        Some(file.strip_prefix(&self.repository).ok()?.to_str()?.replace('\\', "/"))
    }

    fn get(&self, file: &Path) -> Option<Checked> {
        self.checked.get(&self.key(file)?).copied()
    }

    fn set(&mut self, file: &Path, now: Checked) {
        let Some(key) = self.key(file) else { return };
        self.checked.insert(key, now);
        self.checked.retain(|key, _| self.repository.join(key).is_file());
        let Ok(json) = serde_json::to_vec_pretty(&self.checked) else { return };
        // Failure is allowed; see `remember`.
        drop(write_atomic(&self.path, |out| {
            out.write_all(&json).map_err(|e| FormatError::io("write", self.path.display(), e))
        }));
    }
}
