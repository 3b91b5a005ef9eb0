//! What a rendering may use up.

use std::rc::Rc;

use super::ast::Text;
use super::fault::{Fault, FaultKind, Result};
use super::value::{Dict, Items, Value};

/// Bytes that are read for one step.
const READ_PER_STEP: usize = 64;
/// Bytes that a value takes in a list.
const VALUE_BYTES: usize = size_of::<Value>();

/// Counters, and what they may reach.
pub(crate) struct Budget {
    steps: u64,
    max_steps: u64,
    bytes: usize,
    max_bytes: usize,
    level: usize,
    max_level: usize,
}

impl Budget {
    /// Nothing used up yet.
    pub fn new(max_steps: u64, max_bytes: usize, max_level: usize) -> Self {
        Self { steps: 0, max_steps, bytes: 0, max_bytes, level: 0, max_level }
    }

    fn exhausted(resource: &'static str, limit: u64) -> Fault {
        Fault { kind: FaultKind::Limit { resource, limit }, line: 0 }
    }

    /// Counts one operation.
    pub fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > self.max_steps { Err(Self::exhausted("steps", self.max_steps)) } else { Ok(()) }
    }

    /// Counts the reading of `bytes`.
    pub fn read(&mut self, bytes: usize) -> Result<()> {
        self.steps = self.steps.saturating_add((bytes / READ_PER_STEP) as u64);
        self.step()
    }

    /// Counts `bytes` that are made, before they are.
    pub fn make(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.max_bytes {
            return Err(Self::exhausted("bytes made", self.max_bytes as u64));
        }
        self.read(bytes)
    }

    /// Counts the making of a list of `items`, before it is made.
    pub fn make_items(&mut self, items: usize) -> Result<()> {
        self.make(items.saturating_mul(VALUE_BYTES).saturating_add(VALUE_BYTES))
    }

    /// Enters an expression, block or macro inside another.
    pub fn enter(&mut self) -> Result<()> {
        self.level += 1;
        if self.level > self.max_level {
            return Err(Self::exhausted("nested levels", self.max_level as u64));
        }
        self.step()
    }

    /// Leaves it.
    pub fn leave(&mut self) {
        self.level = self.level.saturating_sub(1);
    }

    /// A string that was made.
    pub fn str(&mut self, text: impl Into<Text> + AsRef<str>) -> Result<Value> {
        self.make(text.as_ref().len() + VALUE_BYTES)?;
        Ok(Value::str(text))
    }

    /// A list that was made.
    pub fn list(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Ok(Value::List(Items::new(values)?))
    }

    /// A tuple that was made.
    pub fn tuple(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Ok(Value::Tuple(Items::new(values)?))
    }

    /// What is iterated over once.
    pub fn generator(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Value::generator(values)
    }

    /// A dictionary.
    pub fn dict(&mut self, pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            self.make(4 * VALUE_BYTES)?;
            dict.insert(key, value)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }
}
