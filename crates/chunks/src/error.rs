/// The error of a record of chunks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant describes its fields")]
pub enum ChunkError {
    #[error(
        "{path}: chunk {chunk}: wrong bytes: found the SHA-256 {found}, expected {expected}; fetch it from its publisher again"
    )]
    WrongHash { path: String, chunk: usize, expected: String, found: String },
    #[error("{path}: wrong bytes: found the SHA-256 {found}, expected {expected}; fetch it from its publisher again")]
    WrongFileHash { path: String, expected: String, found: String },
    #[error("manifest: {path}: {field}: found {found}, expected {expected}")]
    InvalidManifest { path: String, field: &'static str, found: String, expected: &'static str },
    #[error("the record of the stored model: {problem}; delete the model and fetch it again")]
    InvalidRecord { problem: String },
}

impl ChunkError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongHash { .. } | Self::WrongFileHash { .. } => "wrong-hash",
            Self::InvalidManifest { .. } => "invalid-manifest",
            Self::InvalidRecord { .. } => "damaged-record",
        }
    }
}
