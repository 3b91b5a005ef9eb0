use honelm_blocks::BlockError;

/// An error of packing a weight.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// No layout holds the encoding without loss.
    #[error(
        "{encoding} with {cols} columns has no lossless GPU layout; rounded to F16 it takes {f16_bytes} bytes instead of {bytes}"
    )]
    NoLayout {
        /// The display name of the encoding.
        encoding: String,
        /// The number of columns of the weight.
        cols: usize,
        /// The size in bytes as stored.
        bytes: u64,
        /// The size in bytes as F16.
        f16_bytes: u64,
    },
    /// The column groups have different sizes.
    #[error("column group {group}: found {columns} columns, expected {expected}")]
    UnevenGroups {
        /// The index of the group.
        group: usize,
        /// The number of columns found.
        columns: usize,
        /// The number of columns that the group size requires.
        expected: usize,
    },
    /// The layout is for another kind of weight.
    #[error("{encoding} cannot be packed as {layout}")]
    OtherLayout {
        /// The display name of the encoding.
        encoding: String,
        /// The display name of the layout.
        layout: String,
    },
    /// A block holds values that its encoding does not allow.
    #[error("row {row}, columns from {column}: {encoding} values that are not multiples of a scale")]
    NotExact {
        /// The display name of the encoding.
        encoding: &'static str,
        /// The row, counted within the given rows.
        row: usize,
        /// The first column of the group.
        column: usize,
    },
    /// A value is too large for F16.
    #[error("row {row}, column {column}: {value} is out of the range of F16")]
    HalfOverflow {
        /// The row, counted within the given rows.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// The size exceeds the address space.
    #[error("a {rows} x {cols} matrix exceeds the address space")]
    TooLarge {
        /// The number of rows.
        rows: usize,
        /// The number of columns.
        cols: usize,
    },
    /// The columns do not fill blocks.
    #[error(transparent)]
    Blocks(#[from] BlockError),
}

impl PackError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoLayout { .. } | Self::UnevenGroups { .. } => "no-gpu-layout",
            Self::OtherLayout { .. } => "other-gpu-layout",
            Self::NotExact { .. } => "not-exact",
            Self::HalfOverflow { .. } => "half-overflow",
            Self::TooLarge { .. } => "too-large",
            Self::Blocks(source) => source.code(),
        }
    }
}
