use std::io;

/// Why a model file cannot be read or written. Every variant names the file and what in it is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum FormatError {
    // Files
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("{path} is {found}; expected a regular file")]
    NotAFile { path: String, found: &'static str },
    #[error("{path} is larger than {limit} bytes, the most that is read of it")]
    FileTooLarge { path: String, limit: u64 },
    #[error("{path} holds no model weights: expected model.safetensors or model.safetensors.index.json")]
    NoWeights { path: String },
    #[error("{file} is empty")]
    EmptyFile { file: String },
    #[error("{file} is a web page, not a model: the download got an HTML document instead of the file")]
    HtmlPage { file: String },
    #[error("{file} is a Git LFS pointer, not the model itself: fetch the content with `git lfs pull`")]
    LfsPointer { file: String },
    #[error(
        "{file} is a Python pickle (a .bin or .pt checkpoint): loading one can run any code, so it is refused; \
         use or convert to safetensors"
    )]
    Pickle { file: String },
    #[error("{file} is a ggml file of before GGUF (magic {found:?}): convert the original model again")]
    LegacyGgml { file: String, found: String },
    #[error("{file} is not a {expected} file: it starts with {found}")]
    UnknownFormat { file: String, expected: &'static str, found: String },
    #[error("{file} is truncated: {what} at byte {offset} needs {needed} bytes, {available} are left")]
    Truncated { file: String, what: String, offset: u64, needed: u64, available: u64 },
    #[error("{file} changed while it was in use: {problem}; run again when nothing writes to it")]
    Changed { file: String, problem: String },
    #[error("{file}: bytes {}..{} have not been fetched yet", range.start, range.end)]
    NotFetched { file: String, range: std::ops::Range<u64> },
    #[error(
        "{file}: {what} at byte {offset} says {count}, which the {available} bytes left in the file cannot hold \
         (truncated or damaged)"
    )]
    ImplausibleCount { file: String, what: String, offset: u64, count: u64, available: u64 },
    #[error("{file}: {what} at byte {offset} is not UTF-8")]
    InvalidUtf8 { file: String, what: String, offset: u64 },
    #[error("{file} is not valid JSON: {reason}")]
    InvalidJson { file: String, reason: String },

    // Outputs
    #[error("this output cannot be stdout; expected a path (./- is a file of that name)")]
    OutputIsStdout,
    #[error("{path}: a path that is not UTF-8 cannot be written to")]
    OutputNotUtf8 { path: String },
    #[error("'{path}' cannot be written to; expected the name of {expected}")]
    OutputWithoutName { path: String, expected: &'static str },
    #[error("{path}: the name has {found} bytes; expected at most {limit}")]
    OutputNameTooLong { path: String, found: usize, limit: usize },
    #[error("{path} is {found}, which is neither followed nor replaced; choose another path")]
    OutputIsSpecial { path: String, found: &'static str },
    #[error("{path} is {found}, not {expected}, and is not replaced; choose another path")]
    OutputOfAnotherKind { path: String, found: &'static str, expected: &'static str },
    #[error("{path} is there already; --force replaces it")]
    OutputExists { path: String },
    #[error("{path} {relation} {input}, which is read; choose another path")]
    OutputIsInput { path: String, relation: &'static str, input: String },
    #[error("{path} holds {found}, which no earlier run wrote; choose another folder")]
    FolderNotOurs { path: String, found: String },
    #[error("{path} is the current folder, or one around it, and cannot be replaced; name another folder")]
    OutputIsCurrentFolder { path: String },

    // GGUF
    #[error("{file} is a big-endian GGUF file; only little-endian files can be read")]
    BigEndian { file: String },
    #[error("{file} has GGUF version {found}; expected 2 or 3")]
    UnsupportedVersion { file: String, found: u32 },
    #[error("{file} is one of {parts} parts of a split GGUF model, and is not the model by itself")]
    SplitGguf { file: String, parts: u64 },
    #[error(
        "{file} is part {no} of {count} of a split GGUF model, but its name does not end in -{no:05}-of-{count:05}.gguf: the other parts cannot be found"
    )]
    SplitName { file: String, no: usize, count: usize },
    #[error("{file}: {key} is {found}; expected {expected}: it is not a part of this model, or not this part")]
    SplitMismatch { file: String, key: String, found: String, expected: String },
    #[error("{file}: tensor {} is in {other} too", shown(tensor))]
    TensorInTwoShards { file: String, tensor: String, other: String },
    #[error("the model would be {found} files; at most {limit} are possible: allow larger ones")]
    TooManyShards { found: usize, limit: usize },
    #[error("{file}: metadata key {} has the unknown value type {found}; expected 0 to 12", shown(key))]
    UnknownValueType { file: String, key: String, found: u32 },
    #[error("{file}: metadata key {} holds an array of arrays; expected an array of numbers or strings", shown(key))]
    NestedArray { file: String, key: String },
    #[error("{file}: metadata key {} holds a boolean of value {found}; expected 0 or 1", shown(key))]
    InvalidBool { file: String, key: String, found: u8 },
    #[error("{file}: the key {} occurs twice", shown(key))]
    DuplicateKey { file: String, key: String },
    #[error("{file}: metadata key {} is missing; expected {expected}", shown(key))]
    MissingKey { file: String, key: String, expected: &'static str },
    #[error("{file}: metadata key {} is {found}; expected {expected}", shown(key))]
    WrongValueType { file: String, key: String, found: String, expected: &'static str },
    #[error("{file}: metadata key {} is {found}; expected a value that fits {expected}", shown(key))]
    ValueOutOfRange { file: String, key: String, found: String, expected: &'static str },
    #[error("{file}: general.alignment is {found}; expected a power of two")]
    InvalidAlignment { file: String, found: u64 },
    #[error("{file}: tensor {} has {found} dimensions; expected at most {limit}", shown(tensor))]
    TooManyDimensions { file: String, tensor: String, found: u64, limit: u64 },
    #[error("{file}: tensor {} has rows of {row} values; {encoding} needs a multiple of {block}", shown(tensor))]
    PartialBlock { file: String, tensor: String, row: u64, encoding: String, block: u64 },
    #[error("{file}: tensor {} starts at data offset {offset}, not a multiple of {alignment}", shown(tensor))]
    MisalignedTensor { file: String, tensor: String, offset: u64, alignment: u64 },
    #[error("{file}: the name {} has {} bytes; GGUF readers take at most {limit}", shown(name), name.len())]
    NameTooLong { file: String, name: String, limit: usize },

    // Tensors of any file
    #[error("{file}: tensor {} occurs twice", shown(tensor))]
    DuplicateTensor { file: String, tensor: String },
    #[error("{file}: the size of tensor {} with shape {shape:?} does not fit in 64 bits", shown(tensor))]
    SizeOverflow { file: String, tensor: String, shape: Vec<u64> },
    #[error(
        "{file}: tensor {} takes {size} bytes from data offset {offset}, but the data section has {available} \
         (truncated or damaged)",
        shown(tensor)
    )]
    TensorOutOfBounds { file: String, tensor: String, offset: u64, size: u64, available: u64 },
    #[error("{file}: tensors {} and {} overlap", shown(first), shown(second))]
    OverlappingTensors { file: String, first: String, second: String },
    #[error("{file} has no tensor {}", shown(tensor))]
    MissingTensor { file: String, tensor: String },
    #[error("{file}: tensor {} has the encoding {found}, which is not supported", shown(tensor))]
    UnsupportedEncoding { file: String, tensor: String, found: String },
    #[error("{file}: tensor {} is {found}; expected {expected}", shown(tensor))]
    UnexpectedElement { file: String, tensor: String, found: String, expected: &'static str },
    #[error("{file}: tensor {} has shape {found:?}; expected {expected:?}", shown(tensor))]
    ShapeMismatch { file: String, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{file}: tensor {} has {found} bytes of data; its type and shape {shape:?} need {expected}", shown(tensor))]
    SizeMismatch { file: String, tensor: String, shape: Vec<u64>, found: u64, expected: u64 },

    // safetensors
    #[error("{file} is not safetensors: its header would be {found} bytes long; the limit is {limit}")]
    HeaderTooLarge { file: String, found: u64, limit: u64 },
    #[error("{file}: the safetensors header is wrong: {reason}")]
    InvalidHeader { file: String, reason: String },
    #[error("{file}: tensor {} has the unknown dtype {}", shown(tensor), shown(found))]
    UnknownDtype { file: String, tensor: String, found: String },
    #[error("{file}: tensor {} ends at byte {end}, before its begin {begin}", shown(tensor))]
    ReversedOffsets { file: String, tensor: String, begin: u64, end: u64 },
    #[error("{file}: bytes {begin} to {end} of the data section belong to no tensor")]
    UncoveredBytes { file: String, begin: u64, end: u64 },
    #[error("{file}: the index names the shard {}; expected a plain file name", shown(shard))]
    UnsafeShardName { file: String, shard: String },
    #[error("{file}: its shard {} is not there", shown(shard))]
    MissingShard { file: String, shard: String },
    #[error("{file}: the index puts tensor {} in {}, which does not have it", shown(tensor), shown(shard))]
    TensorNotInShard { file: String, tensor: String, shard: String },

    // Quantised modules
    #[error("{file}: quantisation setting {field} is {found}; expected {expected}")]
    InvalidQuantization { file: String, field: String, found: String, expected: &'static str },
    #[error("{file}: quantisation with {field} = {found} is not supported; supported: {supported}")]
    UnsupportedQuantization { file: String, field: String, found: String, supported: String },
    #[error(
        "{file}: the quantisation setting {field} ({found}) is not known and might change the weights; \
         --allow-unknown {field} ignores it"
    )]
    UnknownQuantization { file: String, field: String, found: String },
    #[error("{file}: {}: {reason}", shown(tensor))]
    InvalidPacking { file: String, tensor: String, reason: String },
    #[error("{file}: {} puts column {column} in group {found}; there are {groups} groups", shown(tensor))]
    GroupIndexOutOfRange { file: String, tensor: String, column: usize, found: i32, groups: usize },
    #[error("{} cannot be written as {format}: {reason}", shown(tensor))]
    NotRepresentable { tensor: String, format: &'static str, reason: String },
}

impl FormatError {
    /// A stable kebab-case name of this way to fail.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "file-not-found",
                io::ErrorKind::PermissionDenied => "permission-denied",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk-full",
                io::ErrorKind::ReadOnlyFilesystem => "read-only-disk",
                _ => "io-error",
            },
            Self::NotAFile { .. } => "not-a-file",
            Self::FileTooLarge { .. } => "file-too-large",
            Self::NoWeights { .. } => "no-weights",
            Self::EmptyFile { .. } => "empty-file",
            Self::HtmlPage { .. } => "html-page",
            Self::LfsPointer { .. } => "lfs-pointer",
            Self::Pickle { .. } => "pickle-file",
            Self::LegacyGgml { .. } => "legacy-ggml",
            Self::UnknownFormat { .. } => "unknown-format",
            Self::Truncated { .. } => "truncated-file",
            Self::Changed { .. } => "file-changed",
            Self::NotFetched { .. } => "not-fetched",
            Self::ImplausibleCount { .. } => "implausible-count",
            Self::InvalidUtf8 { .. } => "invalid-utf8",
            Self::InvalidJson { .. } => "invalid-json",
            Self::OutputIsStdout => "output-is-stdout",
            Self::OutputNotUtf8 { .. } => "output-not-utf8",
            Self::OutputWithoutName { .. } => "output-without-name",
            Self::OutputNameTooLong { .. } => "output-name-too-long",
            Self::OutputIsSpecial { .. } => "output-is-special",
            Self::OutputOfAnotherKind { .. } => "output-of-another-kind",
            Self::OutputExists { .. } => "output-exists",
            Self::OutputIsInput { .. } => "output-is-input",
            Self::FolderNotOurs { .. } => "folder-not-ours",
            Self::OutputIsCurrentFolder { .. } => "output-is-current-folder",
            Self::BigEndian { .. } => "big-endian-gguf",
            Self::UnsupportedVersion { .. } => "unsupported-gguf-version",
            Self::SplitGguf { .. } => "split-gguf",
            Self::SplitName { .. } => "split-name",
            Self::SplitMismatch { .. } => "split-mismatch",
            Self::TensorInTwoShards { .. } => "tensor-in-two-shards",
            Self::TooManyShards { .. } => "too-many-shards",
            Self::UnknownValueType { .. } => "unknown-value-type",
            Self::NestedArray { .. } => "nested-array",
            Self::InvalidBool { .. } => "invalid-bool",
            Self::DuplicateKey { .. } => "duplicate-key",
            Self::MissingKey { .. } => "missing-key",
            Self::WrongValueType { .. } => "wrong-value-type",
            Self::ValueOutOfRange { .. } => "value-out-of-range",
            Self::InvalidAlignment { .. } => "invalid-alignment",
            Self::TooManyDimensions { .. } => "too-many-dimensions",
            Self::PartialBlock { .. } => "partial-block",
            Self::MisalignedTensor { .. } => "misaligned-tensor",
            Self::NameTooLong { .. } => "name-too-long",
            Self::DuplicateTensor { .. } => "duplicate-tensor",
            Self::SizeOverflow { .. } => "size-overflow",
            Self::TensorOutOfBounds { .. } => "tensor-out-of-bounds",
            Self::OverlappingTensors { .. } => "overlapping-tensors",
            Self::MissingTensor { .. } => "missing-tensor",
            Self::UnsupportedEncoding { .. } => "unsupported-encoding",
            Self::UnexpectedElement { .. } => "unexpected-element-type",
            Self::ShapeMismatch { .. } => "shape-mismatch",
            Self::SizeMismatch { .. } => "size-mismatch",
            Self::HeaderTooLarge { .. } => "header-too-large",
            Self::InvalidHeader { .. } => "invalid-header",
            Self::UnknownDtype { .. } => "unknown-dtype",
            Self::ReversedOffsets { .. } => "reversed-offsets",
            Self::UncoveredBytes { .. } => "uncovered-bytes",
            Self::UnsafeShardName { .. } => "unsafe-shard-name",
            Self::MissingShard { .. } => "missing-shard",
            Self::TensorNotInShard { .. } => "tensor-not-in-shard",
            Self::InvalidQuantization { .. } => "invalid-quantization-config",
            Self::UnsupportedQuantization { .. } => "unsupported-quantization",
            Self::UnknownQuantization { .. } => "unknown-quantization-setting",
            Self::InvalidPacking { .. } => "invalid-packing",
            Self::GroupIndexOutOfRange { .. } => "group-index-out-of-range",
            Self::NotRepresentable { .. } => "not-representable",
        }
    }

    /// An I/O failure while doing `action` ("open", "write", ...) to `path`.
    pub fn io(action: &'static str, path: impl std::fmt::Display, source: io::Error) -> Self {
        Self::Io { action, path: path.to_string(), source }
    }
}

