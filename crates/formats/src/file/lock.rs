use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::entry::{Entry, identity, open_no_follow};
use crate::FormatError;

/// An exclusive lock of the operating system on a file that serves no other purpose.
///
/// The lock ends with the process that holds it, however that ends. Every process of the machine sees it, including
/// those in other containers and namespaces. The file is empty and never written to. A link in its place is an
/// error.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    _file: File,
}

impl LockFile {
    /// Locks the file at `path`, creating it if it does not exist. Returns `None` if another holder has the lock.
    ///
    /// On a file system without locks, the call succeeds without locking.
    ///
    /// # Errors
    /// I/O errors, and [`FormatError::NotAFile`] for anything but a regular file.
    pub fn acquire(path: impl AsRef<Path>) -> Result<Option<Self>, FormatError> {
        let path = path.as_ref();
        loop {
            let file = open_no_follow(path, OpenOptions::new().write(true).create(true).truncate(false))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                    return Err(FormatError::io("lock", path.display(), error));
                }
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // The last holder may have removed the file between the two calls. A lock on a removed file excludes no
            // one.
            let held = file.metadata().map_err(|error| FormatError::io("lock", path.display(), error))?;
            let here = Entry::at(path)?;
            if !matches!(here, Entry::Nothing) && here.identity() == identity(&held) {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }

    /// Removes the file and releases the lock.
    ///
    /// # Errors
    /// I/O errors.
    pub fn remove(self) -> Result<(), FormatError> {
        fs::remove_file(&self.path).map_err(|error| FormatError::io("remove", self.path.display(), error))
    }
}
