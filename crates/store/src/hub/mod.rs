//! Models from the Hugging Face Hub, or a mirror of it, in the cache that its tools share: what one of them fetched is
//! found, and the reverse.
//!
//! [`pull`] works on any [`Transport`], so that it is tested without a network; [`HttpTransport`] (feature `http`) is
//! the real one. Nothing that a server says is trusted: names, lengths and hashes are checked, the token goes to the
//! endpoint alone, pickles are never fetched.

mod cache;
mod client;
mod fetch;
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
pub use url::{Origin, Url};

use client::Client;
use std::time::Duration;

/// A file of a repository, of which all is known that it takes to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedFile {
    /// Its path in the repository, `/` between parts.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Its contents' id.
    pub blob: BlobId,
}

/// What a pull tells its caller.
#[derive(Debug)]
pub enum PullEvent<'a> {
    /// `done` of `total` bytes are here.
    Progress {
        /// The file at hand.
        file: &'a str,
        /// Bytes that are here.
        done: u64,
        /// Bytes of all files.
        total: u64,
    },
    /// Something the user should know.
    Warning(&'a str),
    /// An attempt failed; another one follows.
    Retry {
        /// What happened.
        problem: &'a str,
        /// The time until then.
        wait: Duration,
    },
    /// Nothing new; a chance to stop.
    Waiting,
}

/// Receives events; false from [`PullEvent::Progress`] or [`PullEvent::Waiting`] stops the pull.
pub type PullEvents<'a> = &'a mut dyn FnMut(&PullEvent<'_>) -> bool;
