//! The one place of this crate with unsafe code.
#![allow(unsafe_code, reason = "a memory map is the only way to hold a model larger than memory")]

use std::fs::File;
use std::path::Path;

use std::sync::Arc;

use bytes::Bytes;

use crate::{FileData, FormatError};

/// A file in memory.
#[derive(Debug, Clone)]
pub(crate) struct Map(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Map {
    /// Gives the memory back that its pages take; who reads them again has them read from the file again.
    pub(crate) fn release(&self) {
        // SAFETY: nobody writes to a read-only map, so that its pages hold nothing but the file's own bytes.
        #[cfg(unix)]
        let _ = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

/// Maps a file into memory, read-only; views of it keep the map alive.
///
/// The file must not be shortened while it is mapped: the system then ends the process on the next
/// access (`SIGBUS`). Replacing it by rename, as [`crate::AtomicFile`] does, is safe.
///
/// # Errors
/// I/O errors, and [`FormatError::NotAFile`] for folders, pipes and devices.
pub fn map_file(path: impl AsRef<Path>) -> Result<FileData, FormatError> {
    let shown = path.as_ref().display();
    // Asked before opening: to open a pipe would wait for its other end.
    let metadata = std::fs::metadata(&path).map_err(|error| FormatError::io("open", &shown, error))?;
    if !metadata.is_file() {
        return Err(FormatError::NotAFile { path: shown.to_string() });
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new().into());
    }
    let file = File::open(&path).map_err(|error| FormatError::io("open", &shown, error))?;
    // SAFETY: the map is private and read-only. Rust asks that nobody changes the bytes behind a
    // shared slice; no process can be kept from writing to a file, so parsers must not rely on
    // reading the same value twice for memory safety. They are safe code and every read they make
    // is bounds-checked, so a changed byte can give wrong numbers or an error, never a wild access.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| FormatError::io("map", &shown, error))?;
    Ok(FileData::mapped(Map(Arc::new(map))))
}
