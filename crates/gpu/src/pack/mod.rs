//! Weights as the shaders want them: whole rows, each a whole number of 32-bit words, so that a weight can be split by rows over
//! buffers and filled slab by slab.
//!
//! Adding an encoding: one file here, one row of [`Layout`], one `shaders/formats/NAME.wgsl` that decodes what the file packs.

mod floats;

use honelm_blocks::{Encoding, WeightData};

/// Columns that a shader decodes at a time; every row is filled up to a multiple of it.
pub const COLUMNS: usize = 8;

/// How the words of a row are to be read; one format include of the shaders each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// One word a column.
    F32,
    /// Two columns a word, the lower half first.
    F16,
}

impl Layout {
    /// What users and pipelines call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Words of a row of `cols` columns.
    #[must_use]
    pub fn row_words(self, cols: usize) -> usize {
        let filled = cols.next_multiple_of(COLUMNS);
        match self {
            Self::F32 => filled,
            Self::F16 => filled / 2,
        }
    }

    /// The WGSL that defines `weights8`. In it, `COLS` stands for the columns of the weight.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../shaders/formats/f32.wgsl"),
            Self::F16 => include_str!("../shaders/formats/f16.wgsl"),
        }
    }

    /// Numbers that [`Layout::source`] uses by name.
    #[must_use]
    pub fn constants(self) -> Vec<(&'static str, u32)> {
        Vec::new()
    }
}

/// A weight that has no layout here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no layout for weights in {encoding}")]
pub struct PackError {
    /// The encoding's name.
    pub encoding: String,
}

/// A weight, or a slab of its rows, ready for the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    /// How the words are to be read.
    pub layout: Layout,
    /// Output rows (M).
    pub rows: usize,
    /// Input columns (K).
    pub cols: usize,
    /// The column of the weight that each stored column is, where they are stored in another order. // `[K]`
    pub order: Option<Vec<u32>>,
    /// `rows * layout.row_words(cols)` words, row after row.
    pub words: Vec<u32>,
}

/// The layout that a weight gets.
///
/// # Errors
/// An encoding without a layout.
pub fn layout_of(weight: &WeightData) -> Result<Layout, PackError> {
    match weight {
        WeightData::Blocks(m) if m.encoding == Encoding::F32 => Ok(Layout::F32),
        WeightData::Blocks(m) if m.encoding == Encoding::F16 => Ok(Layout::F16),
        _ => Err(PackError { encoding: weight.encoding_name() }),
    }
}

/// Packs a weight or a slab of its rows.
///
/// # Errors
/// An encoding without a layout.
pub fn pack(weight: &WeightData) -> Result<PackedWeight, PackError> {
    let (layout, rows, cols) = (layout_of(weight)?, weight.rows(), weight.cols());
    let words = match (layout, weight) {
        (Layout::F32, WeightData::Blocks(m)) => floats::pack_f32(m),
        (Layout::F16, WeightData::Blocks(m)) => floats::pack_f16(m),
        _ => return Err(PackError { encoding: weight.encoding_name() }),
    };
    Ok(PackedWeight { layout, rows, cols, order: None, words })
}
