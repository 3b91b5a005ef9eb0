//! Models from the Hugging Face Hub or a mirror, in the cache that all tools of the Hub share: [`find`] finds what
//! another tool has fetched, and other tools find what [`pull`] has fetched.
//!
//! [`pull`] works on any [`Transport`], so that it can be tested without a network; [`HttpTransport`] (feature `http`)
//! uses the network. Servers are not trusted: names, lengths and hashes are checked, only the endpoint receives the
//! token, and pickles are never fetched.

mod address;
mod cache;
mod cached;
mod client;
mod fetch;
mod files;
mod find;
mod glob;
#[cfg(feature = "http")]
mod http;
mod intact;
mod listing;
mod pace;
mod parts;
mod pull;
mod select;
mod settings;
mod spec;
mod transport;
mod url;

pub use address::is_address;
pub use cached::{CachedModel, cached};
pub use client::Patience;
pub use find::find;
#[cfg(feature = "http")]
pub use http::{HttpTransport, Timeouts};
pub use intact::check_model;
pub use listing::{BlobId, Listing, RemoteFile};
pub use pull::{PullOptions, Pulled, PulledFile, pull};
pub use settings::{HubSettings, Token, cache_dir};
pub use spec::{DEFAULT_REVISION, ModelSpec};
pub use transport::{Header, Method, Response, Transport, TransportError};
pub use url::Url;

use client::Client;
use std::time::Duration;

/// A file of a repository that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedFile {
    /// The path in the repository, with `/` between parts.
    pub path: String,
    /// The length in bytes.
    pub size: u64,
    /// The id of the contents.
    pub blob: BlobId,
}

/// An event of a pull.
#[derive(Debug)]
pub enum PullEvent<'a> {
    /// `done` of `total` bytes have been received or were in the cache.
    Progress {
        /// The current file.
        file: &'a str,
        /// The bytes received or found in the cache.
        done: u64,
        /// The bytes of all files.
        total: u64,
    },
    /// A warning for the user.
    Warning(&'a str),
    /// An attempt failed, and another one follows.
    Retry {
        /// The error of the failed attempt.
        problem: &'a str,
        /// The time until the next attempt.
        wait: Duration,
    },
    /// Nothing new; sent so that the caller can stop the pull.
    Waiting,
}

/// Receives events. Returning `false` for [`PullEvent::Progress`] or [`PullEvent::Waiting`] stops the pull.
pub type PullEvents<'a> = &'a mut dyn FnMut(&PullEvent<'_>) -> bool;
