//! Detection of files that change after they were opened.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{FileData, FormatError};

/// The identity, length and modification time of a file when it was opened.
///
/// A comparison costs one system call. It misses a write that keeps both the length and the modification time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    path: PathBuf,
    len: u64,
    /// The modification time; `None` if the file system does not record it.
    modified: Option<SystemTime>,
    /// The device and inode number; `None` if the platform does not provide them.
    identity: Option<(u64, u64)>,
}

impl FileStamp {
    /// Records the state of the file at `path`.
    ///
    /// # Errors
    /// I/O errors with the path.
    pub fn of(path: &Path) -> Result<Self, FormatError> {
        let metadata = std::fs::metadata(path).map_err(|error| FormatError::io("open", path.display(), error))?;
        Ok(Self::new(path, &metadata))
    }

    pub(crate) fn new(path: &Path, metadata: &Metadata) -> Self {
        let (len, modified) = (metadata.len(), metadata.modified().ok());
        Self { path: path.to_owned(), len, modified, identity: identity(metadata) }
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns `true` if the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the modification time, if the file system records it.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Checks that the path still leads to the same file and that the file was not written to.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check(&self) -> Result<(), FormatError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => self.compare(&metadata),
            Err(error) => Err(self.changed(format!("it can no longer be found ({error})"))),
        }
    }

    /// Compares the recorded state with the current one.
    pub(crate) fn compare(&self, metadata: &Metadata) -> Result<(), FormatError> {
        let now = Self::new(&self.path, metadata);
        if now.identity != self.identity {
            return Err(self.changed("another file now has its name".to_owned()));
        }
        if now.len != self.len {
            return Err(self.changed(format!("its length changed from {} to {} bytes", self.len, now.len)));
        }
        if now.modified != self.modified {
            return Err(self.changed("it was written to".to_owned()));
        }
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    fn changed(&self, problem: String) -> FormatError {
        FormatError::Changed { file: self.path.display().to_string(), problem }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Detects writes to mapped files. A watch does not keep a map alive, and ignores a map without views, which can no
/// longer affect a result.
#[derive(Debug, Clone, Default)]
pub struct FileWatch {
    #[cfg(not(target_arch = "wasm32"))]
    maps: Vec<crate::file::WeakMap>,
}

impl FileWatch {
    /// Watches those of `files` that are mapped.
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables, reason = "nothing is mapped in a browser"))]
    pub fn of<'a>(files: impl IntoIterator<Item = &'a FileData>) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        return Self { maps: files.into_iter().filter_map(FileData::weak_map).collect() };
        #[cfg(target_arch = "wasm32")]
        Self {}
    }

    /// Checks that the mapped files have not been written to since they were opened. A file that was replaced by a
    /// rename counts as unchanged, because its map still shows the old contents.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check(&self) -> Result<(), FormatError> {
        #[cfg(not(target_arch = "wasm32"))]
        self.maps.iter().try_for_each(crate::file::WeakMap::check)?;
        Ok(())
    }

    /// Checks as [`FileWatch::check`] does, and also that the paths still lead to the mapped files.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check_names(&self) -> Result<(), FormatError> {
        #[cfg(not(target_arch = "wasm32"))]
        self.maps.iter().try_for_each(crate::file::WeakMap::check_name)?;
        self.check()
    }
}
