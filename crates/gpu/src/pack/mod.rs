//! Weights in the form that the shaders read.
//!
//! A packed weight is a list of rows of 32-bit words. Each row is a whole number of 16-byte vectors and independent of the others,
//! so that a weight can be split over buffers and filled slab by slab ([`pack_rows`]). Packing is lossless: the block encodings
//! that have their own [`Layout`] keep their codes and scales in another order, integer groups of 2 to 8 bits become groups of 4
//! or 8 bits, and all other encodings become such groups with the same values. The remaining weights (groups that end within 8
//! columns, GPTQ column groups of uneven size) are an error, or are rounded to F16 if the caller allows it ([`Fallback`]).
//!
//! To add a layout, write one file here and one format include in `shaders/formats`, and add one row to the table in `layout.rs`.

mod blocks;
mod convert;
mod error;
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
use honelm_blocks::{Encoding, ScaleType, WeightData};

pub use error::PackError;
pub use layout::{COLUMNS, CodeBits, GroupLayout, GroupZeros, Layout};

/// The treatment of a weight that no layout holds without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Return an error.
    #[default]
    Refuse,
    /// Round its values to half precision.
    F16,
}

/// The properties that determine the layout of a weight, for memory planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightKind {
    /// A block encoding.
    Blocks(Encoding),
    /// Integer groups.
    Groups {
        /// Bits per code, 2 to 8.
        bits: u8,
        /// Columns per group.
        group_size: usize,
        /// The number type of scales and biases.
        scale_type: ScaleType,
        /// The zero points.
        zeros: GroupZeros,
    },
}

impl WeightKind {
    /// Returns the kind of `weight`.
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

    /// Returns the name for reports.
    fn display_name(self) -> String {
        match self {
            Self::Blocks(encoding) => encoding.display_name().to_owned(),
            Self::Groups { bits, group_size, .. } => format!("int{bits} g{group_size}"),
        }
    }

    /// Returns the layout that holds it without loss.
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

    /// Returns the bytes as stored, with unpacked zero points of integer groups.
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

/// Returns the layout of a weight `[rows, cols]` of this kind and its bytes on the GPU, before any data is known. Column groups
/// (GPTQ's act-order) are assumed to have equal sizes.
///
/// # Errors
/// [`PackError::NoLayout`] if no layout holds it and `fallback` is to refuse; an error if the columns do not fill blocks or
/// the size exceeds the address space.
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

/// Returns the layout that holds a weight without loss.
///
/// # Errors
/// The errors of [`packed_bytes`], and [`PackError::UnevenGroups`].
pub fn layout_of(weight: &WeightData) -> Result<Layout, PackError> {
    column_order(weight)?;
    Ok(packed_bytes(WeightKind::of(weight), weight.rows(), weight.cols(), Fallback::Refuse)?.0)
}

/// Returns the columns in their packed order, if it differs from their own (GPTQ's act-order). Packed column j is column
/// `order[j]` of the weight, so a kernel multiplies it by value `order[j]` of an activation row. // `[cols]`
///
/// # Errors
/// [`PackError::UnevenGroups`] if the column groups have different sizes.
pub fn column_order(weight: &WeightData) -> Result<Option<Vec<u32>>, PackError> {
    match weight {
        WeightData::Groups(m) => groups::column_order(m),
        WeightData::Blocks(_) => Ok(None),
    }
}

/// A weight matrix `[rows, cols]` in the form that the shaders read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    /// The layout of a row.
    pub layout: Layout,
    /// The number of output rows (M).
    pub rows: usize,
    /// The number of input columns (K).
    pub cols: usize,
    /// [`Layout::row_words`] words per row.
    pub words: Vec<u32>,
    /// The result of [`column_order`].
    pub order: Option<Vec<u32>>,
}

impl PackedWeight {
    /// Decodes row `r` into `out` `[cols]`, to the same values as [`WeightData::dequantize_row`] (a zero may have the other sign).
    ///
    /// # Panics
    /// Panics if there is no such row or `out` is not `cols` long.
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

/// Packs a whole weight without loss, or according to `fallback` if no layout holds it.
///
/// # Errors
/// The errors of [`layout_of`] and [`pack_rows`].
pub fn pack(weight: &WeightData, fallback: Fallback) -> Result<PackedWeight, PackError> {
    match (layout_of(weight), fallback) {
        (Err(PackError::NoLayout { .. } | PackError::UnevenGroups { .. }), Fallback::F16) => {
            pack_as(weight, Layout::F16)
        }
        (layout, _) => pack_as(weight, layout?),
    }
}

/// Packs a whole weight as `layout`: that of [`packed_bytes`], or F16, to which any weight can be rounded.
///
/// # Errors
/// The errors of [`pack_rows`].
pub fn pack_as(weight: &WeightData, layout: Layout) -> Result<PackedWeight, PackError> {
    let order = if matches!(layout, Layout::Groups(_)) { column_order(weight)? } else { None };
    let words = pack_rows(weight, layout)?;
    Ok(PackedWeight { layout, rows: weight.rows(), cols: weight.cols(), words, order })
}

/// Packs rows of a weight whose layout is known. The words are those of the same rows in the whole weight. Any rows can be
/// rounded to [`Layout::F16`]. // -> [rows, layout.row_words(cols)]
///
/// # Errors
/// An error if the layout is for another kind of weight or cannot hold a value, and [`PackError::UnevenGroups`].
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
