//! What touches the file system; everything else of this crate parses bytes.

mod atomic;
mod map;

use std::path::Path;

pub use atomic::{AtomicDir, AtomicFile, write_atomic};
pub(crate) use map::Map;
pub use map::map_file;

use crate::FormatError;

/// Largest JSON file that is read whole; tokenizers reach some 30 MB.
const JSON_LIMIT: u64 = 256 << 20;

/// Reads and parses a JSON file such as `config.json`; `None` where there is no such file.
///
/// # Errors
/// I/O errors, [`FormatError::HeaderTooLarge`] above 256 MiB, [`FormatError::InvalidJson`].
pub fn read_json(path: impl AsRef<Path>) -> Result<Option<serde_json::Value>, FormatError> {
    match read_small(path.as_ref(), JSON_LIMIT)? {
        Some(bytes) => crate::parse_json(&path.as_ref().display().to_string(), &bytes).map(Some),
        None => Ok(None),
    }
}

/// A file of at most `limit` bytes; `None` where there is none.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FormatError> {
    let shown = path.display();
    let size = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FormatError::io("open", shown, error)),
        Ok(metadata) if !metadata.is_file() => return Err(FormatError::NotAFile { path: shown.to_string() }),
        Ok(metadata) => metadata.len(),
    };
    if size > limit {
        return Err(FormatError::HeaderTooLarge { file: shown.to_string(), found: size, limit });
    }
    std::fs::read(path).map(Some).map_err(|error| FormatError::io("read", shown, error))
}
