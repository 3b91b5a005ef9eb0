//! Files of the cache: their hashes, their lists and their errors.

use std::path::Path;
use std::{fs, io};

use honelm_chunks::hex;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::WantedFile;
use super::listing::BlobId;
use crate::StoreError;

/// Returns the conversion of an I/O error at `path`.
pub(crate) fn io_at(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    |source| StoreError::Io { path: path.to_owned(), source }
}

/// The deepest level of folders that is searched.
const DEEPEST: usize = 8;

/// Collects the paths and lengths of all files below `folder`.
pub(super) fn collect(folder: &Path, prefix: &str, depth: usize, into: &mut Vec<(String, u64)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        // Links are followed: a dangling link is a file that is absent. Links to folders are never part of a snapshot.
        match fs::metadata(entry.path()) {
            Ok(m) if m.is_file() => into.push((path, m.len())),
            Ok(_) if depth < DEEPEST && entry.file_type().is_ok_and(|t| t.is_dir()) => {
                collect(&entry.path(), &format!("{path}/"), depth + 1, into);
            }
            _ => {}
        }
    }
}

/// The running hash of a blob.
pub(crate) enum BlobHash {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl BlobHash {
    pub fn new(file: &WantedFile) -> Self {
        match &file.blob {
            BlobId::Sha256(_) => Self::Sha256(Sha256::new()),
            BlobId::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {}\0", file.size))),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitSha1(hash) => hash.update(bytes),
        }
    }

    pub fn hex(&self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.clone().finalize()),
            Self::GitSha1(hash) => hex(&hash.clone().finalize()),
        }
    }
}
