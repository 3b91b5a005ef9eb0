//! Private data in requests, routing between the device and the cloud, and accounting.
//!
//! [`pii`] recognises private data, replaces it before anything leaves, and restores it in the answer. [`policy`] decides where a request is
//! answered, with the [`estimator`]; [`accounting`] sums what it cost and saved, [`drafts`] decides whether an upstream
//! should verify drafts of the device. The crate is pure: it neither reads nor writes anything, and
//! compiles for `wasm32-unknown-unknown`.

#![forbid(unsafe_code)]

pub mod accounting;
pub mod drafts;
mod error;
pub mod estimator;
pub mod pii;
pub mod policy;

pub use error::{GatewayError, Result};
