//! The encodings that have a kernel, and the tile format of each.

use honelm_blocks::{Encoding, ScaleType, WeightData, Zeros};

use super::{
    activations::BLOCK,
    groups::Groups,
    iq4::{self, Iq4},
    low_groups::LowGroups,
    q2_k::{self, Q2K},
    q3_k::{self, Q3K},
    q4_0::{self, Q4_0},
    q4_1::{self, Q4_1},
    q4_k::{self, Q4K},
    q5_0::{self, Q5_0},
    q5_1::{self, Q5_1},
    q5_k::{self, Q5K},
    q6_k::{self, Q6K},
    q8_0::{self, Q8_0},
    tile::{TileFormat, TileLayout, tile_count},
};

/// The zero points of integer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroKind {
    /// The same integer for every group.
    Constant(u8),
    /// One integer per group.
    Integer,
    /// One bias per group.
    Bias,
}

/// The properties that determine the size of a packed weight, for memory planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8Kind {
    /// A block encoding.
    Blocks(Encoding),
    /// Integer groups.
    Groups {
        /// Bits per code: 2, 3, 4 or 8.
        bits: u8,
        /// Columns per group, a multiple of 32 (or all columns).
        group_size: usize,
        /// The number type of scales and biases.
        scale_type: ScaleType,
        /// The zero points.
        zeros: ZeroKind,
    },
}

impl Int8Kind {
    /// Returns the kind of `weight`, even if it has no kernel.
    #[must_use]
    pub fn of(weight: &WeightData) -> Self {
        match weight {
            WeightData::Blocks(m) => Self::Blocks(m.encoding),
            WeightData::Groups(m) => Self::Groups {
                bits: m.bits,
                group_size: m.group_size,
                scale_type: m.scale_type,
                zeros: match &m.zeros {
                    Zeros::Constant(z) => ZeroKind::Constant(*z),
                    Zeros::Integer(_) => ZeroKind::Integer,
                    Zeros::Bias(_) => ZeroKind::Bias,
                },
            },
        }
    }
}

/// The tile format of a packed weight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Q4_0(Q4_0),
    Q4_1(Q4_1),
    Q5_0(Q5_0),
    Q5_1(Q5_1),
    Q8_0(Q8_0),
    Q2K(Q2K),
    Q3K(Q3K),
    Q4K(Q4K),
    Q5K(Q5K),
    Q6K(Q6K),
    Iq4(Iq4),
    LowInts(LowGroups),
    Int4(Groups<4>),
    Int8(Groups<8>),
}

/// Evaluates `$body` with `$f` as the concrete format.
macro_rules! with_format {
    ($format:expr, $f:ident => $body:expr) => {
        match $format {
            $crate::int8::kind::Format::Q4_0($f) => $body,
            $crate::int8::kind::Format::Q4_1($f) => $body,
            $crate::int8::kind::Format::Q5_0($f) => $body,
            $crate::int8::kind::Format::Q5_1($f) => $body,
            $crate::int8::kind::Format::Q8_0($f) => $body,
            $crate::int8::kind::Format::Q2K($f) => $body,
            $crate::int8::kind::Format::Q3K($f) => $body,
            $crate::int8::kind::Format::Q4K($f) => $body,
            $crate::int8::kind::Format::Q5K($f) => $body,
            $crate::int8::kind::Format::Q6K($f) => $body,
            $crate::int8::kind::Format::Iq4($f) => $body,
            $crate::int8::kind::Format::LowInts($f) => $body,
            $crate::int8::kind::Format::Int4($f) => $body,
            $crate::int8::kind::Format::Int8($f) => $body,
        }
    };
}
pub(super) use with_format;

/// A function that writes a row of blocks as one lane of a tile.
pub(super) type BlockPacker = fn(&TileLayout, &[u8], usize, &mut [u8]);

/// Returns the format of an encoding and its packing function; `None` if there is no kernel.
pub(super) fn blocks(encoding: Encoding) -> Option<(Format, BlockPacker)> {
    Some(match encoding {
        Encoding::Q4_0 => (Format::Q4_0(Q4_0), q4_0::pack),
        Encoding::Q4_1 => (Format::Q4_1(Q4_1), q4_1::pack),
        Encoding::Q5_0 => (Format::Q5_0(Q5_0), q5_0::pack),
        Encoding::Q5_1 => (Format::Q5_1(Q5_1), q5_1::pack),
        Encoding::Q8_0 => (Format::Q8_0(Q8_0), q8_0::pack),
        Encoding::Q2K => (Format::Q2K(Q2K), q2_k::pack),
        Encoding::Q3K => (Format::Q3K(Q3K), q3_k::pack),
        Encoding::Q4K => (Format::Q4K(Q4K), q4_k::pack),
        Encoding::Q5K => (Format::Q5K(Q5K), q5_k::pack),
        Encoding::Q6K => (Format::Q6K(Q6K), q6_k::pack),
        Encoding::IQ4NL => (Format::Iq4(iq4::IQ4_NL), iq4::pack_iq4_nl),
        Encoding::IQ4XS => (Format::Iq4(iq4::IQ4_XS), iq4::pack_iq4_xs),
        Encoding::MXFP4 => (Format::Iq4(iq4::MXFP4), iq4::pack_mxfp4),
        _ => return None,
    })
}

impl Format {
    /// Returns the format of a weight of `cols` columns; `None` if there is no kernel.
    pub fn of(kind: Int8Kind, cols: usize) -> Option<Self> {
        if !cols.is_multiple_of(BLOCK) || cols == 0 {
            return None;
        }
        Some(match kind {
            Int8Kind::Blocks(encoding) => blocks(encoding)?.0,
            Int8Kind::Groups { bits, group_size, scale_type, zeros } => {
                let size = group_size.min(cols);
                if size == 0 || !size.is_multiple_of(BLOCK) {
                    return None;
                }
                Self::groups(bits, size / BLOCK, scale_type, zeros)?
            }
        })
    }

    fn groups(bits: u8, blocks: usize, scale_type: ScaleType, zeros: ZeroKind) -> Option<Self> {
        match (bits, zeros) {
            // Biases (MLX) use the float path.
            (_, ZeroKind::Bias) => None,
            (2 | 3, _) => Some(Self::LowInts(LowGroups::new(bits, blocks, scale_type))),
            (4, _) => Some(Self::Int4(Groups::new(blocks, scale_type))),
            (8, _) => Some(Self::Int8(Groups::new(blocks, scale_type))),
            _ => None,
        }
    }

    /// Returns the layout of a tile of `cols` columns.
    pub fn layout(self, cols: usize) -> Option<TileLayout> {
        with_format!(self, f => TileLayout::new(f.sections(), cols))
    }
}

/// Returns the bytes of a packed weight `[rows, cols]`; `None` if there is no kernel.
#[must_use]
pub fn packed_bytes(kind: Int8Kind, rows: usize, cols: usize) -> Option<usize> {
    let layout = Format::of(kind, cols)?.layout(cols)?;
    tile_count(rows).checked_mul(layout.tile_bytes)
}
