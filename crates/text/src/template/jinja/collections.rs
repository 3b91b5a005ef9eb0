//! Lists and dictionaries. They never change once they are built: the sandbox forbids it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Deref;
use std::rc::Rc;

use super::ast::Text;
use super::budget::Budget;
use super::fault::{Fault, Result};
use super::release::release;
use super::value::Value;

/// Deepest nesting of lists and dictionaries.
pub(super) const MAX_VALUE_DEPTH: u32 = 200;
/// Most bytes that a list or dictionary holds, counted as often as it is written out.
const MAX_WEIGHT: usize = 64 << 20;
/// Bytes that any value counts as, beside those of its text.
const LEAF_WEIGHT: usize = 16;

/// How deep a value nests, and how many bytes going through all of it reads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    depth: u32,
    pub weight: usize,
}

impl Shape {
    pub const LEAF: Self = Self { depth: 0, weight: LEAF_WEIGHT };

    /// The shape of a value without others in it.
    pub fn leaf(bytes: usize) -> Self {
        Self { depth: 0, weight: bytes.saturating_add(LEAF_WEIGHT) }
    }

    /// The shape of a value that also holds another one.
    ///
    /// Lists that hold the same list several times grow without making much, and comparing them would not end.
    pub fn with(self, inner: Self) -> Result<Self> {
        let shape = Self { depth: self.depth.max(inner.depth + 1), weight: self.weight.saturating_add(inner.weight) };
        if shape.depth > MAX_VALUE_DEPTH {
            return Err(Fault::failed(format!("a value is nested deeper than {MAX_VALUE_DEPTH}")));
        }
        if shape.weight > MAX_WEIGHT {
            return Err(Fault::failed(format!("a value holds more than {MAX_WEIGHT} bytes")));
        }
        Ok(shape)
    }

    pub fn of(values: &[Value]) -> Result<Self> {
        values.iter().try_fold(Self::LEAF, |shape, value| shape.with(value.shape()))
    }
}

/// The items of a list or tuple.
pub(crate) struct Items {
    values: Vec<Value>,
    pub shape: Shape,
}

impl Items {
    /// Items that are not nested too deep.
    pub fn new(values: Vec<Value>) -> Result<Rc<Self>> {
        Ok(Rc::new(Self { shape: Shape::of(&values)?, values }))
    }
}

impl Deref for Items {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.values
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        release(self.values.drain(..));
    }
}

/// A dictionary in the order of its keys' first mention.
#[derive(Default)]
pub(crate) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    /// Other names of its values: they are found by name and are not among the entries.
    aliases: Vec<(&'static str, Value)>,
    pub shape: Shape,
}

/// The form in which a dictionary looks a key up: equal numbers are one key.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    None,
    Int(i128),
    /// The bits of a float that is no integer.
    Float(u64),
    Str(Text),
    Tuple(Vec<Key>),
}

impl Key {
    fn of(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::None => Self::None,
            Value::Bool(value) => Self::Int((*value).into()),
            Value::Int(value) => Self::Int(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => Self::Int(*value as i128),
            Value::Float(value) => Self::Float(value.to_bits()),
            Value::Str(text) | Value::Markup(text) => Self::Str(text.text().clone()),
            Value::Tuple(items) => Self::Tuple(items.iter().map(Self::of).collect::<Result<_>>()?),
            Value::Undefined(missing) => return Err(missing.fault()),
            other => return Err(Fault::failed(format!("unhashable type: '{}'", other.type_name()))),
        })
    }
}

impl Dict {
    /// Adds an entry, or replaces the value of one; only while it is built.
    pub fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        self.shape = self.shape.with(key.shape())?.with(value.shape())?;
        match self.index.entry(Key::of(&key)?) {
            Entry::Occupied(at) => self.entries[*at.get()].1 = value,
            Entry::Vacant(slot) => {
                slot.insert(self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }

    /// Lets a value be found by another name, unless an entry has that name; only while it is built.
    pub fn alias(&mut self, name: &'static str, value: Value) {
        self.aliases.push((name, value));
    }

    /// The value of a key; nothing also where the value cannot be a key.
    pub fn get(&self, key: &Value, budget: &mut Budget) -> Result<Option<&Value>> {
        match key {
            Value::Str(text) | Value::Markup(text) => self.get_str(text.text(), budget),
            _ => {
                // A tuple is copied to be looked up.
                budget.touch(key.weight().saturating_mul(4))?;
                Ok(Key::of(key).ok().and_then(|key| self.entry(&key)))
            }
        }
    }

    /// The value of a string.
    pub fn get_str(&self, name: &Text, budget: &mut Budget) -> Result<Option<&Value>> {
        // It is hashed, and compared with the one that is found.
        budget.touch(name.len().saturating_mul(2))?;
        let alias = || self.aliases.iter().find(|(alias, _)| **alias == **name).map(|(_, value)| value);
        Ok(self.entry(&Key::Str(name.clone())).or_else(alias))
    }

    fn entry(&self, key: &Key) -> Option<&Value> {
        let at = *self.index.get(key)?;
        self.entries.get(at).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Value, Value)> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Drop for Dict {
    fn drop(&mut self) {
        let entries = self.entries.drain(..).flat_map(|(key, value)| [key, value]);
        release(entries.chain(self.aliases.drain(..).map(|(_, value)| value)));
    }
}
