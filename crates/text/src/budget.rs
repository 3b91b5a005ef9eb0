//! The budget for work on untrusted files.

use std::cell::Cell;

use crate::error::{Result, TextError};

/// A number of bytes that may be read or written. Bytes are counted before they are touched.
///
/// No clock is involved, so that the same file and text are accepted or refused everywhere.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    left: Cell<u64>,
}

impl Budget {
    /// The number of bytes that encoding any text may touch.
    pub const BASE: u64 = 256 << 20;
    /// The number of additional bytes per byte of text. Published tokenizers touch between 70 and 200.
    pub const PER_BYTE: u64 = 512;

    /// Creates a budget of `limit` bytes.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { limit, left: Cell::new(limit) }
    }

    /// Creates a budget of `base` bytes plus [`Budget::PER_BYTE`] for each byte of a text.
    #[must_use]
    pub fn for_text(base: u64, bytes: usize) -> Self {
        Self::new(base.saturating_add(Self::PER_BYTE.saturating_mul(bytes as u64)))
    }

    /// Counts bytes that are about to be touched.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`] if fewer are left. The budget is then used up.
    pub fn charge(&self, bytes: u64) -> Result<()> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(TextError::WorkLimit { limit: self.limit })
    }

    /// Counts `count` units of `each` bytes.
    ///
    /// # Errors
    /// As [`Budget::charge`].
    pub fn charge_each(&self, count: usize, each: u64) -> Result<()> {
        self.charge((count as u64).saturating_mul(each))
    }

    /// Returns the number of bytes left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_stays_ended() {
        let budget = Budget::new(10);
        assert!(budget.charge(7).is_ok());
        assert!(budget.charge_each(usize::MAX, 2).is_err());
        assert_eq!((budget.left(), budget.charge(1).expect_err("used up").code()), (0, "text-work-limit"));
        assert_eq!(Budget::for_text(100, 2).left(), 100 + 2 * Budget::PER_BYTE);
        assert_eq!(Budget::for_text(100, usize::MAX).left(), u64::MAX);
    }
}
