use honelm_backend::BackendError;
use honelm_blocks::BlockError;
use honelm_formats::FormatError;

/// Why a model cannot be opened, run or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum ModelError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{file}: tensor {tensor}: {source}")]
    Weight { file: String, tensor: String, source: BlockError },

    // Configurations
    #[error("{path} holds no model: expected a GGUF file or a folder with config.json")]
    NotAModel { path: String },
    #[error("{file}: unknown architecture {found}; known: {known}")]
    UnknownArchitecture { file: String, found: String, known: String },
    #[error("{file}: the field {field} is missing; expected {expected}")]
    MissingField { file: String, field: String, expected: String },
    #[error("{file}: {field} is {found}; expected {expected}")]
    InvalidField { file: String, field: String, found: String, expected: String },
    #[error(
        "{file}: the field {field} ({found}) is not known and might change what the model computes; \
         --allow-unknown {field} ignores it"
    )]
    UnknownField { file: String, field: String, found: String },
    #[error("no model shape is called {found:?}; known: {known}")]
    UnknownShape { found: String, known: String },

    // Tensors
    #[error("{file}: tensor {tensor} is missing; expected shape {expected:?}")]
    MissingTensor { file: String, tensor: String, expected: Vec<usize> },
    #[error("{file}: tensor {tensor} has the shape {found:?}; expected {expected:?}")]
    WrongShape { file: String, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{file}: the tensor {tensor:?} is not part of the model that the configuration describes: {problem}")]
    UnexpectedTensor { file: String, tensor: String, problem: &'static str },
    #[error("{file}: {tensor} differs from the embedding although the configuration ties the two")]
    TiedOutputDiffers { file: String, tensor: String },
    #[error("the model has no weight {module} in {}", place(*layer))]
    UnknownSlot { layer: Option<usize>, module: String },

    #[error("the replaced weight {module} in {}: {reason}", place(*layer))]
    Replaced { layer: Option<usize>, module: &'static str, reason: String },

    // Running
    #[error("a context of {wanted} tokens was asked for; the model's own limit is {limit}")]
    ContextTooLong { wanted: usize, limit: usize },
    #[error("a Q8_0 cache needs heads of a multiple of {block} values; the model's have {head_width}")]
    CacheType { head_width: usize, block: usize },
    #[error("{what} has {found} columns; expected {expected}")]
    WrongWidth { what: &'static str, found: usize, expected: usize },
    #[error("{what}: {found} rows; expected {expected}")]
    WrongRows { what: &'static str, found: usize, expected: usize },
    #[error("the results of a step are not there yet, and this platform cannot wait for them")]
    WouldBlock,

    // Writing
    #[error("{what} cannot be written as {container}: {problem}")]
    NotExportable { what: String, container: &'static str, problem: String },
}

fn place(layer: Option<usize>) -> String {
    layer.map_or_else(|| "its outer layers".to_owned(), |i| format!("layer {i}"))
}

impl ModelError {
    /// File, name and value of the field that is refused because it is not known.
    pub(crate) fn unknown_field(&self) -> Option<(&str, &str, &str)> {
        match self {
            Self::UnknownField { file, field, found }
            | Self::Format(FormatError::UnknownQuantization { file, field, found }) => Some((file, field, found)),
            _ => None,
        }
    }

    /// A stable name for programs.
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
            Self::UnknownShape { .. } => "unknown-shape",
            Self::MissingTensor { .. } => "missing-tensor",
            Self::WrongShape { .. } => "shape-mismatch",
            Self::UnexpectedTensor { .. } => "unexpected-tensor",
            Self::TiedOutputDiffers { .. } => "tied-output-differs",
            Self::UnknownSlot { .. } => "unknown-slot",
            Self::Replaced { .. } => "replaced-weight",
            Self::ContextTooLong { .. } => "context-too-long",
            Self::CacheType { .. } => "unsupported-cache-type",
            Self::WrongWidth { .. } => "width-mismatch",
            Self::WrongRows { .. } => "row-mismatch",
            Self::WouldBlock => "would-block",
            Self::NotExportable { .. } => "not-exportable",
        }
    }
}
