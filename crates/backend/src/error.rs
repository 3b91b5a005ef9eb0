/// Why a back end or the sequence state refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The device has no kernel for a weight.
    #[error("{device} cannot run weights in {encoding}")]
    UnsupportedEncoding {
        /// The device.
        device: String,
        /// The encoding's name.
        encoding: String,
    },
    /// A batch that contradicts the sequences' state.
    #[error("row {row} of the batch: {problem}")]
    InvalidBatch {
        /// Row of the batch.
        row: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A path of accepted drafts that the pending drafts do not have.
    #[error("entry {index} of the accepted path of sequence {sequence}: {problem}")]
    InvalidPath {
        /// The sequence.
        sequence: u32,
        /// Entry of the path.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A sequence would outgrow its context.
    #[error("sequence {sequence} would have {wanted} tokens, its context holds {limit}")]
    ContextFull {
        /// The sequence.
        sequence: u32,
        /// Tokens after the step.
        wanted: usize,
        /// Most tokens that it may have.
        limit: usize,
    },
    /// A token id that the embedding has no row for.
    #[error("token {token} is outside the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The token id.
        token: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A sequence that is not open.
    #[error("sequence {0} is not open")]
    UnknownSequence(u32),
    /// A ticket that was never issued, or was read already.
    #[error("step {0} has no results: it was not submitted, or was read before")]
    UnknownTicket(u64),
    /// The device cannot hold what is asked of it.
    #[error("out of memory on {device}: {wanted} bytes for {what}")]
    OutOfMemory {
        /// The device.
        device: String,
        /// Bytes asked for.
        wanted: usize,
        /// What they are for.
        what: String,
    },
    /// The device is gone: its driver was reset, or it was taken away.
    #[error("{device} was lost: {reason}; open it again, or use the CPU")]
    DeviceLost {
        /// The device.
        device: String,
        /// What the driver says.
        reason: String,
    },
    /// The device refused a step.
    #[error("{device} failed: {problem}")]
    DeviceFailed {
        /// The device.
        device: String,
        /// What the driver says.
        problem: String,
    },
}

impl BackendError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedEncoding { .. } => "unsupported-encoding",
            Self::InvalidBatch { .. } => "invalid-batch",
            Self::InvalidPath { .. } => "invalid-path",
            Self::ContextFull { .. } => "context-full",
            Self::UnknownToken { .. } => "unknown-token",
            Self::UnknownSequence(_) => "unknown-sequence",
            Self::UnknownTicket(_) => "unknown-ticket",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::DeviceLost { .. } => "device-lost",
            Self::DeviceFailed { .. } => "device-failed",
        }
    }
}
