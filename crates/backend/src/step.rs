use std::ops::Range;

use crate::{SequenceId, Token};

/// Number type of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// Half precision, 2 bytes a value.
    #[default]
    F16,
    /// Single precision, 4 bytes a value.
    F32,
    /// Blocks of 32 values with one f16 scale along the head width, 34 bytes a block.
    Q8_0,
}

/// Which positions the layers of a group can ever see again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// Every position.
    Full,
    /// The last `n` positions, the row's own included.
    Window(usize),
}

/// One layer's part of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCache {
    /// Key-value heads (G).
    pub kv_heads: usize,
    /// Head width (E), of keys and of values.
    pub head_width: usize,
    /// Index into [`CacheSpec::groups`].
    pub group: usize,
}

/// The shape of a model's cache: groups of layers of the same kind share page tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSpec {
    /// Kinds of the groups.
    pub groups: Vec<CacheKind>,
    /// The layers in order.
    pub layers: Vec<LayerCache>,
    /// Cells a page, a divisor of 256.
    pub page_len: usize,
    /// Number type.
    pub element: CacheType,
}

impl CacheSpec {
    /// Bytes of one page of one group, all of its layers together.
    #[must_use]
    pub fn page_bytes(&self, group: usize) -> usize {
        let values: usize = self
            .layers
            .iter()
            .filter(|l| l.group == group)
            .map(|l| 2 * l.kv_heads * l.head_width * self.page_len)
            .sum();
        match self.element {
            CacheType::F16 => values * 2,
            CacheType::F32 => values * 4,
            CacheType::Q8_0 => values / 32 * 34,
        }
    }
}

/// A change of cached cells that a back end makes in every layer of a group before a step's operations,
/// in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Copies the first `cells` cells of a page to another one (copy on write).
    CopyPage {
        /// Group whose layers are changed.
        group: usize,
        /// Source page.
        from: u32,
        /// Target page.
        to: u32,
        /// Cells from the start of the page.
        cells: u32,
    },
    /// Copies one cell to another (compaction of an accepted draft).
    CopyCell {
        /// Group whose layers are changed.
        group: usize,
        /// Source (page, slot).
        from: (u32, u32),
        /// Target (page, slot).
        to: (u32, u32),
    },
}

/// Consecutive rows of a step that belong to one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Rows of the step.
    pub rows: Range<usize>,
    /// Whose rows they are.
    pub sequence: SequenceId,
}

/// The cells that one row attends to: `first..end`, then `extra`, in the order of their positions.
/// The row's own cell is the last one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// First cell of the contiguous part.
    pub first: u32,
    /// One past its last cell.
    pub end: u32,
    /// Further cells (ancestors in a draft tree): a range of [`StepGroup::extra`].
    pub extra: Range<u32>,
}

/// What a step does in one cache group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepGroup {
    /// Page tables of the segments, one after the other: cell `c` of a sequence is slot `c % page_len` of page
    /// `pages[table.start + c / page_len]`. A dropped page is `u32::MAX` and never seen.
    pub pages: Vec<u32>,
    /// Each segment's range of `pages`. // `[segments]`
    pub tables: Vec<Range<usize>>,
    /// What each row attends to. // `[N]`
    pub seen: Vec<Seen>,
    /// Cells that [`Seen::extra`] points into.
    pub extra: Vec<u32>,
    /// Pages that must exist on the device: every page number is below.
    pub page_count: u32,
}

/// A validated ragged step: prefill, decode, draft verification and evaluation are all this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Input tokens. // `[N]`
    pub tokens: Vec<Token>,
    /// Rotary positions. // `[N]`
    pub positions: Vec<u32>,
    /// Cell of its own sequence that each row's key and value are written to, the same in every group. // `[N]`
    pub cells: Vec<u32>,
    /// Rows by sequence, covering all of them in order.
    pub segments: Vec<Segment>,
    /// One entry for each group of the cache.
    pub groups: Vec<StepGroup>,
    /// Changes of the cache to make first.
    pub edits: Vec<Edit>,
}

impl Step {
    /// Number of rows (N).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
