//! Values, as Python has them. Lists and dictionaries never change once they are built: the sandbox forbids it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, Macro, Text};
use super::fault::{Fault, Result};
use super::scope::Scope;

/// Deepest nesting of lists and dictionaries.
pub(super) const MAX_VALUE_DEPTH: u32 = 200;
/// Most bytes that a list or dictionary holds, counted as often as it is written out.
const MAX_WEIGHT: usize = 64 << 20;
/// Bytes that any value counts as, beside those of its text.
const LEAF_WEIGHT: usize = 16;

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    /// What is not there, and why not.
    Undefined(Missing),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    /// A string that counts as escaped already (`|safe`).
    Markup(Text),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    Object(Rc<Object>),
}

/// What is missing.
#[derive(Clone)]
pub(crate) enum Missing {
    /// A variable.
    Name(Text),
    /// An attribute: the owner, and the name.
    Attribute(&'static str, Text),
    /// An item: the owner, and the key as Python shows it.
    Item(&'static str, Text),
    /// Something else, in words.
    Other(Text),
}

impl Missing {
    /// What is missing, in Jinja2's words.
    pub fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("'{name}' is undefined"),
            Self::Attribute(owner, name) => format!("'{owner}' has no attribute '{name}'"),
            Self::Item(owner, key) => format!("{owner} has no element {key}"),
            Self::Other(words) => words.to_string(),
        }
    }

    /// The error of using it.
    pub fn fault(&self) -> Fault {
        Fault::failed(self.describe())
    }
}

/// How deep a value nests, and how many bytes going through all of it reads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    depth: u32,
    weight: usize,
}

impl Shape {
    const LEAF: Self = Self { depth: 0, weight: LEAF_WEIGHT };

    /// The shape of what also holds another value.
    ///
    /// Lists that hold the same list several times grow without making much, and comparing them would not end.
    fn with(self, inner: Self) -> Result<Self> {
        let shape = Self { depth: self.depth.max(inner.depth + 1), weight: self.weight.saturating_add(inner.weight) };
        if shape.depth > MAX_VALUE_DEPTH {
            return Err(Fault::failed(format!("a value is nested deeper than {MAX_VALUE_DEPTH}")));
        }
        if shape.weight > MAX_WEIGHT {
            return Err(Fault::failed(format!("a value holds more than {MAX_WEIGHT} bytes")));
        }
        Ok(shape)
    }

    fn of(values: &[Value]) -> Result<Self> {
        values.iter().try_fold(Self::LEAF, |shape, value| shape.with(value.shape()))
    }
}

/// The items of a list or tuple.
pub(crate) struct Items {
    values: Vec<Value>,
    shape: Shape,
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

/// A dictionary in the order of its keys' first mention.
#[derive(Default)]
pub(crate) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    shape: Shape,
}

