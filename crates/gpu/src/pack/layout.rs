use honelm_blocks::{Encoding, ScaleType};

use super::{
    blocks::{BlockLayout, align},
    error::PackError,
    floats, fp8, q4_0, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0,
};

/// The memory layout of the rows of a packed weight. Each has one format include, `shaders/formats/NAME.wgsl`.
///
/// A row is a whole number of vectors of four words, so that rows and their sections can be read 16 bytes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the encodings")]
pub enum Layout {
    F32,
    F16,
    BF16,
    FP8,
    Q8_0,
    Q6K,
    Q5_1,
    Q5_0,
    Q5K,
    Q4_0,
    Q4K,
    /// Integer groups.
    Groups(GroupLayout),
}

/// Integer groups: the codes of a row, then the parameters of its groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupLayout {
    /// Bits per stored code.
    pub bits: CodeBits,
    /// Columns per group, a multiple of 8. The last group of a row may be shorter.
    pub group_size: u32,
    /// The number type of scales and biases. Integer zero points are stored in the same type, which holds them exactly.
    pub scale_type: ScaleType,
    /// The zero points.
    pub zeros: GroupZeros,
}

/// The bits of a stored code. Codes of fewer bits are widened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeBits {
    /// A nibble.
    Four,
    /// A byte.
    Eight,
}

/// The zero points of integer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupZeros {
    /// The same integer for every group: w = scale (q - z).
    Constant(u8),
    /// w = scale (q - z), with one integer per group.
    Integer,
    /// w = scale q + bias, with one bias per group.
    Bias,
}

/// All layouts of blocks, and the encodings that they hold.
const BLOCKS: [(Layout, Encoding, &BlockLayout); 11] = [
    (Layout::F32, Encoding::F32, &floats::F32),
    (Layout::F16, Encoding::F16, &floats::F16),
    (Layout::BF16, Encoding::BF16, &floats::BF16),
    (Layout::FP8, Encoding::FP8, &fp8::LAYOUT),
    (Layout::Q8_0, Encoding::Q8_0, &q8_0::LAYOUT),
    (Layout::Q6K, Encoding::Q6K, &q6_k::LAYOUT),
    (Layout::Q5_1, Encoding::Q5_1, &q5_1::LAYOUT),
    (Layout::Q5_0, Encoding::Q5_0, &q5_0::LAYOUT),
    (Layout::Q5K, Encoding::Q5K, &q5_k::LAYOUT),
    (Layout::Q4_0, Encoding::Q4_0, &q4_0::LAYOUT),
    (Layout::Q4K, Encoding::Q4K, &q4_k::LAYOUT),
];

/// The number of columns that a shader decodes at once. The padding of a row up to a multiple of it decodes to finite numbers.
pub const COLUMNS: usize = 8;

const GROUPS_4: &str = include_str!("../shaders/formats/groups4.wgsl");
const GROUPS_8: &str = include_str!("../shaders/formats/groups8.wgsl");

impl Layout {
    /// The layouts of blocks, each of which holds the encoding of the same name. [`Layout::Groups`] has more variants.
    pub const BLOCKS: [Self; BLOCKS.len()] = {
        let mut all = [Self::F32; BLOCKS.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = BLOCKS[i].0;
            i += 1;
        }
        all
    };

    /// Returns the layout that holds the blocks of `encoding` unchanged; `None` if they are converted.
    #[must_use]
    pub fn of_blocks(encoding: Encoding) -> Option<Self> {
        BLOCKS.iter().find(|row| row.1 == encoding).map(|row| row.0)
    }

    /// Returns the encoding whose blocks this layout holds.
    #[must_use]
    pub fn encoding(self) -> Option<Encoding> {
        BLOCKS.iter().find(|row| row.0 == self).map(|row| row.1)
    }

