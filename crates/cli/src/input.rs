//! What commands read themselves: stdin, and files that users name.

use std::io;
use std::path::Path;

use crate::failure::Failure;

/// Most bytes of a prompt, or of a line of a conversation; far more than any context holds.
pub const MOST_PROMPT: u64 = 64 << 20;
/// Most bytes of a conversation as JSON.
pub const MOST_JSON: u64 = 256 << 20;
/// Most bytes of a text to be tokenised.
pub const MOST_TEXT: u64 = 1 << 30;

/// All of stdin, every byte of it.
pub fn stdin(limit: u64) -> Result<Vec<u8>, Failure> {
    Ok(honelm::read_limited(io::stdin().lock(), "stdin", limit).map_err(honelm::Error::from)?)
}

/// What a file holds, or a pipe.
pub fn named(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    Ok(honelm::read_input(path, limit).map_err(honelm::Error::from)?)
}
