//! The final step of writing: complete files and folders get their names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, first_name};
use super::read::read_small;
use super::temporary::{OLD, parent, sync_folder, temporary_name};
use crate::FormatError;
use crate::error::shown;

/// The file that marks a folder as written by HoneLM and lists the files written to it.
const MARKER: &str = ".honelm";
/// The size up to which a marker is read.
const MARKER_LIMIT: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Marker {
    made_by: String,
    /// Paths relative to the folder, with `/`.
    files: BTreeSet<String>,
}

/// Gives a complete file or folder on the same file system its final name, durably.
///
/// An empty file or folder is always replaced. With `replace`, so are any file, and a folder in which
/// [`crate::AtomicDir`] wrote every file. Such a folder is moved aside first, moved back if the new one cannot take
/// its place, and removed last.
///
/// # Errors
/// [`FormatError::OutputExists`], [`FormatError::FolderNotOurs`] and I/O errors, after which everything is
/// unchanged; [`FormatError::OutputIsSpecial`] for links and devices.
pub fn publish(from: &Path, to: &Path, replace: bool) -> Result<(), FormatError> {
    match Entry::at(from)? {
        Entry::Folder(_) => publish_folder(from, to, replace)?,
        _ => publish_file(from, to, replace)?,
    }
    sync_folder(parent(to))
}

/// Publishes a file as [`publish`] does.
pub(super) fn publish_file(from: &Path, to: &Path, replace: bool) -> Result<(), FormatError> {
    let failed = |error| FormatError::io("create", to.display(), error);
    let replaces = match Entry::at(to)? {
        Entry::Special(found) => return Err(FormatError::special(to, found)),
        Entry::Folder(_) => return Err(failed(io::ErrorKind::IsADirectory.into())),
        Entry::File(metadata) => replace || metadata.len() == 0,
        Entry::Nothing => replace,
    };
    if replaces {
        return fs::rename(from, to).map_err(failed);
    }
    // A hard link fails if the name is taken. A rename would replace what has the name.
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map_err(|error| FormatError::io("remove", from.display(), error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(to)),
        // Some file systems have no hard links.
        Err(_) if matches!(Entry::at(to)?, Entry::Nothing) => fs::rename(from, to).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Publishes a folder as [`publish`] does.
pub(super) fn publish_folder(from: &Path, to: &Path, replace: bool) -> Result<(), FormatError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => exists(to),
        _ => FormatError::io("create", to.display(), error),
    };
    match Entry::at(to)? {
        Entry::Nothing => {}
        Entry::Special(found) => return Err(FormatError::special(to, found)),
        Entry::File(_) => return Err(failed(io::ErrorKind::NotADirectory.into())),
        Entry::Folder(_) if first_name(to)?.is_none() => {
            // Only some systems can rename a folder to the name of an empty one.
            if !cfg!(unix) {
                fs::remove_dir(to).map_err(failed)?;
            }
        }
        Entry::Folder(_) if !replace => return Err(exists(to)),
        Entry::Folder(_) => {
            if let Some(found) = foreign_entry(to)? {
                return Err(not_ours(to, &found));
            }
            return exchange(from, to);
        }
    }
    fs::rename(from, to).map_err(failed)
}

/// Puts a folder in the place of another and removes the other.
fn exchange(from: &Path, to: &Path) -> Result<(), FormatError> {
    let failed = |error| FormatError::io("create", to.display(), error);
    let aside = temporary_name(to, OLD)?;
    // The lock keeps `sweep` from moving the folder back while it is aside.
    let lock = File::open(to).ok();
    if let Some(lock) = &lock {
        let _ = lock.try_lock();
    }
    fs::rename(to, &aside).map_err(failed)?;
    if let Err(error) = fs::rename(from, to) {
        let _ = fs::rename(&aside, to);
        return Err(failed(error));
    }
    sync_folder(parent(to))?;
    fs::remove_dir_all(&aside).map_err(|error| FormatError::io("remove", aside.display(), error))
}

fn exists(path: &Path) -> FormatError {
    FormatError::OutputExists { path: path.display().to_string() }
}

/// Removes an output if it exists: a file, or a folder in which [`crate::AtomicDir`] wrote every file.
///
/// # Errors
/// [`FormatError::FolderNotOurs`], [`FormatError::OutputIsSpecial`], and I/O errors.
pub fn remove_output(path: &Path) -> Result<(), FormatError> {
    let removed = match Entry::at(path)? {
        Entry::Nothing => return Ok(()),
        Entry::Special(found) => return Err(FormatError::special(path, found)),
        Entry::File(_) => fs::remove_file(path),
        Entry::Folder(_) => match foreign_entry(path)? {
            Some(found) => return Err(not_ours(path, &found)),
            None => fs::remove_dir_all(path),
        },
    };
    removed.map_err(|error| FormatError::io("remove", path.display(), error))
}

fn not_ours(path: &Path, found: &str) -> FormatError {
    FormatError::FolderNotOurs { path: path.display().to_string(), found: shown(found) }
}

/// Marks a complete folder as written by HoneLM.
pub(super) fn mark(folder: &Path) -> Result<(), FormatError> {
    let mut files = BTreeSet::new();
    walk(folder, "", &mut |path, _| {
        files.insert(path.to_owned());
        true
    })?;
    let marker = Marker { made_by: concat!("honelm ", env!("CARGO_PKG_VERSION")).to_owned(), files };
    let path = folder.join(MARKER);
    let failed = |error: io::Error| FormatError::io("write", path.display(), error);
    let json = serde_json::to_vec_pretty(&marker).map_err(|error| failed(error.into()))?;
    fs::write(&path, json).map_err(failed)
}

/// Returns the first path within a folder that HoneLM did not write, or `None` if it wrote everything.
pub(super) fn foreign_entry(folder: &Path) -> Result<Option<String>, FormatError> {
    let path = folder.join(MARKER);
    let bytes = match Entry::at(&path)? {
        Entry::File(_) => read_small(&path, MARKER_LIMIT)?,
        _ => None,
    };
    let Some(marker) = bytes.and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok()) else {
        return first_name(folder);
    };
    let mut foreign = None;
    walk(folder, "", &mut |path, entry| {
        let ours = matches!(entry, Entry::File(_)) && (path == MARKER || marker.files.contains(path));
        if !ours {
            foreign = Some(path.to_owned());
        }
        ours
    })?;
    Ok(foreign)
}

/// Calls `see` with every file and every empty folder below `folder` until it returns `false`, and returns its last
/// answer.
fn walk(folder: &Path, prefix: &str, see: &mut dyn FnMut(&str, &Entry) -> bool) -> Result<bool, FormatError> {
    let failed = |error| FormatError::io("open", folder.display(), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let there = Entry::at(&entry.path())?;
        let goes_on = match there {
            Entry::Folder(_) if first_name(&entry.path())?.is_some() => walk(&entry.path(), &format!("{path}/"), see)?,
            _ => see(&path, &there),
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}
