//! Lists and dictionaries. They are immutable, as the sandbox requires.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Deref;
use std::rc::Rc;

use crate::budget::Budget;
use crate::budget::VALUE_BYTES;
use crate::error::{Error, Result};
use crate::syntax::ast::Text;
use crate::value::Value;
use crate::value::release::release;

/// The deepest nesting of lists and dictionaries.
pub(crate) const MAX_VALUE_DEPTH: u32 = 200;
/// The largest weight of a list or dictionary, in bytes. A value counts once for each place where it occurs.
const MAX_WEIGHT: usize = 64 << 20;
/// The number of bytes counted for any value, in addition to its text.
const LEAF_WEIGHT: usize = 16;

/// The depth of a value, and its weight: the number of bytes that a traversal reads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    depth: u32,
    pub weight: usize,
}

impl Shape {
    pub const LEAF: Self = Self { depth: 0, weight: LEAF_WEIGHT };

    /// Returns the shape of a value of `bytes` bytes that contains no others.
    pub fn leaf(bytes: usize) -> Self {
        Self { depth: 0, weight: bytes.saturating_add(LEAF_WEIGHT) }
    }

    /// Returns the shape of a value that also contains a value of the shape `inner`.
    ///
    /// The weight bounds lists that contain the same list several times. They take little memory, but a traversal of
    /// them would not end.
    pub fn with(self, inner: Self) -> Result<Self> {
        let shape = Self { depth: self.depth.max(inner.depth + 1), weight: self.weight.saturating_add(inner.weight) };
        if shape.depth > MAX_VALUE_DEPTH {
            return Err(Error::failed(format!("a value is nested deeper than {MAX_VALUE_DEPTH}")));
        }
        if shape.weight > MAX_WEIGHT {
            return Err(Error::failed(format!("a value holds more than {MAX_WEIGHT} bytes")));
        }
        Ok(shape)
    }

    pub fn of(values: &[Value]) -> Result<Self> {
        values.iter().try_fold(Self::LEAF, |shape, value| shape.with(value.shape()))
    }
}

/// The items of a list or tuple.
pub struct Items {
    values: Vec<Value>,
    pub(crate) shape: Shape,
}

impl Items {
    /// Makes the items of a list or tuple.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) if they nest deeper than 200 levels, or hold more than 64 MiB
    /// with shared values counted each time.
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

/// A dictionary, in the order in which its keys were first inserted.
#[derive(Default)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    /// Values that can be looked up by another name. They are not among the entries.
    aliases: Vec<(&'static str, Value)>,
    pub(crate) shape: Shape,
}

/// The form of a key for hashing. Equal numbers are the same key.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    None,
    Int(i128),
    /// The bits of a float that is not an integer.
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
            Value::Undefined(missing) => return Err(missing.error()),
            other => return Err(Error::failed(format!("unhashable type: '{}'", other.type_name()))),
        })
    }
}

impl Dict {
    /// Makes a dictionary from the fields of a JSON object. All strings in it, names included, come from outside the
    /// template.
    ///
    /// # Errors
    /// As [`Dict::insert`].
    pub fn from_json(fields: &serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        let mut dict = Self::default();
        for (name, json) in fields {
            dict.insert(Value::outside(name.as_str()), Value::from_json(json)?)?;
        }
        Ok(dict)
    }

    /// Adds an entry, or replaces the value of the entry with this key.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) if the key is not hashable, or if the dictionary nests deeper
    /// than 200 levels or holds more than 64 MiB with shared values counted each time.
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

    /// Makes a value available under another name, unless an entry has that name. The alias is not among the entries.
    pub fn alias(&mut self, name: &'static str, value: Value) {
        self.aliases.push((name, value));
    }

    /// Returns the value of a key. Returns `None` also for a value that cannot be a key.
    pub(crate) fn get(&self, key: &Value, budget: &mut Budget) -> Result<Option<&Value>> {
        match key {
            Value::Str(text) | Value::Markup(text) => self.get_str(text.text(), budget),
            _ => {
                // A tuple is copied for the lookup.
                budget.touch(key.weight().saturating_mul(4))?;
                Ok(Key::of(key).ok().and_then(|key| self.entry(&key)))
            }
        }
    }

    /// Returns the value of a string.
    pub(crate) fn get_str(&self, name: &Text, budget: &mut Budget) -> Result<Option<&Value>> {
        // The lookup hashes the name and compares it with the key that it finds.
        budget.touch(name.len().saturating_mul(2))?;
        let alias = || self.aliases.iter().find(|(alias, _)| **alias == **name).map(|(_, value)| value);
        Ok(self.entry(&Key::Str(name.clone())).or_else(alias))
    }

    fn entry(&self, key: &Key) -> Option<&Value> {
        let at = *self.index.get(key)?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// Iterates over the entries, in the order in which their keys were first inserted.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Value, Value)> {
        self.entries.iter()
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Drop for Dict {
    fn drop(&mut self) {
        let entries = self.entries.drain(..).flat_map(|(key, value)| [key, value]);
        release(entries.chain(self.aliases.drain(..).map(|(_, value)| value)));
    }
}

/// Counted constructors.
impl Budget {
    /// Makes a list.
    pub fn list(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Ok(Value::List(Items::new(values)?))
    }

    /// Makes a tuple.
    pub fn tuple(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Ok(Value::Tuple(Items::new(values)?))
    }

    /// Makes a generator, whose values can be iterated over once.
    pub fn generator(&mut self, values: Vec<Value>) -> Result<Value> {
        self.make_items(values.len())?;
        Value::generator(values)
    }

    /// Makes a dictionary.
    pub fn dict(&mut self, pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            self.entry(&key)?;
            dict.insert(key, value)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    /// Counts the construction of an entry of a dictionary.
    pub fn entry(&mut self, key: &Value) -> Result<()> {
        self.touch(key.weight().saturating_add(4 * VALUE_BYTES))
    }
}
