//! Weights as the shaders read them.
//!
//! A packed weight is rows of 32-bit words, each row a whole number of 16-byte vectors and independent of the others, so that a
//! weight can be split over buffers and filled slab of rows by slab of rows ([`pack_rows`]). Nothing is lost: the block encodings
//! that have a [`Layout`] of their own keep their codes and scales in another order, integer groups of 2 to 8 bits become groups of
//! 4 or 8, and all other encodings become such groups with the very same values. What remains (groups that end within 8
//! columns, GPTQ column groups of uneven size) is refused by name, or rounded to F16 where the caller accepts that ([`Fallback`]).
//!
//! Adding a layout: one file here, one format include in `shaders/formats`, one row of the table in `layout.rs`.

mod blocks;
mod convert;
mod floats;
mod fp8;
mod groups;
mod layout;
mod q4_0;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
#[cfg(test)]
pub(crate) mod tests;

use half::f16;
use honelm_blocks::{BlockError, Encoding, ScaleType, WeightData};

pub use layout::{COLUMNS, CodeBits, GroupLayout, GroupZeros, Layout};

/// Why a weight cannot be packed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// No layout holds the encoding without loss.
    #[error(
        "{encoding} has no layout on the GPU with {cols} columns; rounded to F16 it would take {f16_bytes} bytes rather than {bytes}"
    )]
    NoLayout {
        /// What the encoding is called.
        encoding: String,
        /// Columns of the weight.
        cols: usize,
        /// Bytes as stored.
        bytes: u64,
        /// Bytes as F16.
        f16_bytes: u64,
    },
    /// Column groups that are not all of one size.
    #[error("column group {group} has {columns} columns, expected {expected}")]
    UnevenGroups {
        /// The group.
        group: usize,
        /// Columns it has.
        columns: usize,
        /// Columns that the group size asks for.
        expected: usize,
    },
    /// The weight is of another kind than the layout is for.
    #[error("{encoding} cannot be packed as {layout}")]
    OtherLayout {
        /// What the weight's encoding is called.
        encoding: String,
        /// What the layout is called.
        layout: String,
    },
    /// Values that the encoding's definition rules out.
    #[error("row {row}, columns from {column}: {encoding} values without integer codes")]
    NotExact {
        /// Display name of the encoding.
        encoding: &'static str,
        /// Row, counted within the rows that were given.
        row: usize,
        /// First column of the group.
        column: usize,
    },
    /// A value beyond half precision, where F16 was accepted.
    #[error("row {row}, column {column}: {value} is beyond the range of F16")]
    HalfOverflow {
        /// Row, counted within the rows that were given.
        row: usize,
        /// Column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// The size does not fit the address space.
    #[error("a {rows} x {cols} matrix is too large to address")]
    TooLarge {
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
    },
    /// Columns that do not fill blocks.
    #[error(transparent)]
    Blocks(#[from] BlockError),
}

impl PackError {
    /// A stable name for programs.
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

/// What to do with a weight that no layout holds without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Refuse it by name.
    #[default]
    Refuse,
    /// Round its values to half precision.
    F16,
}

/// What decides the layout of a weight, for those who plan memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightKind {
    /// A block encoding.
    Blocks(Encoding),
    /// Integer groups.
    Groups {
        /// Bits a code, 2 to 8.
        bits: u8,
        /// Columns a group.
        group_size: usize,
        /// Number type of scales and biases.
        scale_type: ScaleType,
        /// Zero points.
        zeros: GroupZeros,
    },
}

impl WeightKind {
    /// The kind of `weight`.
    #[must_use]
    pub fn of(weight: &WeightData) -> Self {
        match weight {
            WeightData::Blocks(m) => Self::Blocks(m.encoding),
            WeightData::Groups(m) => Self::Groups {
                bits: m.bits,
                group_size: m.group_size,
                scale_type: m.scale_type,
                zeros: groups::zeros_of(&m.zeros),
            },
        }
    }

