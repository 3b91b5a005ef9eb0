use honelm_model::ModelError;

/// The error of reading or writing a piece of saved work.
pub type PieceError = Box<dyn std::error::Error + Send + Sync>;

/// The error of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The name of a protocol is unknown.
    #[error(
        "unknown protocol: found '{0}', expected llama.cpp-N, gptq-N or hf-stride-N for example llama.cpp-512 (N at least 4, 2, 1)"
    )]
    UnknownProtocol(String),
    /// A budget is neither a number nor a percentage.
    #[error("invalid budget: found '{0}', expected a number such as 0.5 or a percentage such as 5%")]
    InvalidBudget(String),
    /// A chunk is longer than the model's context.
    #[error("{protocol}: context too short: found {context} tokens, expected at least {wanted}")]
    ContextTooShort {
        /// The protocol.
        protocol: String,
        /// The number of tokens in a chunk.
        wanted: usize,
        /// The model's context in tokens.
        context: usize,
    },
    /// The text does not fill one chunk.
    #[error("{protocol}: text too short: found {found} tokens, expected at least {wanted}")]
    TextTooShort {
        /// The protocol.
        protocol: String,
        /// The number of tokens in the text.
        found: usize,
        /// The number of tokens in the first chunk.
        wanted: usize,
    },
    /// Calibration text and held-out text overlap.
    #[error(
        "the held-out text overlaps with the calibration text: found {:.1}% common {}-token sequences, expected at most \
         {:.0}%; use another text, since quality on calibration text is no evidence",
        .share * 100.0, crate::NGRAM, crate::MAX_OVERLAP * 100.0
    )]
    Overlap {
        /// The share of common sequences, 0 to 1.
        share: f64,
    },
    /// Two models were scored on different chunks.
    #[error("the models were scored on different texts: found {right} chunks, expected {left}")]
    Mismatch {
        /// The number of chunks of the original.
        left: usize,
        /// The number of chunks of the candidate.
        right: usize,
    },
    /// A logit is not a finite number.
    #[error("chunk {chunk}, position {position}: the model's logits are not finite")]
    NotFinite {
        /// The number of the chunk, from 0.
        chunk: usize,
        /// The position in the chunk.
        position: usize,
    },
    /// A logit of a task's item is not a finite number.
    #[error("item {}: the model's logits are not finite", .item + 1)]
    ItemNotFinite {
        /// The number of the item, from 0.
        item: usize,
    },
    /// The original's hidden states cannot be saved or read.
    #[error("hidden states of the original: {0}")]
    States(#[source] PieceError),
    /// A piece of the original's saved hidden states has been lost.
    #[error(
        "hidden states of the original: piece {} of {pieces} is missing or damaged; run again to compute it anew", .piece + 1
    )]
    StatesLost {
        /// The number of the piece, from 0.
        piece: usize,
        /// The number of pieces.
        pieces: usize,
    },
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The caller stopped the evaluation.
    #[error("interrupted")]
    Interrupted,
}

impl EvalError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownProtocol(_) => "unknown-protocol",
            Self::InvalidBudget(_) => "invalid-budget",
            Self::ContextTooShort { .. } => "context-too-short",
            Self::TextTooShort { .. } => "text-too-short",
            Self::Overlap { .. } => "texts-overlap",
            Self::Mismatch { .. } => "scores-mismatch",
            Self::NotFinite { .. } => "logits-not-finite",
            Self::ItemNotFinite { .. } => "logits-not-finite",
            Self::States(_) => "states-io",
            Self::StatesLost { .. } => "states-lost",
            Self::Model(e) => e.code(),
            Self::Interrupted => "interrupted",
        }
    }
}
