#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod digest;
mod entry;
mod error;
mod file;
mod log;
mod plan;
mod record;
mod reply;

pub use digest::{Digest, Seal, digest_bytes, hex};
pub use entry::{seal, unseal};
pub use error::ChunkError;
pub use file::{FileRecord, NewFile, Wanted};
pub use plan::ChunkPlan;
pub use record::{Model, Record, State, Summary, SummaryFile};
pub use reply::{Asked, ContentRange, Reply, Verdict, validator};
