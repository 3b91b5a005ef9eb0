/// Every way in which weights cannot be encoded, packed or taken as a matrix.
///
/// `row` is 0 where a row was encoded alone; [`BlockError::at_row`] sets it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// A value to encode, or a stored scale, is NaN or infinite.
    #[error("row {row}, column {column}: found {value} where a finite number is expected")]
    NotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value, the first of its block where a scale is not finite.
        column: usize,
        /// What was found.
        value: f32,
    },
    /// A finite value is larger than the encoding can hold.
    #[error("row {row}, column {column}: {value} is beyond the range of {encoding}")]
    ValueOverflow {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: f32,
        /// Display name of the encoding.
        encoding: &'static str,
    },
    /// The scale or minimum of a block does not fit the type that it is stored in.
    #[error("row {row}, columns from {column}: {encoding} needs the scale {scale}, beyond the range of {stored_as}")]
    ScaleOverflow {
        /// Row of the block.
        row: usize,
        /// First column of the block.
        column: usize,
        /// The scale (or minimum) that the values need.
        scale: f32,
        /// Display name of the encoding.
        encoding: &'static str,
        /// Name of the type that the scale is stored in.
        stored_as: &'static str,
    },
    /// Rows do not consist of whole blocks.
    #[error("{cols} columns are not a multiple of the {block_len} values of a {encoding} block")]
    PartialBlock {
        /// Display name of the encoding.
        encoding: &'static str,
        /// Columns asked for.
        cols: usize,
        /// Values a block.
        block_len: usize,
    },
    /// A buffer has the wrong length.
    #[error("{what}: found {found}, expected {expected}")]
    Length {
        /// What the buffer holds.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that the shape asks for.
        expected: usize,
    },
    /// The size of a matrix does not fit the address space.
    #[error("a {rows} x {cols} matrix is too large to address")]
    TooLarge {
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
    },
    /// An importance is negative, NaN or infinite.
    #[error("column {column}: importance {value} is not a finite number >= 0")]
    Importance {
        /// Column of the importance.
        column: usize,
        /// What was found.
        value: f32,
    },
    /// The number of bits a code is not supported.
    #[error("{found} bits a code: expected 2 to 8")]
    Bits {
        /// What was found.
        found: u8,
    },
    /// A group has no columns.
    #[error("group size 0: expected at least one column a group")]
    GroupSize,
    /// A code does not fit its bits.
    #[error("row {row}, column {column}: code {found} does not fit {bits} bits")]
    Code {
        /// Row of the code.
        row: usize,
        /// Column of the code.
        column: usize,
        /// The code.
        found: u8,
        /// Bits a code.
        bits: u8,
    },
    /// A zero point is out of range.
    #[error("zero point {index}: found {found}, expected at most {limit}")]
    ZeroPoint {
        /// Position in `[rows, groups]`, row-major; 0 for a constant.
        index: usize,
        /// The zero point.
        found: u32,
        /// Largest zero point for these bits.
        limit: u32,
    },
    /// A column belongs to a group that does not exist.
    #[error("column {column} is in group {found} of {groups}")]
    GroupIndex {
        /// The column.
        column: usize,
        /// Its group.
        found: u32,
        /// Number of groups.
        groups: usize,
    },
    /// A scale or bias is not representable in the stated type.
    #[error("{what} {index}: {value} is not a {scale_type} number")]
    Inexact {
        /// `scale` or `bias`.
        what: &'static str,
        /// Position in `[rows, groups]`, row-major.
        index: usize,
        /// The value.
        value: f32,
        /// Name of the type.
        scale_type: &'static str,
    },
}

impl BlockError {
    /// Stable kebab-case code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "weight-not-finite",
            Self::ValueOverflow { .. } => "weight-overflow",
            Self::ScaleOverflow { .. } => "scale-overflow",
            Self::PartialBlock { .. } => "partial-block",
            Self::Length { .. } => "weight-length",
            Self::TooLarge { .. } => "weight-too-large",
            Self::Importance { .. } => "bad-importance",
            Self::Bits { .. } => "unsupported-bits",
            Self::GroupSize => "bad-group-size",
            Self::Code { .. } => "code-out-of-range",
            Self::ZeroPoint { .. } => "zero-point-out-of-range",
            Self::GroupIndex { .. } => "group-index-out-of-range",
            Self::Inexact { .. } => "scale-not-representable",
        }
    }

    /// The same error for a matrix that begins `first` rows above.
    #[must_use]
    pub fn below(mut self, first: usize) -> Self {
        if let Self::NotFinite { row, .. } | Self::ValueOverflow { row, .. } | Self::ScaleOverflow { row, .. } =
            &mut self
        {
            *row += first;
        }
        self
    }

    /// The same error for row `r` of a matrix.
    #[must_use]
    pub fn at_row(mut self, r: usize) -> Self {
        if let Self::NotFinite { row, .. } | Self::ValueOverflow { row, .. } | Self::ScaleOverflow { row, .. } =
            &mut self
        {
            *row = r;
        }
        self
    }
}