    pub(super) fn blocks(self) -> Option<&'static BlockLayout> {
        BLOCKS.iter().find(|row| row.0 == self).map(|row| row.2)
    }

    /// Returns the name of its format include: `q4_0`, `groups4`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Groups(GroupLayout { bits: CodeBits::Four, .. }) => "groups4",
            Self::Groups(GroupLayout { bits: CodeBits::Eight, .. }) => "groups8",
            _ => self.blocks().map_or("", |layout| layout.name),
        }
    }

    /// Returns the name for reports: `Q4_0`, `int4 g128`.
    #[must_use]
    pub fn display_name(self) -> String {
        match (self, self.encoding()) {
            (Self::Groups(g), _) => format!("int{} g{}", g.bits.count(), g.group_size),
            (_, encoding) => encoding.map_or(String::new(), |e| e.display_name().to_owned()),
        }
    }

    /// Returns the format include: WGSL that defines `weights4x2`, and through `lib/weights` also `weights8`, for a binding
    /// `weight: array<u32>` and the constants of [`Layout::constants`]. `COLS` stands for the columns of the weight.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Groups(GroupLayout { bits: CodeBits::Four, .. }) => GROUPS_4,
            Self::Groups(GroupLayout { bits: CodeBits::Eight, .. }) => GROUPS_8,
            _ => self.blocks().map_or("", |layout| layout.source),
        }
    }

    /// Returns the constants that [`Layout::source`] uses, by name.
    #[must_use]
    pub fn constants(self) -> Vec<(&'static str, u32)> {
        let mut constants = Vec::new();
        if let Self::Groups(g) = self {
            let scale_type = match g.scale_type {
                ScaleType::F16 => 0,
                ScaleType::BF16 => 1,
                ScaleType::F32 => 2,
            };
            let (zeros, zero) = match g.zeros {
                GroupZeros::Constant(zero) => (0, zero),
                GroupZeros::Integer => (1, 0),
                GroupZeros::Bias => (2, 0),
            };
            constants.extend([
                ("GROUP", g.group_size),
                ("GROUP_SCALE", scale_type),
                ("GROUP_ZEROS", zeros),
                ("GROUP_ZERO", zero.into()),
            ]);
        }
        constants
    }

    /// Returns the words (of 4 bytes) per row of `cols` columns, a multiple of 4.
    #[must_use]
    pub fn row_words(self, cols: usize) -> usize {
        match (self, self.blocks()) {
            (_, Some(layout)) => (layout.row_words)(cols),
            (Self::Groups(g), None) => g.code_words(cols) + g.parameter_words(cols),
            _ => 0,
        }
    }

    /// Returns the bytes of a weight `[rows, cols]`.
    ///
    /// # Errors
    /// [`PackError::TooLarge`] if the size exceeds the address space.
    pub fn bytes(self, rows: usize, cols: usize) -> Result<u64, PackError> {
        let bytes = self.row_words(cols).checked_mul(4).and_then(|row| row.checked_mul(rows));
        bytes.map(|bytes| bytes as u64).ok_or(PackError::TooLarge { rows, cols })
    }
}

impl CodeBits {
    /// Returns 4 or 8.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

impl GroupLayout {
    /// Returns the number of groups per row.
    pub(super) fn groups(self, cols: usize) -> usize {
        cols.div_ceil(self.group_size.max(1) as usize)
    }

    /// Returns the words of a row's codes, which come first.
    pub(super) fn code_words(self, cols: usize) -> usize {
        align((cols * self.bits.count()).div_ceil(32))
    }

    /// Returns the words of the parameters of a row's groups.
    fn parameter_words(self, cols: usize) -> usize {
        let groups = self.groups(cols);
        align(match (self.scale_type, self.zeros) {
            (ScaleType::F32, GroupZeros::Constant(_)) => groups,
            (ScaleType::F32, _) => 2 * groups,
            (_, GroupZeros::Constant(_)) => groups.div_ceil(2),
            _ => groups,
        })
    }
}
