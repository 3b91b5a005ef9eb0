use honelm_model::ModelError;

/// Why a piece of kept work cannot be written or read.
pub type PieceError = Box<dyn std::error::Error + Send + Sync>;

/// Why an evaluation cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A protocol name that does not exist.
    #[error("unknown protocol '{0}': expected llama.cpp-N, gptq-N or hf-stride-N, N tokens (e.g. llama.cpp-512)")]
    UnknownProtocol(String),
    /// A window longer than the model's context.
    #[error("{protocol} needs a context of {wanted} tokens, the model has {context}")]
    ContextTooShort {
        /// The protocol.
        protocol: String,
        /// Tokens a window.
        wanted: usize,
        /// The model's context.
        context: usize,
    },
    /// A text that does not fill one window.
    #[error("the text has {found} tokens, {protocol} needs at least {wanted}")]
    TextTooShort {
        /// The protocol.
        protocol: String,
        /// Tokens found.
        found: usize,
        /// Tokens of the first window.
        wanted: usize,
    },
    /// Calibration and evaluation text overlap.
    #[error(
        "{:.1}% of the evaluation text's {}-token sequences occur in the calibration text (at most {:.0}% may): \
         quality measured on text that was calibrated on proves nothing",
        .share * 100.0, crate::NGRAM, crate::MAX_OVERLAP * 100.0
    )]
    Overlap {
        /// Share of the sequences found, 0 to 1.
        share: f64,
    },
    /// Two scores that were not measured on the same positions.
    #[error("the two models were scored on different positions: {left} and {right} windows")]
    Mismatch {
        /// Windows of one.
        left: usize,
        /// Windows of the other.
        right: usize,
    },
    /// Logits that are not numbers.
    #[error("window {window}, position {position}: the model's logits are not finite")]
    NotFinite {
        /// Window.
        window: usize,
        /// Position inside it.
        position: usize,
    },
    /// The kept states of the original cannot be written or read.
    #[error("hidden states of the original: {0}")]
    States(#[source] PieceError),
    /// Kept states of the original that were there before.
    #[error(
        "piece {} of {pieces} of the original's hidden states is gone or damaged; run again to score it anew", .piece + 1
    )]
    StatesLost {
        /// Number of the piece, from 0.
        piece: usize,
        /// All of them.
        pieces: usize,
    },
    /// The model refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl EvalError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownProtocol(_) => "unknown-protocol",
            Self::ContextTooShort { .. } => "context-too-short",
            Self::TextTooShort { .. } => "text-too-short",
            Self::Overlap { .. } => "texts-overlap",
            Self::Mismatch { .. } => "scores-mismatch",
            Self::NotFinite { .. } => "logits-not-finite",
            Self::States(_) => "states-io",
            Self::StatesLost { .. } => "states-lost",
            Self::Model(e) => e.code(),
            Self::Interrupted => "interrupted",
        }
    }
}
