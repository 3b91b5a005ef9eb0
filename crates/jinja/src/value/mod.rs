//! Values with Python's behaviour.

pub(crate) mod collections;
pub(crate) mod marked;
mod release;
pub(crate) mod scope;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::budget::Budget;
use crate::budget::VALUE_BYTES;
use crate::error::{Error, Result, short};
use crate::syntax::ast::{For, Macro, Text};
use crate::value::collections::{Dict, Items, Shape};
use crate::value::marked::Str;
use crate::value::release::release;
use crate::value::scope::Scope;

/// A value with Python's behaviour.
///
/// A value cannot be changed. Clones share their contents. A value belongs to one thread.
#[derive(Clone)]
pub enum Value {
    /// An undefined variable, attribute or item. Most operations on it are errors.
    Undefined(Missing),
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer. Results that need more than 128 bits are errors.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Str(Str),
    /// A string that counts as escaped (`|safe`).
    Markup(Str),
    /// A list.
    List(Rc<Items>),
    /// A tuple.
    Tuple(Rc<Items>),
    /// A dictionary.
    Dict(Rc<Dict>),
    /// Any other object.
    Object(Object),
}

const _: () = assert!(size_of::<Value>() <= VALUE_BYTES);

/// The reason that a value is undefined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The name of a variable.
    Name(Text),
    /// The type of a value, and the name of the attribute that it lacks.
    Attribute(&'static str, Text),
    /// The type of a value, and the `repr` of the key that it lacks.
    Item(&'static str, Text),
    /// Any other reason, in words.
    Other(Text),
}

impl Missing {
    /// Describes the reason in Jinja2's words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("'{}' is undefined", short(name)),
            Self::Attribute(owner, name) => format!("'{owner}' has no attribute '{}'", short(name)),
            Self::Item(owner, key) => format!("{owner} has no element {key}"),
            Self::Other(words) => words.to_string(),
        }
    }

    /// Makes the error of using the undefined value.
    pub(crate) fn error(&self) -> Error {
        Error::failed(self.describe())
    }
}

/// The part of a dictionary that a view shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

/// The functions that templates can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    /// `dict.fromkeys`
    FromKeys,
    RaiseException,
    StrftimeNow,
}

/// An object that only templates can make, for example a namespace, a range or a macro.
#[derive(Clone)]
pub struct Object(Rc<ObjectKind>);

impl Object {
    pub(crate) fn new(kind: ObjectKind) -> Self {
        Self(Rc::new(kind))
    }

    pub(crate) fn kind(&self) -> &ObjectKind {
        &self.0
    }

    /// Returns `true` if both are the same object.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

pub(crate) enum ObjectKind {
    Namespace(RefCell<HashMap<Text, Value>>),
    View(View, Rc<Dict>),
    Range {
        start: i128,
        step: i128,
        len: usize,
    },
    /// An iterator that can be used once: the result of `select`, `map`, `reverse`, ...
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
    Bytes(Bytes),
}

impl Drop for ObjectKind {
    fn drop(&mut self) {
        match self {
            Self::Namespace(entries) => release(std::mem::take(entries.get_mut()).into_values()),
            Self::Generator { rest, .. } => release(std::mem::take(rest.get_mut())),
            Self::Method(value, _) | Self::Joiner { separator: value, .. } => {
                release([std::mem::replace(value, Value::None)]);
            }
            // Lists, dictionaries and scopes release their values themselves.
            _ => {}
        }
    }
}

/// Python's `bytes`.
#[derive(Clone)]
pub(crate) struct Bytes {
    pub bytes: Rc<[u8]>,
    /// `true` if any byte comes from outside the template.
    pub outside: bool,
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The value of the variable `loop`.
pub(crate) struct Loop {
    pub items: Rc<Items>,
    /// The index of the current item, from 0.
    pub at: Cell<usize>,
    /// The nesting depth, from 1.
    pub depth: usize,
    /// The last arguments of `loop.changed`.
    pub seen: RefCell<Option<Rc<Items>>>,
    /// The loop that `loop(...)` runs, and its scope, if it is recursive.
    pub recursion: Option<(Arc<For>, Rc<Scope>)>,
}

impl From<Dict> for Value {
    fn from(dict: Dict) -> Self {
        Self::Dict(Rc::new(dict))
    }
}

impl Value {
    /// Makes a string that counts as part of the template.
    pub fn str(text: impl Into<Text>) -> Self {
        Self::Str(Str::own(text))
    }

