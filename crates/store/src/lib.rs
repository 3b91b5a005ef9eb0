//! Keeping work: content hashes and the resume journal. Getting models: the Hugging Face Hub and its cache ([`hub`]).
#![forbid(unsafe_code)]

mod digest;
mod error;
pub mod hub;
mod journal;

pub use digest::{Digest, digest_file};
pub use error::StoreError;
pub use journal::Journal;
