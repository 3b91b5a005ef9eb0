use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Entry, refuse_special};
use super::publish::{mark, publish_file, publish_folder};
use crate::FormatError;

/// Ends the name of what is being written.
pub(super) const PARTIAL: &str = ".partial";
/// Ends the name of a complete folder that is about to be replaced.
pub(super) const OLD: &str = ".old";

/// A file that appears under its final name only when complete.
///
/// It is written beside the target as `.NAME.PID.N.partial`; [`AtomicFile::commit`] flushes it to
/// the disk and renames it over the target. Dropped without that, it is removed; what a killed
/// process left behind is removed when the same target is written next.
#[derive(Debug)]
pub struct AtomicFile {
    out: Option<BufWriter<File>>,
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts a new file for `target`, whose folder must exist.
    ///
    /// # Errors
    /// [`FormatError::OutputIsSpecial`] where a link, a device or a pipe is, and I/O errors naming the path.
    pub fn create(target: impl AsRef<Path>) -> Result<Self, FormatError> {
        let target = target.as_ref().to_owned();
        refuse_special(&target)?;
        sweep(&target);
        loop {
            let temporary = temporary_name(&target, PARTIAL)?;
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
                .map_err(|error| FormatError::io("create", temporary.display(), error))?;
            // The lock tells a sweep that the owner lives. Without support for locks nothing is
            // swept either. A sweep may have come between the two calls: then try again.
            let _ = file.lock();
            if temporary.exists() {
                return Ok(Self { out: Some(BufWriter::with_capacity(1 << 20, file)), temporary, target });
            }
        }
    }

    /// The file as it is so far, under its temporary name, to be read before [`AtomicFile::commit`].
    ///
    /// # Errors
    /// I/O errors naming the target.
    pub fn written(&mut self) -> Result<&Path, FormatError> {
        self.flush().map_err(|error| FormatError::io("write", self.target.display(), error))?;
        Ok(&self.temporary)
    }

    /// Puts the complete file under its final name, replacing what was there.
    ///
    /// # Errors
    /// I/O errors; the target is then as it was, unless only its folder could not be flushed.
    pub fn commit(mut self) -> Result<(), FormatError> {
        let result = self.finish();
        if result.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        result
    }

    fn finish(&mut self) -> Result<(), FormatError> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let file =
            out.into_inner().map_err(|error| FormatError::io("write", self.target.display(), error.into_error()))?;
        file.sync_all().map_err(|error| FormatError::io("write", self.target.display(), error))?;
        publish_file(&self.temporary, &self.target, true)?;
        sync_folder(parent(&self.target))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // Without into_parts the buffer would be written once more, to a file that goes.
            drop(out.into_parts());
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `target` through an [`AtomicFile`], committed where `write` succeeds.
///
/// # Errors
/// What `write` returns, and I/O errors.
pub fn write_atomic<E: From<FormatError>>(
    target: impl AsRef<Path>,
    write: impl FnOnce(&mut AtomicFile) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = AtomicFile::create(target)?;
    write(&mut file)?;
    Ok(file.commit()?)
}

/// A folder that appears under its final name only when complete; as [`AtomicFile`].
#[derive(Debug)]
pub struct AtomicDir {
    temporary: PathBuf,
    target: PathBuf,
    _lock: Option<File>,
    done: bool,
}

impl AtomicDir {
    /// Starts a new folder for `target`, whose parent must exist.
    ///
    /// # Errors
    /// [`FormatError::OutputIsSpecial`] where a link, a device or a pipe is, and I/O errors naming the path.
    pub fn create(target: impl AsRef<Path>) -> Result<Self, FormatError> {
        let target = target.as_ref().to_owned();
        refuse_special(&target)?;
        sweep(&target);
        loop {
            let temporary = temporary_name(&target, PARTIAL)?;
            fs::create_dir(&temporary).map_err(|error| FormatError::io("create", temporary.display(), error))?;
            let lock = File::open(&temporary).ok();
            if let Some(lock) = &lock {
                let _ = lock.lock();
            }
            if temporary.exists() {
                return Ok(Self { temporary, target, _lock: lock, done: false });
            }
        }
    }

    /// The folder to write into, until [`AtomicDir::commit`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Marks the complete folder as ours and puts it under its final name. A folder that was there is replaced where
    /// an earlier call wrote everything in it: it is moved aside first, put back where the new one cannot take its place,
    /// and removed last, so that a half-written folder is never under the name. A process killed between the two moves
    /// leaves no folder there; the next [`AtomicDir::create`] puts the old one back.
    ///
    /// # Errors
    /// [`FormatError::FolderNotOurs`] where a folder with anything else is there, and I/O errors.
    pub fn commit(mut self) -> Result<(), FormatError> {
        mark(&self.temporary)?;
        sync_tree(&self.temporary)?;
        publish_folder(&self.temporary, &self.target, true)?;
        self.done = true;
        sync_folder(parent(&self.target))
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

pub(super) fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn file_name(target: &Path) -> Option<&str> {
    target.file_name()?.to_str()
}

/// A name beside `target` that no other call of any process uses.
pub(super) fn temporary_name(target: &Path, suffix: &str) -> Result<PathBuf, FormatError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = file_name(target).ok_or_else(|| {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "not a UTF-8 file name");
        FormatError::io("create", target.display(), reason)
    })?;
    let (process, n) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    Ok(parent(target).join(format!(".{name}.{process}.{n}{suffix}")))
}

/// Whether `name` is one that [`temporary_name`] gives for a target called `target`.
fn is_temporary_of(name: &str, target: &str, suffix: &str) -> bool {
    let numbers = name
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(target))
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(suffix))
        .and_then(|rest| rest.split_once('.'));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(process, n)| digits(process) && digits(n))
}

/// Tidies up after killed processes: removes partial files and folders of `target` that nobody holds
/// a lock on, and puts back a folder that was moved aside where nothing has taken its place. Best
/// effort, since nothing depends on it but disk space.
fn sweep(target: &Path) {
    let (Some(name), Ok(entries)) = (file_name(target), fs::read_dir(parent(target))) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let Some(found) = found.to_str() else { continue };
        let old = is_temporary_of(found, name, OLD);
        if !old && !is_temporary_of(found, name, PARTIAL) {
            continue;
        }
        let path = entry.path();
        // To open a pipe would wait for its other end, and a link is not ours.
        if !entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir()) {
            continue;
        }
        // The lock is held while the entry goes.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        let _ = match entry.file_type() {
            _ if old && matches!(Entry::at(target), Ok(Entry::Nothing)) => fs::rename(&path, target),
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
    }
}

/// Flushes a folder's entries to the disk, where the system can (Windows cannot open folders).
pub(super) fn sync_folder(folder: &Path) -> Result<(), FormatError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(|error| FormatError::io("write", folder.display(), error))?;
    }
    Ok(())
}

/// Flushes every file and folder below `folder`.
fn sync_tree(folder: &Path) -> Result<(), FormatError> {
    let failed = |error| FormatError::io("write", folder.display(), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            // Windows flushes only handles that may write.
            let file = OpenOptions::new().append(true).open(entry.path());
            file.and_then(|file| file.sync_all())
                .map_err(|error| FormatError::io("write", entry.path().display(), error))?;
        }
    }
    sync_folder(folder)
}
