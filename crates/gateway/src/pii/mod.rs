//! Private data: recognising, replacing, restoring.
//!
//! ```
//! use honelm_gateway::pii::{DetectOptions, Detector, Kind};
//!
//! let detector = Detector::new(DetectOptions::default())?;
//! let spans = detector.detect("Write to ann@example.org.");
//! assert_eq!((spans[0].kind, spans[0].start, spans[0].end), (Kind::Email, 9, 24));
//! # Ok::<(), honelm_gateway::GatewayError>(())
//! ```
//!
//! A [`Detector`] finds spans. Structured identifiers are found by patterns, check digits and the words around them, in one
//! pass; names, places, organisations and addresses by a statistical [`tagger`] that is part of the library. A
//! [`Redactor`] replaces them in texts and in the requests of three APIs, by masks (`<PERSON>`) or by surrogates that a
//! [`Restorer`] turns back in the answer.

mod detect;
mod kind;
mod recognise;
mod redact;
mod request;
mod restore;
mod span;
mod surrogate;
pub mod tagger;
mod vault;
mod view;

pub use detect::{DetectOptions, Detector};
pub use kind::Kind;
pub use redact::{Mode, Redactor};
pub use request::Api;
pub use restore::Restorer;
pub use span::{Span, counts, in_characters};
pub use vault::Vault;
