use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::entry::{Entry, identity, open_no_follow};
use crate::FormatError;

/// An exclusive lock of the operating system on a file that is there for nothing else.
///
/// It ends with its holder, however that ends, and is seen by every process of the machine, in other containers and
/// namespaces too. The file holds nothing and is never written to; a link in its place is refused.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    _file: File,
}

impl LockFile {
    /// Takes the lock on the file at `path`, which is made where there is none; `None` where somebody else holds it.
    ///
    /// A file system that has no locks locks nothing.
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
            // The last holder may have removed the file between the two calls: a lock on it keeps nobody out.
            let held = file.metadata().map_err(|error| FormatError::io("lock", path.display(), error))?;
            let here = Entry::at(path)?;
            if !matches!(here, Entry::Nothing) && here.identity() == identity(&held) {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }

    /// Removes the file, then gives up the lock.
    ///
    /// # Errors
    /// I/O errors.
    pub fn remove(self) -> Result<(), FormatError> {
        fs::remove_file(&self.path).map_err(|error| FormatError::io("remove", self.path.display(), error))
    }
}
