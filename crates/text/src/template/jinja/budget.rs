//! The work that a rendering may do.

use std::rc::Rc;

use super::collections::{Dict, Items};
use super::fault::{Fault, FaultKind, Result};
use super::value::Value;
use crate::template::Limits;

/// Bytes that any operation counts as, beside those of its operands and its result.
const STEP_BYTES: usize = 64;
/// Bytes that a value takes in a list, and that the header of a string or list takes at most.
const VALUE_BYTES: usize = size_of::<Value>();

/// Counts the bytes that are read and written, and levels of nesting.
///
/// Everything is counted before it is done. Bytes that are given back still count, so that the bytes in use at any time are
/// within the bound too.
pub(crate) struct Budget {
    touched: u64,
    max_touched: u64,
    max_value: usize,
    level: usize,
    max_level: usize,
}

impl Budget {
    /// An unused budget.
    pub fn new(limits: Limits) -> Self {
        let Limits { touched_bytes, value_bytes, depth, .. } = limits;
        Self { touched: 0, max_touched: touched_bytes, max_value: value_bytes, level: 0, max_level: depth }
    }

    /// The bytes counted so far.
    pub fn touched(&self) -> u64 {
        self.touched
    }

    /// Counts bytes that are read or written.
    pub fn touch(&mut self, bytes: usize) -> Result<()> {
        self.touched = self.touched.saturating_add(bytes as u64);
        if self.touched > self.max_touched {
            return Err(Fault::limit("bytes touched", self.max_touched));
        }
        Ok(())
    }

    /// Counts one operation.
    pub fn step(&mut self) -> Result<()> {
        self.touch(STEP_BYTES)
    }

    /// Checks that a value may have `bytes`.
    pub fn fits(&self, bytes: usize) -> Result<()> {
        if bytes > self.max_value { Err(Fault::limit("bytes in one value", self.max_value as u64)) } else { Ok(()) }
    }

    /// Counts the making of a value of `bytes`.
    pub fn make(&mut self, bytes: usize) -> Result<()> {
        self.fits(bytes)?;
        self.touch(bytes.saturating_add(VALUE_BYTES))
    }

    /// Counts the making of a list of `items`.
    pub fn make_items(&mut self, items: usize) -> Result<()> {
        self.make(items.saturating_mul(VALUE_BYTES))
    }

    /// Enters an expression, block or macro inside another.
    pub fn enter(&mut self) -> Result<()> {
        self.level += 1;
        if self.level > self.max_level {
            return Err(Fault::limit("nested levels", self.max_level as u64));
        }
        self.step()
    }

    /// Leaves it.
    pub fn leave(&mut self) {
        self.level = self.level.saturating_sub(1);
    }

    /// A list of values.
    pub fn list(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Ok(Value::List(Items::new(values)?))
    }

    /// A tuple of values.
    pub fn tuple(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Ok(Value::Tuple(Items::new(values)?))
    }

    /// Values that are iterated over once.
    pub fn generator(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Value::generator(values)
    }

    /// A dictionary.
    pub fn dict(&mut self, pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            self.entry(&key)?;
            dict.insert(key, value)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    /// Counts the making of an entry of a dictionary.
    pub fn entry(&mut self, key: &Value) -> Result<()> {
        self.touch(key.weight().saturating_add(4 * VALUE_BYTES))
    }
}

impl Fault {
    /// A bound that is reached.
    pub fn limit(resource: &'static str, limit: u64) -> Self {
        Self { kind: FaultKind::Limit { resource, limit }, line: 0 }
    }
}
