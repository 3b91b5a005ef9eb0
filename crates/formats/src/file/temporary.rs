//! Temporary names beside an output, and the flushing of folders to the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::FormatError;

/// The suffix of a file or folder that is being written.
pub(super) const PARTIAL: &str = ".partial";
/// The suffix of a complete folder that is about to be replaced.
pub(super) const OLD: &str = ".old";

pub(super) fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn file_name(target: &Path) -> Option<&str> {
    target.file_name()?.to_str()
}

/// Returns a name beside `target` that no other call of any process uses.
pub(super) fn temporary_name(target: &Path, suffix: &str) -> Result<PathBuf, FormatError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = file_name(target).ok_or_else(|| {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "not a UTF-8 file name");
        FormatError::io("create", target.display(), reason)
    })?;
    let (process, n) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    Ok(parent(target).join(format!(".{name}.{process}.{n}{suffix}")))
}

/// Returns `true` if [`temporary_name`] gives `name` for a target called `target`.
pub(super) fn is_temporary_of(name: &str, target: &str, suffix: &str) -> bool {
    let numbers = name
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(target))
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(suffix))
        .and_then(|rest| rest.split_once('.'));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(process, n)| digits(process) && digits(n))
}

/// Flushes a folder's entries to the disk, if the system supports it (Windows cannot open folders).
pub(super) fn sync_folder(folder: &Path) -> Result<(), FormatError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(|error| FormatError::io("write", folder.display(), error))?;
    }
    Ok(())
}

/// Flushes every file and folder below `folder` to the disk.
pub(super) fn sync_tree(folder: &Path) -> Result<(), FormatError> {
    let failed = |error| FormatError::io("write", folder.display(), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            // Windows flushes only handles with write access.
            let file = OpenOptions::new().append(true).open(entry.path());
            file.and_then(|file| file.sync_all())
                .map_err(|error| FormatError::io("write", entry.path().display(), error))?;
        }
    }
    sync_folder(folder)
}
