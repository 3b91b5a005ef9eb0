//! Reading stdin and the files that users name.

use std::io;
use std::path::Path;

use crate::failure::Failure;

/// The most bytes of a prompt, or of a message in a conversation; far more than any context holds.
pub const MOST_PROMPT: u64 = 64 << 20;
/// The most bytes of a conversation as JSON.
pub const MOST_JSON: u64 = 256 << 20;
/// The most bytes of a text to be tokenised.
pub const MOST_TEXT: u64 = 1 << 30;

/// Reads all of stdin, at most `limit` bytes.
pub fn stdin(limit: u64) -> Result<Vec<u8>, Failure> {
    Ok(honelm::read_limited(io::stdin().lock(), "stdin", limit).map_err(honelm::Error::from)?)
}

/// Reads all of stdin as UTF-8, at most `limit` bytes.
pub fn stdin_text(limit: u64) -> Result<String, Failure> {
    String::from_utf8(stdin(limit)?).map_err(|e| {
        let problem = format!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to());
        honelm::Error::Text { path: "stdin".to_owned(), problem }.into()
    })
}

/// Reads a file or a pipe, at most `limit` bytes.
pub fn named(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    Ok(honelm::read_input(path, limit).map_err(honelm::Error::from)?)
}
