use std::io;

/// The errors of reading and writing model files. Every variant names the file and what is wrong in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant explains its fields")]
pub enum FormatError {
    // Files
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("{path}: found {found}, expected a regular file")]
    NotAFile { path: String, found: &'static str },
    #[error("{path} is larger than the limit of {limit} bytes")]
    FileTooLarge { path: String, limit: u64 },
    #[error("{path}: found no model weights, expected model.safetensors or model.safetensors.index.json")]
    NoWeights { path: String },
    #[error("{file} is empty")]
    EmptyFile { file: String },
    #[error("{file} is a web page, not a model: the server sent HTML instead of the file; download it again")]
    HtmlPage { file: String },
    #[error("{file} is a Git LFS pointer, not the model itself; run `git lfs pull` to fetch the model")]
    LfsPointer { file: String },
    #[error(
        "{file} is a Python pickle (a .bin or .pt checkpoint), which can run any code when it is loaded; \
         use a safetensors version of the model, or convert it"
    )]
    Pickle { file: String },
    #[error("{file} is a ggml file older than GGUF (magic {found:?}); convert the original model again")]
    LegacyGgml { file: String, found: String },
    #[error("{file}: found {found} at the start, expected a {expected} file")]
    UnknownFormat { file: String, expected: &'static str, found: String },
    #[error("{file} is truncated: {what} at byte {offset} needs {needed} bytes, found {available}")]
    Truncated { file: String, what: String, offset: u64, needed: u64, available: u64 },
    #[error("{file} changed while it was in use: {problem}; run again when no other program writes to it")]
    Changed { file: String, problem: String },
    #[error("{file}: bytes {}..{} have not been fetched yet", range.start, range.end)]
    NotFetched { file: String, range: std::ops::Range<u64> },
    #[error(
        "{file}: {what} at byte {offset} is {count}, more than the {available} bytes after it can hold; \
         the file is truncated or damaged"
    )]
    ImplausibleCount { file: String, what: String, offset: u64, count: u64, available: u64 },
    #[error("{file}: {what} at byte {offset} is not UTF-8")]
    InvalidUtf8 { file: String, what: String, offset: u64 },
    #[error("{file} is not valid JSON: {reason}")]
    InvalidJson { file: String, reason: String },

    // Outputs
    #[error("the output cannot be stdout; give a path (./- is a file of that name)")]
    OutputIsStdout,
    #[error("{path}: the path is not UTF-8; choose another path")]
    OutputNotUtf8 { path: String },
    #[error("'{path}' has no file name, expected the path of {expected}")]
    OutputWithoutName { path: String, expected: &'static str },
    #[error("{path}: found a name of {found} bytes, expected at most {limit}")]
    OutputNameTooLong { path: String, found: usize, limit: usize },
    #[error("{path} is {found}, which is neither written to nor replaced; choose another path")]
    OutputIsSpecial { path: String, found: &'static str },
    #[error("{path} already exists and is {found}, not {expected}; choose another path")]
    OutputOfAnotherKind { path: String, found: &'static str, expected: &'static str },
    #[error("{path} already exists; use --force to replace it")]
    OutputExists { path: String },
    #[error("{path} {relation} {input}, which is an input; choose another path")]
    OutputIsInput { path: String, relation: &'static str, input: String },
    #[error("{path} contains {found}, which no earlier run wrote; choose another folder")]
    FolderNotOurs { path: String, found: String },
    #[error("{path} is or contains the current folder and cannot be replaced; choose another folder")]
    OutputIsCurrentFolder { path: String },

    // GGUF
    #[error("{file}: found a big-endian GGUF file, expected a little-endian one")]
    BigEndian { file: String },
    #[error("{file}: found GGUF version {found}, expected 2 or 3")]
    UnsupportedVersion { file: String, found: u32 },
    #[error("{file} is one of {parts} parts of a split GGUF model; open all parts together")]
    SplitGguf { file: String, parts: u64 },
    #[error(
        "{file} is part {no} of {count} of a split GGUF model: expected a name that ends in \
         -{no:05}-of-{count:05}.gguf, from which the names of the other parts follow"
    )]
    SplitName { file: String, no: usize, count: usize },
    #[error("{file}: {key}: found {found}, expected {expected}; the file is another part or belongs to another model")]
    SplitMismatch { file: String, key: String, found: String, expected: String },
    #[error("{file}: tensor {} is also in {other}", shown(tensor))]
    TensorInTwoShards { file: String, tensor: String, other: String },
    #[error("the model would need {found} files, expected at most {limit}; allow larger files")]
    TooManyShards { found: usize, limit: usize },
    #[error("{file}: metadata key {}: found value type {found}, expected 0 to 12", shown(key))]
    UnknownValueType { file: String, key: String, found: u32 },
    #[error("{file}: metadata key {}: found an array of arrays, expected an array of numbers or strings", shown(key))]
    NestedArray { file: String, key: String },
    #[error("{file}: metadata key {}: found the boolean {found}, expected 0 or 1", shown(key))]
    InvalidBool { file: String, key: String, found: u8 },
    #[error("{file}: key {} occurs twice", shown(key))]
    DuplicateKey { file: String, key: String },
    #[error("{file}: metadata key {} is missing, expected {expected}", shown(key))]
    MissingKey { file: String, key: String, expected: &'static str },
    #[error("{file}: metadata key {}: found {found}, expected {expected}", shown(key))]
    WrongValueType { file: String, key: String, found: String, expected: &'static str },
    #[error("{file}: metadata key {}: found {found}, expected a value that fits {expected}", shown(key))]
    ValueOutOfRange { file: String, key: String, found: String, expected: &'static str },
    #[error("{file}: general.alignment: found {found}, expected a power of two")]
    InvalidAlignment { file: String, found: u64 },
    #[error("{file}: tensor {}: found {found} dimensions, expected at most {limit}", shown(tensor))]
    TooManyDimensions { file: String, tensor: String, found: u64, limit: u64 },
    #[error("{file}: tensor {}: found rows of {row} values, {encoding} needs a multiple of {block}", shown(tensor))]
    PartialBlock { file: String, tensor: String, row: u64, encoding: String, block: u64 },
    #[error("{file}: tensor {}: found data offset {offset}, expected a multiple of {alignment}", shown(tensor))]
    MisalignedTensor { file: String, tensor: String, offset: u64, alignment: u64 },
    #[error("{file}: name {}: found {} bytes, GGUF readers take at most {limit}", shown(name), name.len())]
    NameTooLong { file: String, name: String, limit: usize },

    // Tensors of any file
    #[error("{file}: tensor {} occurs twice", shown(tensor))]
    DuplicateTensor { file: String, tensor: String },
    #[error("{file}: tensor {}: the size of shape {shape:?} does not fit in 64 bits", shown(tensor))]
    SizeOverflow { file: String, tensor: String, shape: Vec<u64> },
    #[error(
        "{file}: tensor {}: found {size} bytes at data offset {offset} of a data section of {available} bytes; \
         the file is truncated or damaged",
        shown(tensor)
    )]
    TensorOutOfBounds { file: String, tensor: String, offset: u64, size: u64, available: u64 },
    #[error("{file}: tensors {} and {} overlap", shown(first), shown(second))]
    OverlappingTensors { file: String, first: String, second: String },
    #[error("{file}: tensor {} is missing", shown(tensor))]
    MissingTensor { file: String, tensor: String },
    #[error("{file}: tensor {}: encoding {found} is not supported", shown(tensor))]
    UnsupportedEncoding { file: String, tensor: String, found: String },
    #[error("{file}: tensor {}: found {found}, expected {expected}", shown(tensor))]
    UnexpectedElement { file: String, tensor: String, found: String, expected: &'static str },
    #[error("{file}: tensor {}: found shape {found:?}, expected {expected:?}", shown(tensor))]
    ShapeMismatch { file: String, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{file}: tensor {}: found {found} bytes of data, expected {expected} for shape {shape:?}", shown(tensor))]
    SizeMismatch { file: String, tensor: String, shape: Vec<u64>, found: u64, expected: u64 },

    // safetensors
    #[error("{file}: found a safetensors header of {found} bytes, expected at most {limit}")]
    HeaderTooLarge { file: String, found: u64, limit: u64 },
    #[error("{file}: invalid safetensors header: {reason}")]
    InvalidHeader { file: String, reason: String },
    #[error("{file}: tensor {}: unknown dtype {}", shown(tensor), shown(found))]
    UnknownDtype { file: String, tensor: String, found: String },
    #[error("{file}: tensor {}: found end offset {end} before start offset {begin}", shown(tensor))]
    ReversedOffsets { file: String, tensor: String, begin: u64, end: u64 },
    #[error("{file}: bytes {begin} to {end} of the data section belong to no tensor")]
    UncoveredBytes { file: String, begin: u64, end: u64 },
    #[error("{file}: found shard name {}, expected a plain file name", shown(shard))]
    UnsafeShardName { file: String, shard: String },
    #[error("{file}: shard {} is missing", shown(shard))]
    MissingShard { file: String, shard: String },
    #[error("{file}: tensor {} is not in {}, where the index puts it", shown(tensor), shown(shard))]
    TensorNotInShard { file: String, tensor: String, shard: String },

    // Importance matrices
    #[error("{file}: {}: {problem}", shown(tensor))]
    InvalidImatrix { file: String, tensor: String, problem: String },
    #[error("{file}: found {found}, expected an importance matrix")]
    NotAnImatrix { file: String, found: String },

    // Quantised modules
    #[error("{file}: quantisation setting {field}: found {found}, expected {expected}")]
    InvalidQuantization { file: String, field: String, found: String, expected: &'static str },
    #[error("{file}: quantisation with {field} = {found} is not supported; supported: {supported}")]
    UnsupportedQuantization { file: String, field: String, found: String, supported: String },
    #[error(
        "{file}: unknown quantisation setting {field} ({found}), which might change the weights; \
         use --allow-unknown {field} to ignore it"
    )]
    UnknownQuantization { file: String, field: String, found: String },
    #[error("{file}: {}: {reason}", shown(tensor))]
    InvalidPacking { file: String, tensor: String, reason: String },
    #[error("{file}: {}: found column {column} in group {found}, expected one of {groups} groups", shown(tensor))]
    GroupIndexOutOfRange { file: String, tensor: String, column: usize, found: i32, groups: usize },
    #[error("{} cannot be written as {format}: {reason}", shown(tensor))]
    NotRepresentable { tensor: String, format: &'static str, reason: String },
}

impl FormatError {
    /// Returns a stable code in kebab case.
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
            Self::InvalidImatrix { .. } => "invalid-imatrix",
            Self::NotAnImatrix { .. } => "not-an-imatrix",
            Self::InvalidQuantization { .. } => "invalid-quantization-config",
            Self::UnsupportedQuantization { .. } => "unsupported-quantization",
            Self::UnknownQuantization { .. } => "unknown-quantization-setting",
            Self::InvalidPacking { .. } => "invalid-packing",
            Self::GroupIndexOutOfRange { .. } => "group-index-out-of-range",
            Self::NotRepresentable { .. } => "not-representable",
        }
    }

    /// Wraps an I/O error of `action` ("open", "write", ...) on `path`.
    pub fn io(action: &'static str, path: impl std::fmt::Display, source: io::Error) -> Self {
        Self::Io { action, path: path.to_string(), source }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl FormatError {
    /// Returns the error for an output path at which there is a link, a device, a pipe or a socket.
    pub(crate) fn special(path: &std::path::Path, found: &'static str) -> Self {
        Self::OutputIsSpecial { path: path.display().to_string(), found }
    }
}

/// Prepares a name from a file for a message: quotes it, escapes control characters and cuts it if it is long.
pub(crate) fn shown(name: &str) -> String {
    format!("'{}'", escaped(name))
}

/// Prepares a name as [`shown`] does, without quotes.
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
