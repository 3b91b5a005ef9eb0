use honelm_backend::BackendError;
use honelm_blocks::BlockError;
use honelm_formats::FormatError;

/// The error of opening, running or writing a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant describes its fields")]
pub enum ModelError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{file}: tensor {tensor}: {source}")]
    Weight { file: String, tensor: String, source: BlockError },

    // Configurations
    #[error("{path}: not a model: expected a GGUF file or a folder with config.json")]
    NotAModel { path: String },
    #[error("{file}: unknown architecture: found {found}, expected one of {known}")]
    UnknownArchitecture { file: String, found: String, known: String },
    #[error("{file}: missing field {field}: expected {expected}")]
    MissingField { file: String, field: String, expected: String },
    #[error("{file}: invalid field {field}: found {found}, expected {expected}")]
    InvalidField { file: String, field: String, found: String, expected: String },
    #[error(
        "{file}: unknown field {field} ({found}), which might change the model's results; --allow-unknown {field} \
         ignores it"
    )]
    UnknownField { file: String, field: String, found: String },
    #[error("a model of other sizes: {problem}")]
    NotResizable { problem: String },
    #[error("unknown model shape: found {found:?}, expected one of {known}")]
    UnknownShape { found: String, known: String },

    // Tensors
    #[error("{file}: missing tensor {tensor}: expected the shape {expected:?}")]
    MissingTensor { file: String, tensor: String, expected: Vec<usize> },
    #[error("{file}: wrong shape of tensor {tensor}: found {found:?}, expected {expected:?}")]
    WrongShape { file: String, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{file}: unexpected tensor {tensor:?}: the model of the configuration has {problem}")]
    UnexpectedTensor { file: String, tensor: String, problem: &'static str },
    #[error("{file}: {tensor} differs from the embedding, although the configuration ties the two")]
    TiedOutputDiffers { file: String, tensor: String },
    #[error("the model has no weight {module} in {}", place(*layer))]
    UnknownSlot { layer: Option<usize>, module: String },

    #[error("the replaced weight {module} in {}: {reason}", place(*layer))]
    Replaced { layer: Option<usize>, module: &'static str, reason: String },

    // Running
    #[error(
        "the model is an encoder ({architecture}): it makes embeddings of texts, and can neither generate nor score them"
    )]
    Encoder { architecture: &'static str },
    #[error("context too long: {wanted} tokens were requested, the model's limit is {limit}")]
    ContextTooLong { wanted: usize, limit: usize },
    #[error("unsupported {name} cache: found heads of {head_width} values, expected a multiple of {block}")]
    CacheType { name: &'static str, head_width: usize, block: usize },
    #[error("wrong width of {what}: found {found} columns, expected {expected}")]
    WrongWidth { what: &'static str, found: usize, expected: usize },
    #[error("wrong number of {what}: found {found} rows, expected {expected}")]
    WrongRows { what: &'static str, found: usize, expected: usize },
    #[error("the results of a step are not ready, and this platform cannot wait for them")]
    WouldBlock,

    // Writing
    #[error("{what} cannot be written as {container}: {problem}")]
    NotExportable { what: String, container: &'static str, problem: String },
}

fn place(layer: Option<usize>) -> String {
    layer.map_or_else(|| "the modules outside of the layers".to_owned(), |i| format!("layer {i}"))
}

/// Returns the error for something that a container cannot hold.
pub(crate) fn refused(what: impl Into<String>, container: &'static str, problem: impl Into<String>) -> ModelError {
    ModelError::NotExportable { what: what.into(), container, problem: problem.into() }
}

impl ModelError {
    /// Returns the file, the name and the value of an unknown field, if that is the error.
    pub(crate) fn unknown_field(&self) -> Option<(&str, &str, &str)> {
        match self {
            Self::UnknownField { file, field, found }
            | Self::Format(FormatError::UnknownQuantization { file, field, found }) => Some((file, field, found)),
            _ => None,
        }
    }

    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Backend(source) => source.code(),
            Self::Format(source) => source.code(),
            Self::Weight { source, .. } => source.code(),
            Self::NotAModel { .. } => "not-a-model",
            Self::UnknownArchitecture { .. } => "unknown-architecture",
            Self::MissingField { .. } => "missing-field",
            Self::InvalidField { .. } => "invalid-field",
            Self::UnknownField { .. } => "unknown-field",
            Self::NotResizable { .. } => "not-resizable",
            Self::UnknownShape { .. } => "unknown-shape",
            Self::MissingTensor { .. } => "missing-tensor",
            Self::WrongShape { .. } => "shape-mismatch",
            Self::UnexpectedTensor { .. } => "unexpected-tensor",
            Self::TiedOutputDiffers { .. } => "tied-output-differs",
            Self::UnknownSlot { .. } => "unknown-slot",
            Self::Replaced { .. } => "replaced-weight",
            Self::Encoder { .. } => "model-is-encoder",
            Self::ContextTooLong { .. } => "context-too-long",
            Self::CacheType { .. } => "unsupported-cache-type",
            Self::WrongWidth { .. } => "width-mismatch",
            Self::WrongRows { .. } => "row-mismatch",
            Self::WouldBlock => "would-block",
            Self::NotExportable { .. } => "not-exportable",
        }
    }
}
