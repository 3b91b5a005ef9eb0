#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod digest;
mod error;
pub mod hub;
mod journal;

pub use digest::digest_file;
pub use error::StoreError;
pub use honelm_chunks::{Digest, Seal, digest_bytes};
pub use journal::Journal;
