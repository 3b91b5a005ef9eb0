//! First-fit allocation of ranges. The caller chooses the unit.

use std::collections::BTreeMap;

/// An allocated range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// The free ranges of a buffer. Everything from `end` on is free.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// Free ranges below `end` by their start; no two are adjacent.
    free: BTreeMap<u32, u32>,
    end: u32,
}

impl Ranges {
    /// Allocates the first free range of `len` units that ends at or below `limit`.
    pub(crate) fn take(&mut self, len: u32, limit: u32) -> Option<Range> {
        if let Some((&start, &found)) = self.free.iter().find(|(_, found)| **found >= len) {
            self.free.remove(&start);
            if found > len {
                self.free.insert(start + len, found - len);
            }
            return Some(Range { start, len });
        }
        let start = self.end;
        self.end = start.checked_add(len).filter(|end| *end <= limit)?;
        Some(Range { start, len })
    }

    /// Frees a range.
    pub(crate) fn give(&mut self, range: Range) {
        let Range { mut start, mut len } = range;
        if let Some((&before, &found)) = self.free.range(..start).next_back()
            && before + found == start
        {
            self.free.remove(&before);
            (start, len) = (before, found + len);
        }
        if let Some(found) = self.free.remove(&(start + len)) {
            len += found;
        }
        if start + len == self.end {
            self.end = start;
        } else if len > 0 {
            self.free.insert(start, len);
        }
    }

    /// Returns the end of the last unit in use.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_fit_and_joins_what_comes_back() {
        let mut ranges = Ranges::default();
        let [a, b, c, d] = [10, 5, 10, 5].map(|len| ranges.take(len, 100).unwrap());
        assert_eq!([a.start, b.start, c.start, d.start], [0, 10, 15, 25]);
        ranges.give(a);
        ranges.give(c);
        assert_eq!(ranges.take(11, 100).unwrap().start, 30, "no free range is long enough");
        ranges.give(b);
        assert_eq!(ranges.take(25, 100), Some(Range { start: 0, len: 25 }), "three neighbours are one");
        assert_eq!(ranges.end(), 41);
    }

    #[test]
    fn shrinks_to_nothing_and_respects_its_limit() {
        let mut ranges = Ranges::default();
        let taken = [3, 4, 5].map(|len| ranges.take(len, 12).unwrap());
        assert_eq!(ranges.take(1, 12), None);
        assert_eq!(ranges.take(u32::MAX, u32::MAX), None, "an end beyond all numbers");
        for range in [taken[1], taken[0], taken[2]] {
            ranges.give(range);
        }
        assert_eq!((ranges.end(), ranges.free.len()), (0, 0));
        ranges.give(Range { start: 0, len: 0 });
        assert_eq!(ranges.take(12, 12), Some(Range { start: 0, len: 12 }));
    }
}
