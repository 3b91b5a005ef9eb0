//! The budget of a rendering.

use crate::error::{Error, Result};
use crate::limits::Limits;

/// The number of bytes counted for each operation, in addition to its operands and its result.
const STEP_BYTES: usize = 64;
/// The number of bytes counted for a value in a list, the same on all platforms. This is also the largest size of a
/// string's or list's header.
pub(crate) const VALUE_BYTES: usize = 48;

/// Counts the bytes that are read and written, and the levels of nesting.
///
/// Everything is counted before it is done. Freed bytes still count, so that the bound also holds for the memory in
/// use.
pub(crate) struct Budget {
    touched: u64,
    max_touched: u64,
    max_value: usize,
    level: usize,
    max_level: usize,
}

impl Budget {
    /// Creates an unused budget.
    pub fn new(limits: Limits) -> Self {
        let Limits { touched_bytes, value_bytes, depth, .. } = limits;
        Self { touched: 0, max_touched: touched_bytes, max_value: value_bytes, level: 0, max_level: depth }
    }

    /// Returns the number of bytes counted so far.
    pub fn touched(&self) -> u64 {
        self.touched
    }

    /// Counts bytes that are read or written.
    pub fn touch(&mut self, bytes: usize) -> Result<()> {
        self.touched = self.touched.saturating_add(bytes as u64);
        if self.touched > self.max_touched {
            return Err(Error::limit("bytes touched", self.max_touched));
        }
        Ok(())
    }

    /// Counts one operation.
    pub fn step(&mut self) -> Result<()> {
        self.touch(STEP_BYTES)
    }

    /// Checks that a value may have `bytes` bytes.
    pub fn fits(&self, bytes: usize) -> Result<()> {
        if bytes > self.max_value { Err(Error::limit("bytes in one value", self.max_value as u64)) } else { Ok(()) }
    }

    /// Counts the construction of a value of `bytes` bytes.
    pub fn make(&mut self, bytes: usize) -> Result<()> {
        self.fits(bytes)?;
        self.touch(bytes.saturating_add(VALUE_BYTES))
    }

    /// Counts the construction of a list of `items` values.
    pub fn make_items(&mut self, items: usize) -> Result<()> {
        self.make(items.saturating_mul(VALUE_BYTES))
    }

    /// Enters a nested expression, block or macro.
    pub fn enter(&mut self) -> Result<()> {
        self.level += 1;
        if self.level > self.max_level {
            return Err(Error::limit("nested levels", self.max_level as u64));
        }
        self.step()
    }

    /// Leaves the innermost expression, block or macro.
    pub fn leave(&mut self) {
        self.level = self.level.saturating_sub(1);
    }
}