    /// Makes a string from outside the template.
    pub fn outside(text: impl Into<Text>) -> Self {
        Self::Str(Str::outside(text))
    }

    /// Makes a list.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`](crate::ErrorKind::Failed) if the list nests deeper than 200 levels, or holds more than 64
    /// MiB with shared values counted each time.
    pub fn list(values: Vec<Value>) -> Result<Self> {
        Ok(Self::List(Items::new(values)?))
    }

    /// Makes a value from JSON. All strings in it, names included, come from outside the template.
    ///
    /// # Errors
    /// As [`Value::list`].
    pub fn from_json(json: &serde_json::Value) -> Result<Self> {
        Ok(match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i128(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                (None, value) => Self::Float(value.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::outside(text.as_str()),
            Json::Array(list) => Self::list(list.iter().map(Self::from_json).collect::<Result<_>>()?)?,
            Json::Object(fields) => Dict::from_json(fields)?.into(),
        })
    }

    /// Makes a generator, whose values can be iterated over once.
    pub(crate) fn generator(values: Vec<Value>) -> Result<Self> {
        let shape = Shape::of(&values)?;
        Ok(Self::object(ObjectKind::Generator { rest: RefCell::new(values.into()), shape }))
    }

    pub(crate) fn object(kind: ObjectKind) -> Self {
        Self::Object(Object::new(kind))
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        self.as_text().map(|text| &**text)
    }

    /// Returns a string with its marks.
    pub(crate) fn as_text(&self) -> Option<&Str> {
        match self {
            Self::Str(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a dictionary, or the object of a string made by [`Str::json`].
    pub(crate) fn as_dict(&self) -> Option<&Rc<Dict>> {
        match self {
            Self::Dict(dict) => Some(dict),
            other => other.as_text().and_then(Str::as_object),
        }
    }

    /// Returns `true` if dropping this value may free other values.
    pub(crate) fn frees_others(&self) -> bool {
        match self {
            Self::List(items) | Self::Tuple(items) => Rc::strong_count(items) == 1,
            Self::Object(object) => Rc::strong_count(&object.0) == 1,
            other => other.as_dict().is_some_and(|dict| Rc::strong_count(dict) == 1),
        }
    }

    /// Returns the value of an integer or boolean.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// Returns the value of a number or boolean.
    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            other => other.as_int().map(|value| value as f64),
        }
    }

    /// Returns the depth and the weight of the value.
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Str(text) | Self::Markup(text) => Shape::leaf(text.len()),
            Self::List(items) | Self::Tuple(items) => items.shape,
            Self::Dict(dict) => dict.shape,
            Self::Object(object) => match object.kind() {
                // A namespace can change after this. Printing it stops at a fixed depth.
                ObjectKind::Namespace(_) | ObjectKind::Macro { .. } | ObjectKind::Function(_) => Shape::LEAF,
                ObjectKind::Range { len, .. } => Shape::leaf(len.saturating_mul(Shape::LEAF.weight)),
                ObjectKind::View(_, dict) => dict.shape,
                ObjectKind::Generator { shape, .. } => *shape,
                ObjectKind::Loop(state) => state.items.shape,
                ObjectKind::Cycler { items, .. } => items.shape,
                // The value inside is not printed.
                ObjectKind::Method(..) | ObjectKind::Joiner { .. } => Shape::LEAF,
                ObjectKind::Bytes(bytes) => Shape::leaf(bytes.len()),
            },
            _ => Shape::LEAF,
        }
    }

