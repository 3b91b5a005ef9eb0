use std::ops::Range;

use crate::{SequenceId, Token};

/// The number type of cached keys and values.
///
/// A type other than a float type holds blocks of 32 values along the head width, with one f16 scale each. Its rounding is that
/// of the GGML encoding of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// Half precision, 2 bytes per value.
    #[default]
    F16,
    /// Single precision, 4 bytes per value.
    F32,
    /// Codes of 8 bits, 34 bytes per block.
    Q8_0,
    /// Codes of 4 bits, 18 bytes per block. Each head's queries, keys and values are rotated by
    /// [`hadamard`](crate::hadamard), and so is the result, which undoes it; scores do not change.
    Q4_0,
    /// Codes of 4 bits without the rotation of [`CacheType::Q4_0`].
    Q4_0Plain,
}

impl CacheType {
    /// All types.
    pub const ALL: [Self; 5] = [Self::F16, Self::F32, Self::Q8_0, Self::Q4_0, Self::Q4_0Plain];

    /// Returns the name, as in `--cache-type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_0Plain => "q4_0-plain",
        }
    }

    /// Returns the type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.name() == name)
    }

    /// Returns the number of values that share a scale, of which a head must be a multiple; 1 for float types.
    #[must_use]
    pub fn block_len(self) -> usize {
        match self {
            Self::F16 | Self::F32 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_0Plain => 32,
        }
    }

    /// Returns `true` if the heads are rotated by [`hadamard`](crate::hadamard).
    #[must_use]
    pub fn is_rotated(self) -> bool {
        self == Self::Q4_0
    }

    /// Returns the bytes of the codes and of the scales of `values` values.
    fn bytes(self, values: usize) -> (usize, usize) {
        let scales = values / self.block_len() * 2;
        match self {
            Self::F16 => (values * 2, 0),
            Self::F32 => (values * 4, 0),
            Self::Q8_0 => (values, scales),
            Self::Q4_0 | Self::Q4_0Plain => (values / 2, scales),
        }
    }
}

/// The positions that later tokens can still see in the layers of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// Every position.
    Full,
    /// The last `n` positions, including the row's own.
    Window(usize),
    /// Every position, and also those behind the row's own (encoders). All rows of a sequence come in one step.
    Bidirectional,
}

/// The part of a cache that belongs to one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCache {
    /// The number of key-value heads (G).
    pub kv_heads: usize,
    /// The head width (E) of keys and of values.
    pub head_width: usize,
    /// The index into [`CacheSpec::groups`].
    pub group: usize,
}

impl LayerCache {
    /// Returns the bytes of the keys, and of the values, of one cell in the form of [`crate::Backend::export_cells`].
    #[must_use]
    pub fn plane_bytes(&self, element: CacheType) -> usize {
        let (codes, scales) = element.bytes(self.kv_heads * self.head_width);
        codes + scales.next_multiple_of(4)
    }
}

/// The shape of a model's cache. Layers of the same kind form a group and share page tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSpec {
    /// The kinds of the groups.
    pub groups: Vec<CacheKind>,
    /// The layers in order.
    pub layers: Vec<LayerCache>,
    /// The number of cells per page, a divisor of 256.
    pub page_len: usize,
    /// The number type.
    pub element: CacheType,
}

impl CacheSpec {
    /// Returns the bytes of one page of a group, in all of its layers.
    #[must_use]
    pub fn page_bytes(&self, group: usize) -> usize {
        let values: usize = self
            .layers
            .iter()
            .filter(|l| l.group == group)
            .map(|l| 2 * l.kv_heads * l.head_width * self.page_len)
            .sum();
        let (codes, scales) = self.element.bytes(values);
        codes + scales
    }

    /// Returns the most bytes of pages that a sequence of `tokens` tokens needs while steps of `rows` rows compute it, if
    /// `slack` tokens can be removed again.
    #[must_use]
    pub fn sequence_bytes(&self, tokens: usize, rows: usize, slack: usize) -> usize {
        let all = tokens.div_ceil(self.page_len);
        let pages = |kind: &CacheKind| match *kind {
            CacheKind::Full | CacheKind::Bidirectional => all,
            // The first page can be partly outside of the window.
            CacheKind::Window(n) => (n.saturating_add(slack).saturating_add(rows).div_ceil(self.page_len) + 1).min(all),
        };
        self.groups.iter().enumerate().map(|(group, kind)| pages(kind) * self.page_bytes(group)).sum()
    }
}

/// A change of cached cells. A back end makes it in every layer of a group before the operations of a step, in
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Copies the first `cells` cells of a page to another page (copy on write).
    CopyPage {
        /// The group whose layers change.
        group: usize,
        /// The source page.
        from: u32,
        /// The target page.
        to: u32,
        /// The number of cells from the start of the page.
        cells: u32,
    },
    /// Copies one cell to another (compaction of accepted drafts).
    CopyCell {
        /// The group whose layers change.
        group: usize,
        /// The source (page, slot).
        from: (u32, u32),
        /// The target (page, slot).
        to: (u32, u32),
    },
}

/// Consecutive rows of a step that belong to one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The rows of the step.
    pub rows: Range<usize>,
    /// The sequence of the rows.
    pub sequence: SequenceId,
}

/// The cells visible to a row: `first..end`, then `extra`, in the order of their positions. The last one is the
/// row's own cell, except in a bidirectional group, where a row sees all cells of its sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The first cell of the contiguous part.
    pub first: u32,
    /// The end of the contiguous part, exclusive.
    pub end: u32,
    /// Further cells (ancestors in a draft tree), as a range of [`StepGroup::extra`].
    pub extra: Range<u32>,
}

/// The part of a step that concerns one cache group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepGroup {
    /// The page tables of the segments, one after another. Cell `c` of a sequence is slot `c % page_len` of page
    /// `pages[table.start + c / page_len]`. A dropped page is `u32::MAX` and never visible.
    pub pages: Vec<u32>,
    /// The range of `pages` of each segment. // `[segments]`
    pub tables: Vec<Range<usize>>,
    /// The cells visible to each row. // `[N]`
    pub seen: Vec<Seen>,
    /// The cells in the ranges of [`Seen::extra`].
    pub extra: Vec<u32>,
    /// The number of pages that must exist on the device. It exceeds every page number.
    pub page_count: u32,
}

/// A validated ragged step. Prefill, decoding, draft verification and evaluation all take this form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The input tokens. // `[N]`
    pub tokens: Vec<Token>,
    /// The rotary positions. // `[N]`
    pub positions: Vec<u32>,
    /// The cell within its own sequence to which each row's key and value are written, the same in every group. //
    /// `[N]`
    pub cells: Vec<u32>,
    /// The rows by sequence, which cover all rows in order.
    pub segments: Vec<Segment>,
    /// One entry per group of the cache.
    pub groups: Vec<StepGroup>,
    /// The changes of the cache to make first.
    pub edits: Vec<Edit>,
}

impl Step {
    /// Returns the number of rows (N).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
