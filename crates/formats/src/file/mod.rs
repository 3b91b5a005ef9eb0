//! What touches the file system; everything else of this crate parses bytes.

mod atomic;
mod entry;
mod lock;
mod map;
mod output;
mod publish;
mod read;

use std::path::Path;

pub use atomic::{AtomicDir, AtomicFile, write_atomic};
pub use entry::{open_no_follow, refuse_special};
pub use lock::LockFile;
pub use map::{LostPage, map_file, report_lost_pages};
pub(crate) use map::{Map, WeakMap};
pub use output::OutputGate;
pub use publish::{publish, remove_output};
pub use read::{open_file, read_file, read_input, read_limited};

use crate::FormatError;

/// Largest JSON file that is read whole; tokenizers reach some 30 MB.
const JSON_LIMIT: u64 = 256 << 20;

/// Reads and parses a JSON file such as `config.json`; `None` where there is no such file.
///
/// # Errors
/// As [`read_file`] with a limit of 256 MiB, and [`FormatError::InvalidJson`].
pub fn read_json(path: impl AsRef<Path>) -> Result<Option<serde_json::Value>, FormatError> {
    match read_small(path.as_ref(), JSON_LIMIT)? {
        Some(bytes) => crate::parse_json(&path.as_ref().display().to_string(), &bytes).map(Some),
        None => Ok(None),
    }
}

/// A file of at most `limit` bytes; `None` where there is none.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FormatError> {
    match read_file(path, limit) {
        Err(FormatError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
