use std::ops::Range;

use crate::Seen;

/// A token that is cached but not yet accepted. Draft `i` of a sequence of `len` accepted tokens is in cell `len +
/// i`, at position `len + depth - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draft {
    /// The draft that it follows; `None` for the last accepted token.
    pub parent: Option<u32>,
    /// The number of drafts on the path that ends here, including this one.
    pub depth: u32,
    /// The number of these drafts, from the root on, whose cell equals their position: drafts 0, 1, 2, ...
    pub straight: u32,
}

impl Draft {
    /// Returns draft number `index` with this parent.
    pub fn new(index: usize, parent: Option<u32>, drafts: &[Self]) -> Self {
        let (depth, straight) = parent.map_or((0, 0), |p| (drafts[p as usize].depth, drafts[p as usize].straight));
        // If a draft has as many ancestors as there are earlier drafts, its ancestors are all of them, in order.
        let goes_on = depth as usize == index;
        Self { parent, depth: depth + 1, straight: straight + u32::from(goes_on) }
    }
}

/// Returns the cells visible to draft `index` of a sequence of `len` accepted tokens: the last `window` positions,
/// or all. Cells that are not contiguous go to `extra`.
pub(super) fn seen(len: usize, drafts: &[Draft], index: usize, window: Option<usize>, extra: &mut Vec<u32>) -> Seen {
    let own = drafts[index];
    let position = len + own.depth as usize - 1;
    let low = window.map_or(0, |n| (position + 1).saturating_sub(n.max(1)));
    // Positions below `straight` are in the cells of the same number. The rest of the path is collected from its end.
    let straight = len + own.straight as usize;
    let start = extra.len();
    let mut node = Some(index as u32);
    for _ in straight.max(low)..=position {
        let Some(i) = node else { break };
        extra.push(len as u32 + i);
        node = drafts[i as usize].parent;
    }
    extra[start..].reverse();
    if low < straight {
        return Seen { first: low as u32, end: straight as u32, extra: range(start, extra.len()) };
    }
    // The window begins inside the branch. Its first cells form the contiguous part, which is never empty.
    let first = extra[start];
    let run = (first..).zip(&extra[start..]).take_while(|(cell, seen)| cell == *seen).count();
    extra.drain(start..start + run);
    Seen { first, end: first + run as u32, extra: range(start, extra.len()) }
}

fn range(start: usize, end: usize) -> Range<u32> {
    start as u32..end as u32
}
