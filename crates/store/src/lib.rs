//! Keeping work: content hashes and the resume journal.
#![forbid(unsafe_code)]

mod digest;
mod journal;

pub use digest::{Digest, digest_file};
pub use journal::{Journal, StoreError};
