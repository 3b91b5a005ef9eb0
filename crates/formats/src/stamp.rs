//! Noticing that a file changed after it was opened.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{FileData, FormatError};

/// A file's identity, length and time of last change, noted when it was opened.
///
/// The comparison costs one system call. A writer that keeps both the length and the time of last change is not noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    path: PathBuf,
    len: u64,
    /// `None` where the file system does not keep it.
    modified: Option<SystemTime>,
    /// Device and number of the file; `None` where the platform does not tell.
    identity: Option<(u64, u64)>,
}

impl FileStamp {
    /// Notes the file at `path`.
    ///
    /// # Errors
    /// I/O errors naming the path.
    pub fn of(path: &Path) -> Result<Self, FormatError> {
        let metadata = std::fs::metadata(path).map_err(|error| FormatError::io("open", path.display(), error))?;
        Ok(Self::new(path, &metadata))
    }

    pub(crate) fn new(path: &Path, metadata: &Metadata) -> Self {
        let (len, modified) = (metadata.len(), metadata.modified().ok());
        Self { path: path.to_owned(), len, modified, identity: identity(metadata) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Time of last change, where the file system keeps it.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Checks that the path still leads to the file that was noted, and that nobody wrote to it.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check(&self) -> Result<(), FormatError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => self.compare(&metadata),
            Err(error) => Err(self.changed(format!("it cannot be found any more ({error})"))),
        }
    }

    /// Compares with what the system says now.
    pub(crate) fn compare(&self, metadata: &Metadata) -> Result<(), FormatError> {
        let now = Self::new(&self.path, metadata);
        if now.identity != self.identity {
            return Err(self.changed("another file has its name".to_owned()));
        }
        if now.len != self.len {
            return Err(self.changed(format!("its length went from {} to {} bytes", self.len, now.len)));
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

/// Notices when mapped files are written to. It does not keep the maps alive: a map that nothing views any more cannot
/// change a result, and is not looked at.
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

    /// Checks that the mapped files have the bytes that they had when they were opened. A file that was replaced by a
    /// rename counts as unchanged, since its map still shows the old one.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check(&self) -> Result<(), FormatError> {
        #[cfg(not(target_arch = "wasm32"))]
        self.maps.iter().try_for_each(crate::file::WeakMap::check)?;
        Ok(())
    }

    /// [`FileWatch::check`], and that the files' paths still lead to them.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check_names(&self) -> Result<(), FormatError> {
        #[cfg(not(target_arch = "wasm32"))]
        self.maps.iter().try_for_each(crate::file::WeakMap::check_name)?;
        self.check()
    }
}