    /// Returns the number of bytes that a traversal of the value reads.
    pub(crate) fn weight(&self) -> usize {
        self.shape().weight
    }

    /// Returns Python's truth value.
    pub fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::Markup(text) => !text.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::Dict(dict) => !dict.is_empty(),
            Self::Object(object) => match object.kind() {
                ObjectKind::View(_, dict) => !dict.is_empty(),
                ObjectKind::Range { len, .. } => *len > 0,
                ObjectKind::Bytes(bytes) => !bytes.is_empty(),
                _ => true,
            },
        }
    }

    /// Returns Python's name of the type.
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
            Self::Object(object) => match object.kind() {
                ObjectKind::Namespace(_) => "Namespace",
                ObjectKind::View(View::Keys, _) => "dict_keys",
                ObjectKind::View(View::Values, _) => "dict_values",
                ObjectKind::View(View::Items, _) => "dict_items",
                ObjectKind::Range { .. } => "range",
                ObjectKind::Generator { .. } => "generator",
                ObjectKind::Function(_) => "function",
                ObjectKind::Method(..) => "builtin_function_or_method",
                ObjectKind::Macro { .. } => "Macro",
                ObjectKind::Loop(_) => "LoopContext",
                ObjectKind::Cycler { .. } => "Cycler",
                ObjectKind::Joiner { .. } => "Joiner",
                ObjectKind::Bytes(_) => "bytes",
            },
        }
    }

    /// Returns Python's `len` if the value has one.
    pub(crate) fn len(&self, budget: &mut Budget) -> Result<Option<usize>> {
        Ok(match self {
            Self::Undefined(_) => Some(0),
            Self::Str(text) | Self::Markup(text) => {
                budget.touch(text.len())?;
                Some(text.chars().count())
            }
            Self::List(items) | Self::Tuple(items) => Some(items.len()),
            Self::Dict(dict) => Some(dict.len()),
            Self::Object(object) => match object.kind() {
                ObjectKind::View(_, dict) => Some(dict.len()),
                ObjectKind::Range { len, .. } => Some(*len),
                ObjectKind::Loop(state) => Some(state.items.len()),
                ObjectKind::Bytes(bytes) => Some(bytes.len()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool> {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => Ok(true),
            (Self::Str(a) | Self::Markup(a), Self::Str(b) | Self::Markup(b)) => {
                if a.len() != b.len() || Arc::ptr_eq(a.text(), b.text()) {
                    return Ok(a.len() == b.len());
                }
                budget.touch(a.len().saturating_mul(2))?;
                Ok(**a == **b)
            }
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                if a.len() != b.len() || Rc::ptr_eq(a, b) {
                    return Ok(a.len() == b.len());
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    budget.step()?;
                    if !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Self::Dict(a), Self::Dict(b)) => {
                if a.len() != b.len() || Rc::ptr_eq(a, b) {
                    return Ok(a.len() == b.len());
                }
                for (key, value) in a.iter() {
                    budget.step()?;
                    let Some(other) = b.get(key, budget)? else { return Ok(false) };
                    if !value.equals(other, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Self::Object(a), Self::Object(b)) => match (a.kind(), b.kind()) {
                (
                    ObjectKind::Range { start, step, len },
                    ObjectKind::Range { start: other, step: other_step, len: other_len },
                ) => Ok((start, step, len) == (other, other_step, other_len)),
                (ObjectKind::Bytes(a), ObjectKind::Bytes(b)) => {
                    budget.touch(a.len())?;
                    Ok(**a == **b)
                }
                _ => Ok(a.is(b)),
            },
            _ => Ok(match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.as_float(), other.as_float()), (Some(a), Some(b)) if a == b),
            }),
        }
    }
}
