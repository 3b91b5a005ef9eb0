/// The errors of back ends and of the sequence state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The device has no kernel for a weight.
    #[error("{device} has no kernel for {encoding} weights")]
    UnsupportedEncoding {
        /// The device.
        device: String,
        /// The name of the encoding.
        encoding: String,
    },
    /// The device lacks an operation.
    #[error("{device} has no {operation}")]
    UnsupportedOperation {
        /// The device.
        device: String,
        /// The operation.
        operation: &'static str,
    },
    /// A batch contradicts the state of the sequences.
    #[error("batch row {row}: {problem}")]
    InvalidBatch {
        /// The row of the batch.
        row: usize,
        /// The problem with it.
        problem: String,
    },
    /// A path of accepted drafts does not exist among the pending drafts.
    #[error("sequence {sequence}, accepted path, entry {index}: {problem}")]
    InvalidPath {
        /// The sequence.
        sequence: u32,
        /// The entry of the path.
        index: usize,
        /// The problem with it.
        problem: String,
    },
    /// A sequence would exceed its context.
    #[error("sequence {sequence} would have {wanted} tokens, its context holds {limit}")]
    ContextFull {
        /// The sequence.
        sequence: u32,
        /// The number of tokens after the step.
        wanted: usize,
        /// The largest number of tokens.
        limit: usize,
    },
    /// The embedding has no row for a token id.
    #[error("found token {token}, expected one of {vocabulary} in the vocabulary")]
    UnknownToken {
        /// The token id.
        token: u32,
        /// The number of rows of the embedding.
        vocabulary: usize,
    },
    /// No token can be drawn, because the set of allowed tokens has none that is possible.
    #[error("no token can be drawn: {allowed} of {vocabulary} are allowed, and none of these is possible")]
    NoAllowedToken {
        /// The number of allowed tokens.
        allowed: usize,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// A sequence is not open.
    #[error("sequence {0} is not open")]
    UnknownSequence(u32),
    /// A ticket was never issued or has already been read.
    #[error("step {0} has no results: it was not submitted or has already been read")]
    UnknownTicket(u64),
    /// The device has too little memory.
    #[error("{device} is out of memory: it cannot allocate {wanted} bytes for {what}")]
    OutOfMemory {
        /// The device.
        device: String,
        /// The number of bytes requested.
        wanted: usize,
        /// The purpose of the memory.
        what: String,
    },
    /// The pages of all sequences would exceed the limit.
    #[error("the key-value cache is full: it would need {wanted} bytes, its limit is {limit}")]
    CacheFull {
        /// The bytes of all pages after the step.
        wanted: usize,
        /// The largest number of bytes.
        limit: usize,
    },
    /// A saved sequence contradicts the cache.
    #[error("saved sequence: {problem}")]
    InvalidSaved {
        /// The problem with it.
        problem: String,
    },
    /// The device is gone: its driver was reset, or it was removed.
    #[error("{device} was lost: {reason}; open it again, or use the CPU")]
    DeviceLost {
        /// The device.
        device: String,
        /// The reason that the driver gives.
        reason: String,
    },
    /// The device rejected a step.
    #[error("{device} failed: {problem}")]
    DeviceFailed {
        /// The device.
        device: String,
        /// The problem that the driver reports.
        problem: String,
    },
}

impl BackendError {
    /// Returns a stable code in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedEncoding { .. } => "unsupported-encoding",
            Self::UnsupportedOperation { .. } => "unsupported-operation",
            Self::InvalidBatch { .. } => "invalid-batch",
            Self::InvalidPath { .. } => "invalid-path",
            Self::ContextFull { .. } => "context-full",
            Self::NoAllowedToken { .. } => "no-allowed-token",
            Self::UnknownToken { .. } => "unknown-token",
            Self::UnknownSequence(_) => "unknown-sequence",
            Self::UnknownTicket(_) => "unknown-ticket",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::CacheFull { .. } => "cache-full",
            Self::InvalidSaved { .. } => "invalid-saved-sequence",
            Self::DeviceLost { .. } => "device-lost",
            Self::DeviceFailed { .. } => "device-failed",
        }
    }
}
