#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod digest;
mod error;
pub mod hub;
mod journal;

pub use digest::{Digest, Seal, digest_bytes, digest_file};
pub use error::StoreError;
pub use journal::Journal;