    /// What reports call it.
    fn display_name(self) -> String {
        match self {
            Self::Blocks(encoding) => encoding.display_name().to_owned(),
            Self::Groups { bits, group_size, .. } => format!("int{bits} g{group_size}"),
        }
    }

    /// The layout that holds it without loss.
    fn exact_layout(self, cols: usize) -> Option<Layout> {
        match self {
            Self::Blocks(encoding) => {
                Layout::of_blocks(encoding).or_else(|| convert::groups_of(encoding).map(Layout::Groups))
            }
            Self::Groups { bits, group_size, scale_type, zeros } => {
                GroupLayout::new(bits, group_size, scale_type, zeros, cols).map(Layout::Groups)
            }
        }
    }

    /// Bytes as stored, zero points of integer groups unpacked.
    fn stored_bytes(self, rows: usize, cols: usize) -> u64 {
        let (rows, cols) = (rows as u64, cols as u64);
        match self {
            Self::Blocks(e) => rows * (cols / e.block_len() as u64) * e.block_bytes() as u64,
            Self::Groups { bits, group_size, scale_type, .. } => {
                let groups = rows * cols.div_ceil(group_size.max(1) as u64);
                (rows * cols * u64::from(bits)).div_ceil(8) + groups * (scale_type.bytes() as u64 + 1)
            }
        }
    }
}

/// The layout that a weight `[rows, cols]` of a kind gets, and its bytes on the GPU, known before there is any data. Column groups
/// (GPTQ's act-order) are taken to be of one size each.
///
/// # Errors
/// [`PackError::NoLayout`] where no layout holds it and `fallback` refuses, columns that do not fill blocks, a size beyond the address
/// space.
pub fn packed_bytes(
    kind: WeightKind,
    rows: usize,
    cols: usize,
    fallback: Fallback,
) -> Result<(Layout, u64), PackError> {
    if let WeightKind::Blocks(encoding) = kind {
        encoding.row_bytes(cols)?;
    }
    let layout = match (kind.exact_layout(cols), fallback) {
        (Some(layout), _) => layout,
        (None, Fallback::F16) => Layout::F16,
        (None, Fallback::Refuse) => {
            let (bytes, f16_bytes) = (kind.stored_bytes(rows, cols), Layout::F16.bytes(rows, cols)?);
            return Err(PackError::NoLayout { encoding: kind.display_name(), cols, bytes, f16_bytes });
        }
    };
    Ok((layout, layout.bytes(rows, cols)?))
}

/// The layout that holds a weight without loss.
///
/// # Errors
/// As [`packed_bytes`], [`PackError::UnevenGroups`].
pub fn layout_of(weight: &WeightData) -> Result<Layout, PackError> {
    column_order(weight)?;
    Ok(packed_bytes(WeightKind::of(weight), weight.rows(), weight.cols(), Fallback::Refuse)?.0)
}

/// The columns in their packed order where that is not their own (GPTQ's act-order): packed column j is column `order[j]` of the
/// weight, so that a kernel takes value `order[j]` of an activation row for it. // `[cols]`
///
/// # Errors
/// [`PackError::UnevenGroups`].
pub fn column_order(weight: &WeightData) -> Result<Option<Vec<u32>>, PackError> {
    match weight {
        WeightData::Groups(m) => groups::column_order(m),
        WeightData::Blocks(_) => Ok(None),
    }
}

/// A weight matrix `[rows, cols]` as the shaders read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    /// How a row lies in memory.
    pub layout: Layout,
    /// Output rows (M).
    pub rows: usize,
    /// Input columns (K).
    pub cols: usize,
    /// [`Layout::row_words`] words a row.
    pub words: Vec<u32>,
    /// What [`column_order`] says.
    pub order: Option<Vec<u32>>,
}

