use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::entry::{Entry, refuse_special};
use super::publish::{mark, publish_file, publish_folder};
use super::temporary::{OLD, PARTIAL, file_name, is_temporary_of, parent, sync_folder, sync_tree, temporary_name};
use crate::FormatError;

/// A file that appears under its final name only when it is complete.
///
/// The contents go to `.NAME.PID.N.partial` beside the target. [`AtomicFile::commit`] flushes them to the disk and
/// renames the file over the target. Dropping the value without that removes the file. If the process is killed,
/// the next write to the same target removes what is left.
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
    /// [`FormatError::OutputIsSpecial`] if the target is a link, a device, a pipe or a socket, and I/O errors with the
    /// path.
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
            // The lock tells `sweep` that the owner is alive. On a file system without locks, `sweep` removes nothing.
            // `sweep` may have run between the two calls; then another attempt is needed.
            let _ = file.lock();
            if temporary.exists() {
                return Ok(Self { out: Some(BufWriter::with_capacity(1 << 20, file)), temporary, target });
            }
        }
    }

    /// Returns the path of the temporary file with everything written so far, for reading before
    /// [`AtomicFile::commit`].
    ///
    /// # Errors
    /// I/O errors with the target.
    pub fn written(&mut self) -> Result<&Path, FormatError> {
        self.flush().map_err(|error| FormatError::io("write", self.target.display(), error))?;
        Ok(&self.temporary)
    }

    /// Gives the complete file its final name, replacing any existing file.
    ///
    /// # Errors
    /// I/O errors. The target is then unchanged, unless only the flush of its folder failed.
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
            // Without `into_parts`, the buffer would be flushed to a file that is about to be removed.
            drop(out.into_parts());
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `target` through an [`AtomicFile`], and commits it if `write` succeeds.
///
/// # Errors
/// The error of `write`, and I/O errors.
pub fn write_atomic<E: From<FormatError>>(
    target: impl AsRef<Path>,
    write: impl FnOnce(&mut AtomicFile) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = AtomicFile::create(target)?;
    write(&mut file)?;
    Ok(file.commit()?)
}

/// A folder that appears under its final name only when it is complete; works as [`AtomicFile`] does.
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
    /// [`FormatError::OutputIsSpecial`] if the target is a link, a device, a pipe or a socket, and I/O errors with the
    /// path.
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

    /// Returns the folder to write to before [`AtomicDir::commit`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Marks the complete folder as written by HoneLM and gives it its final name.
    ///
    /// An existing folder is replaced if every file in it was written by an earlier call. It is moved aside first,
    /// moved back if the new folder cannot take its place, and removed last, so that the name never refers to a
    /// half-written folder. If the process is killed between the two moves, the name refers to nothing; the next
    /// [`AtomicDir::create`] moves the old folder back.
    ///
    /// # Errors
    /// [`FormatError::FolderNotOurs`] if the existing folder contains anything else, and I/O errors.
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

/// Cleans up after killed processes: removes partial files and folders of `target` that no process has locked, and
/// moves back a folder that was moved aside if nothing has taken its place. Failures are ignored, because they cost
/// only disk space.
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
        // Opening a pipe would wait for its other end, and a link was not made by HoneLM.
        if !entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir()) {
            continue;
        }
        // The lock is held until the entry is gone.
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
