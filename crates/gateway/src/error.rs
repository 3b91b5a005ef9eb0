//! Errors.

use crate::estimator::Problem;

/// The result type of this crate.
pub type Result<T, E = GatewayError> = std::result::Result<T, E>;

/// An error of this crate. [`GatewayError::code`] returns a stable name for programs. No message contains private data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// A line of labelled traffic cannot be read.
    #[error("{file}: line {line}: {problem}")]
    Traffic {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The values found and expected there.
        problem: Problem,
    },
    /// A file of traffic holds no request.
    #[error("{file}: line 1: found no request in {lines} lines, expected at least one JSON object per line")]
    EmptyTraffic {
        /// The file.
        file: String,
        /// The number of lines, which are all empty.
        lines: usize,
    },
    /// Traffic cannot be learned from, or not be evaluated.
    #[error("{file}: lines 1 to {lines}: found {found}, expected {expected}")]
    UnfitTraffic {
        /// The file.
        file: String,
        /// The number of lines.
        lines: usize,
        /// The property that the requests have in common.
        found: String,
        /// The requirement.
        expected: String,
    },
    /// A file is no estimator of this version.
    #[error("{file}: found {found}, expected {expected}")]
    Estimator {
        /// The file.
        file: String,
        /// Its value.
        found: String,
        /// The expected value.
        expected: String,
    },
    /// A line of a gateway file is wrong.
    #[error("{file}: line {line}: {problem}")]
    Settings {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The values found and expected there.
        problem: Problem,
    },
    /// The text contains private data and the mode forbids it.
    #[error("found private data: {found}; expected none")]
    Blocked {
        /// The kinds with their counts, such as `2 PERSON, 1 IBAN_CODE`.
        found: String,
    },
    /// A kind of private data has an unknown name.
    #[error("kind {found:?}; expected one of {expected}")]
    UnknownKind {
        /// The name.
        found: String,
        /// The names that exist.
        expected: String,
    },
    /// The detector cannot work. Nothing may leave then.
    #[error("the detector of private data failed: {reason}")]
    Detector {
        /// The reason.
        reason: &'static str,
    },
    /// A request has a part that no rule covers. It may hold private data, so nothing may leave.
    #[error("{place}: found {found}, expected {expected}")]
    Request {
        /// The place as a JSON pointer.
        place: String,
        /// The thing found there.
        found: String,
        /// The thing expected there.
        expected: &'static str,
    },
    /// A vault has no room for a further value.
    #[error("found more than {limit} private values in one request; expected at most as many")]
    VaultFull {
        /// The most values of a vault.
        limit: usize,
    },
}

impl GatewayError {
    /// Returns a stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Traffic { .. } => "invalid-traffic",
            Self::EmptyTraffic { .. } => "empty-traffic",
            Self::UnfitTraffic { .. } => "unfit-traffic",
            Self::Estimator { .. } => "invalid-estimator",
            Self::Settings { .. } => "invalid-gateway-file",
            Self::Blocked { .. } => "private-data",
            Self::UnknownKind { .. } => "unknown-kind",
            Self::Detector { .. } => "detector-failed",
            Self::Request { .. } => "unsearchable-request",
            Self::VaultFull { .. } => "vault-full",
        }
    }
}