/// Where something is under a path of an output that is no file or folder.
#[cfg(not(target_arch = "wasm32"))]
impl FormatError {
    pub(crate) fn special(path: &std::path::Path, found: &'static str) -> Self {
        Self::OutputIsSpecial { path: path.display().to_string(), found }
    }
}

/// A name from a file, fit for a message: in quotes, control characters escaped, long ones cut.
pub(crate) fn shown(name: &str) -> String {
    format!("'{}'", escaped(name))
}

/// As [`shown`], without quotes.
pub(crate) fn escaped(name: &str) -> String {
    const LIMIT: usize = 120;
    let mut out: String = name.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if name.chars().nth(LIMIT).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_escaped_and_cut_in_messages() {
        assert_eq!(shown("a\x1b[31m\n"), "'a\\u{1b}[31m\\n'");
        assert_eq!(shown(&"x".repeat(1 << 20)).len(), 125);
    }

    #[test]
    fn io_errors_are_told_apart_by_code() {
        let code = |kind: io::ErrorKind| FormatError::io("open", "model.gguf", kind.into()).code();
        assert_eq!(code(io::ErrorKind::NotFound), "file-not-found");
        assert_eq!(code(io::ErrorKind::StorageFull), "disk-full");
        assert_eq!(code(io::ErrorKind::PermissionDenied), "permission-denied");
        assert_eq!(code(io::ErrorKind::TimedOut), "io-error");
    }
}