/// What a dictionary is looked up by: equal numbers are one key.
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
            Value::Str(text) | Value::Markup(text) => Self::Str(text.clone()),
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
            std::collections::hash_map::Entry::Occupied(at) => self.entries[*at.get()].1 = value,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }

    /// The value of a key; nothing also where the value cannot be a key.
    pub fn get(&self, key: &Value) -> Option<&Value> {
        let at = *self.index.get(&Key::of(key).ok()?)?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// The value of a string.
    pub fn get_str(&self, key: &Text) -> Option<&Value> {
        let at = *self.index.get(&Key::Str(key.clone()))?;
        self.entries.get(at).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Value, Value)> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Which part of a dictionary a view shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

/// A function of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

/// What is neither a number, a string nor a plain collection.
pub(crate) enum Object {
    Namespace(RefCell<BTreeMap<Text, Value>>),
    View(View, Rc<Dict>),
    Range {
        start: i128,
        step: i128,
        len: usize,
    },
    /// What is iterated over once: `select`, `map`, `reverse`, ...
    Generator {
        rest: RefCell<VecDeque<Value>>,
        shape: Shape,
    },
    Function(Function),
    Method(Value, Text),
    Macro {
        definition: Arc<Macro>,
        scope: Rc<Scope>,
    },
    Loop(Loop),
    Cycler {
        items: Rc<Items>,
        at: Cell<usize>,
    },
    Joiner {
        separator: Value,
        used: Cell<bool>,
    },
}

/// What `loop` is.
pub(crate) struct Loop {
    pub items: Rc<Items>,
    /// Index from 0.
    pub at: Cell<usize>,
    /// From 1.
    pub depth: usize,
    /// What `loop.changed` saw last.
    pub seen: RefCell<Option<Rc<Items>>>,
    /// What `loop(...)` runs: a recursive loop, in the scope around it.
    pub recursion: Option<(Arc<For>, Rc<Scope>)>,
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<Text>) -> Self {
        Self::Str(text.into())
    }

    /// What is iterated over once.
    pub fn generator(values: Vec<Value>) -> Result<Self> {
        let shape = Shape::of(&values)?;
        Ok(Self::object(Object::Generator { rest: RefCell::new(values.into()), shape }))
    }

    pub fn object(object: Object) -> Self {
        Self::Object(Rc::new(object))
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        self.as_text().map(|text| &**text)
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Str(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer; true is 1.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            other => other.as_int().map(|value| value as f64),
        }
    }

    /// How deep it nests and how much it holds.
    fn shape(&self) -> Shape {
        match self {
            Self::Str(text) | Self::Markup(text) => Shape { depth: 0, weight: text.len() + LEAF_WEIGHT },
            Self::List(items) | Self::Tuple(items) => items.shape,
            Self::Dict(dict) => dict.shape,
            Self::Object(object) => match &**object {
                // A namespace can be changed later; it is emptied before it is dropped, and shown to a bounded depth.
                Object::Namespace(_) | Object::Macro { .. } | Object::Function(_) => Shape::LEAF,
                Object::Range { len, .. } => Shape { depth: 0, weight: len * LEAF_WEIGHT },
                Object::View(_, dict) => dict.shape,
                Object::Generator { shape, .. } => *shape,
                Object::Loop(state) => state.items.shape,
                Object::Cycler { items, .. } => items.shape,
                Object::Method(owner, _) => owner.shape(),
                Object::Joiner { separator, .. } => separator.shape(),
            },
            _ => Shape::LEAF,
        }
    }

    /// Number of bytes that going through all of it reads.
    pub fn weight(&self) -> usize {
        self.shape().weight
    }

    /// Python's truth.
    pub fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::Markup(text) => !text.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::Dict(dict) => dict.len() > 0,
            Self::Object(object) => match &**object {
                Object::View(_, dict) => dict.len() > 0,
                Object::Range { len, .. } => *len > 0,
                _ => true,
            },
        }
    }

    /// Python's name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Markup(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Object(object) => match &**object {
                Object::Namespace(_) => "Namespace",
                Object::View(View::Keys, _) => "dict_keys",
                Object::View(View::Values, _) => "dict_values",
                Object::View(View::Items, _) => "dict_items",
                Object::Range { .. } => "range",
                Object::Generator { .. } => "generator",
                Object::Function(_) => "function",
                Object::Method(..) => "builtin_function_or_method",
                Object::Macro { .. } => "Macro",
                Object::Loop(_) => "LoopContext",
                Object::Cycler { .. } => "Cycler",
                Object::Joiner { .. } => "Joiner",
            },
        }
    }

    /// Number of items or characters, where Python's `len` gives one.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Undefined(_) => Some(0),
            Self::Str(text) | Self::Markup(text) => Some(text.chars().count()),
            Self::List(items) | Self::Tuple(items) => Some(items.len()),
            Self::Dict(dict) => Some(dict.len()),
            Self::Object(object) => match &**object {
                Object::View(_, dict) => Some(dict.len()),
                Object::Range { len, .. } => Some(*len),
                Object::Loop(state) => Some(state.items.len()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Python's `==`.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(a) | Self::Markup(a), Self::Str(b) | Self::Markup(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                Rc::ptr_eq(a, b) || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b)))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                let same = |(key, value): &(Self, Self)| b.get(key).is_some_and(|other| value.equals(other));
                Rc::ptr_eq(a, b) || (a.len() == b.len() && a.iter().all(same))
            }
            (Self::Object(a), Self::Object(b)) => {
                Rc::ptr_eq(a, b)
                    || match (&**a, &**b) {
                        (
                            Object::Range { start, step, len },
                            Object::Range { start: other, step: other_step, len: other_len },
                        ) => (start, step, len) == (other, other_step, other_len),
                        _ => false,
                    }
            }
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.as_float(), other.as_float()), (Some(a), Some(b)) if a == b),
            },
        }
    }
}