impl PackedWeight {
    /// Decodes row `r` into `out` `[cols]`, with the very values of [`WeightData::dequantize_row`] (a zero may have the other sign).
    ///
    /// # Panics
    /// When there is no such row or `out` is not `cols` long.
    pub fn dequantize_row(&self, r: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "values of a row");
        let width = self.layout.row_words(self.cols);
        let words = &self.words[r * width..(r + 1) * width];
        let Some(order) = &self.order else { return unpack(self.layout, words, out) };
        let mut values = vec![0.0; self.cols];
        unpack(self.layout, words, &mut values);
        for (value, &column) in values.iter().zip(order) {
            out[column as usize] = *value;
        }
    }
}

fn unpack(layout: Layout, words: &[u32], out: &mut [f32]) {
    match (layout, layout.blocks()) {
        (_, Some(blocks)) => (blocks.unpack)(words, out),
        (Layout::Groups(g), None) => g.unpack(words, out),
        (_, None) => {}
    }
}

/// Packs a whole weight without loss, or as `fallback` says where no layout holds it so.
///
/// # Errors
/// Those of [`layout_of`] and [`pack_rows`].
pub fn pack(weight: &WeightData, fallback: Fallback) -> Result<PackedWeight, PackError> {
    match (layout_of(weight), fallback) {
        (Err(PackError::NoLayout { .. } | PackError::UnevenGroups { .. }), Fallback::F16) => {
            pack_as(weight, Layout::F16)
        }
        (layout, _) => pack_as(weight, layout?),
    }
}

/// Packs a whole weight as `layout`: the one of [`packed_bytes`], or F16, to which any weight can be rounded.
///
/// # Errors
/// Those of [`pack_rows`].
pub fn pack_as(weight: &WeightData, layout: Layout) -> Result<PackedWeight, PackError> {
    let order = if matches!(layout, Layout::Groups(_)) { column_order(weight)? } else { None };
    let words = pack_rows(weight, layout)?;
    Ok(PackedWeight { layout, rows: weight.rows(), cols: weight.cols(), words, order })
}

/// Packs rows of a weight whose layout is known; the words are those of the same rows of the whole. Any rows can be rounded to
/// [`Layout::F16`].
/// // -> [rows, layout.row_words(cols)]
///
/// # Errors
/// A layout of another kind of weight, [`PackError::UnevenGroups`], values that the layout cannot hold.
pub fn pack_rows(rows: &WeightData, layout: Layout) -> Result<Vec<u32>, PackError> {
    let (count, cols, width) = (rows.rows(), rows.cols(), layout.row_words(rows.cols()));
    let words = width.checked_mul(count).ok_or(PackError::TooLarge { rows: count, cols })?;
    let mut out = vec![0; words];
    if words == 0 {
        return Ok(out);
    }
    let exact = WeightKind::of(rows).exact_layout(cols) == Some(layout);
    match (rows, layout, layout.blocks()) {
        (WeightData::Blocks(m), _, Some(blocks)) if exact => {
            for (r, out) in out.chunks_exact_mut(width).enumerate() {
                (blocks.pack)(m.row(r), cols, out);
            }
        }
        (WeightData::Blocks(m), Layout::Groups(g), _) if exact => convert::pack_rows(m, g, &mut out, width)?,
        (WeightData::Groups(m), Layout::Groups(g), _) if exact => groups::pack_rows(m, g, &mut out, width)?,
        (_, Layout::F16, _) => round_to_half(rows, &mut out, width)?,
        _ => {
            let (encoding, layout) = (rows.encoding_name(), layout.display_name());
            return Err(PackError::OtherLayout { encoding, layout });
        }
    }
    Ok(out)
}

/// Writes the values of `rows` as F16.
fn round_to_half(rows: &WeightData, out: &mut [u32], width: usize) -> Result<(), PackError> {
    let mut values = vec![0.0; rows.cols()];
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        rows.dequantize_row(row, &mut values);
        for (column, &value) in values.iter().enumerate() {
            let half = f16::from_f32(value);
            if !half.is_finite() {
                return Err(PackError::HalfOverflow { row, column, value });
            }
            blocks::put_half(out, column, half.to_bits().into());
        }
    }
    Ok(())
}
