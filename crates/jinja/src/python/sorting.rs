//! Sorting by a comparison that may fail or be inconsistent.

use crate::budget::Budget;
use crate::error::Result;
use crate::python::compare;
use crate::value::Value;

/// The number of bytes that moving an item reads and writes.
const MOVED_BYTES: usize = 192;

/// Evaluates `a < b`.
pub(crate) fn less(a: &Value, b: &Value, budget: &mut Budget) -> Result<bool> {
    budget.touch(MOVED_BYTES)?;
    Ok(compare::order(a, b, "<", budget)?.is_some_and(std::cmp::Ordering::is_lt))
}

/// Sorts items in ascending order. The sort is stable. Items that compare with neither result, such as NaN, keep their
/// place relative to their neighbours.
///
/// The standard library's sort may panic if `less` is not an order, and does not stop after a failure. This one does
/// neither.
pub(crate) fn merge_sorted<T>(items: Vec<T>, mut less: impl FnMut(&T, &T) -> Result<bool>) -> Result<Vec<T>> {
    let mut from: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let len = from.len();
    let mut width = 1;
    while width < len {
        let mut to = Vec::with_capacity(len);
        for start in (0..len).step_by(width * 2) {
            let middle = (start + width).min(len);
            let end = (middle + width).min(len);
            let (mut left, mut right) = (start, middle);
            while left < middle || right < end {
                let takes_right = match (from.get(left), from.get(right)) {
                    (Some(Some(a)), Some(Some(b))) if left < middle && right < end => less(b, a)?,
                    _ => left >= middle,
                };
                let next = if takes_right { &mut right } else { &mut left };
                to.push(from.get_mut(*next).and_then(Option::take));
                *next += 1;
            }
        }
        from = to;
        width *= 2;
    }
    Ok(from.into_iter().flatten().collect())
}

/// Sorts by keys as Python does.
pub(crate) fn sorted_by_key<T>(
    mut pairs: Vec<(Value, T)>,
    reverse: bool,
    budget: &mut Budget,
) -> Result<Vec<(Value, T)>> {
    // As in Python, equal items keep their order in either direction.
    if reverse {
        pairs.reverse();
    }
    let mut pairs = merge_sorted(pairs, |(a, _), (b, _)| less(a, b, budget))?;
    if reverse {
        pairs.reverse();
    }
    Ok(pairs)
}
