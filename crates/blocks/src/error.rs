/// The errors of encoding, packing and checking weights.
///
/// `row` is 0 if a row was encoded by itself; [`BlockError::at_row`] sets it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// A value to encode, or a stored scale, is NaN or infinite.
    #[error("row {row}, column {column}: found {value} where a finite number is expected")]
    NotFinite {
        /// The row of the value.
        row: usize,
        /// The column of the value, or the first column of the block if the scale is not finite.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A finite value is larger than the encoding can hold.
    #[error("row {row}, column {column}: found {value}, which is beyond the range of {encoding}")]
    ValueOverflow {
        /// The row of the value.
        row: usize,
        /// The column of the value.
        column: usize,
        /// The value.
        value: f32,
        /// The display name of the encoding.
        encoding: &'static str,
    },
    /// The scale or minimum of a block does not fit the type that it is stored in.
    #[error("row {row}, block at column {column}: {encoding} needs scale {scale}, beyond the range of {stored_as}")]
    ScaleOverflow {
        /// The row of the block.
        row: usize,
        /// The first column of the block.
        column: usize,
        /// The scale (or minimum) that the values need.
        scale: f32,
        /// The display name of the encoding.
        encoding: &'static str,
        /// The name of the type that the scale is stored in.
        stored_as: &'static str,
    },
    /// The rows are not whole blocks.
    #[error("found {cols} columns, expected a multiple of {block_len}, the block length of {encoding}")]
    PartialBlock {
        /// The display name of the encoding.
        encoding: &'static str,
        /// The number of columns.
        cols: usize,
        /// The number of values per block.
        block_len: usize,
    },
    /// A buffer has the wrong length.
    #[error("{what}: found {found}, expected {expected}")]
    Length {
        /// The contents of the buffer.
        what: &'static str,
        /// The length that was found.
        found: usize,
        /// The length that the shape requires.
        expected: usize,
    },
    /// The size of a matrix exceeds the address space.
    #[error("a {rows} x {cols} matrix is too large to address")]
    TooLarge {
        /// The number of rows.
        rows: usize,
        /// The number of columns.
        cols: usize,
    },
    /// An importance is negative, NaN or infinite.
    #[error("column {column}: found importance {value}, expected a finite number >= 0")]
    Importance {
        /// The column of the importance.
        column: usize,
        /// The importance.
        value: f32,
    },
    /// The number of bits per code is not supported.
    #[error("found {found} bits per code, expected 2 to 8")]
    Bits {
        /// The number of bits.
        found: u8,
    },
    /// A group has no columns.
    #[error("found group size 0, expected at least one column per group")]
    GroupSize,
    /// A code does not fit its bits.
    #[error("row {row}, column {column}: found code {found}, expected at most {bits} bits")]
    Code {
        /// The row of the code.
        row: usize,
        /// The column of the code.
        column: usize,
        /// The code.
        found: u8,
        /// The number of bits per code.
        bits: u8,
    },
    /// The codes of neighbouring columns form no point of the encoding's lattice.
    #[error(
        "row {row}, column {column}: found codes that form no point of {encoding}, expected those of a rounded value"
    )]
    Point {
        /// The row of the codes.
        row: usize,
        /// The first of the columns.
        column: usize,
        /// The display name of the encoding.
        encoding: &'static str,
    },
    /// A zero point is out of range.
    #[error("zero point {index}: found {found}, expected at most {limit}")]
    ZeroPoint {
        /// The position in `[rows, groups]`, row-major; 0 for a constant.
        index: usize,
        /// The zero point.
        found: u32,
        /// The largest zero point for this number of bits.
        limit: u32,
    },
    /// A column belongs to a group that does not exist.
    #[error("column {column}: found group {found}, expected one of {groups} groups")]
    GroupIndex {
        /// The column.
        column: usize,
        /// The group.
        found: u32,
        /// The number of groups.
        groups: usize,
    },
    /// The stated type cannot hold a scale or bias exactly.
    #[error("{what} {index}: found {value}, which is not a {scale_type} number")]
    Inexact {
        /// `scale` or `bias`.
        what: &'static str,
        /// The position in `[rows, groups]`, row-major.
        index: usize,
        /// The value.
        value: f32,
        /// The name of the type.
        scale_type: &'static str,
    },
}

impl BlockError {
    /// Returns a stable code in kebab case.
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
            Self::Point { .. } => "no-lattice-point",
            Self::ZeroPoint { .. } => "zero-point-out-of-range",
            Self::GroupIndex { .. } => "group-index-out-of-range",
            Self::Inexact { .. } => "scale-not-representable",
        }
    }

    /// Adds `first` to the row, for a matrix that is a part of a larger one and begins at row `first`.
    #[must_use]
    pub fn below(mut self, first: usize) -> Self {
        if let Self::NotFinite { row, .. } | Self::ValueOverflow { row, .. } | Self::ScaleOverflow { row, .. } =
            &mut self
        {
            *row += first;
        }
        self
    }

    /// Sets the row, for an error of a row that was encoded by itself.
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
