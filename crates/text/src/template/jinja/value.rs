//! Values, as Python has them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, Macro, Text};
use super::budget::Budget;
use super::bytes::Bytes;
use super::collections::{Dict, Items, Shape};
use super::fault::{Fault, Result, short};
use super::marked::Str;
use super::release::release;
use super::scope::Scope;

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    /// What is not there, and why not.
    Undefined(Missing),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Str),
    /// A string that counts as escaped already (`|safe`).
    Markup(Str),
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
            Self::Name(name) => format!("'{}' is undefined", short(name)),
            Self::Attribute(owner, name) => format!("'{owner}' has no attribute '{}'", short(name)),
            Self::Item(owner, key) => format!("{owner} has no element {key}"),
            Self::Other(words) => words.to_string(),
        }
    }

    /// The error of using it.
    pub fn fault(&self) -> Fault {
        Fault::failed(self.describe())
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
    /// `dict.fromkeys`
    FromKeys,
    RaiseException,
    StrftimeNow,
}

/// What is neither a number, a string nor a plain collection.
pub(crate) enum Object {
    Namespace(RefCell<HashMap<Text, Value>>),
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
    Bytes(Bytes),
}

impl Drop for Object {
    fn drop(&mut self) {
        match self {
            Self::Namespace(entries) => release(std::mem::take(entries.get_mut()).into_values()),
            Self::Generator { rest, .. } => release(std::mem::take(rest.get_mut())),
            Self::Method(value, _) | Self::Joiner { separator: value, .. } => {
                release([std::mem::replace(value, Value::None)]);
            }
            // Lists, dictionaries and scopes see to their values themselves.
            _ => {}
        }
    }
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
    /// A string of the template.
    pub fn str(text: impl Into<Text>) -> Self {
        Self::Str(Str::own(text))
    }

    /// Values that are iterated over once.
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

    /// A string with its origin.
    pub fn as_text(&self) -> Option<&Str> {
        match self {
            Self::Str(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// A dictionary: also the arguments of a tool call that are given as JSON text.
    pub fn as_dict(&self) -> Option<&Rc<Dict>> {
        match self {
            Self::Dict(dict) => Some(dict),
            other => other.as_text().and_then(Str::as_arguments),
        }
    }

    /// Whether other values may be freed with it.
    pub fn frees_others(&self) -> bool {
        match self {
            Self::List(items) | Self::Tuple(items) => Rc::strong_count(items) == 1,
            Self::Object(object) => Rc::strong_count(object) == 1,
            other => other.as_dict().is_some_and(|dict| Rc::strong_count(dict) == 1),
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
    pub fn shape(&self) -> Shape {
        match self {
            Self::Str(text) | Self::Markup(text) => Shape::leaf(text.len()),
            Self::List(items) | Self::Tuple(items) => items.shape,
            Self::Dict(dict) => dict.shape,
            Self::Object(object) => match &**object {
                // A namespace can be changed later. It is shown to a bounded depth.
                Object::Namespace(_) | Object::Macro { .. } | Object::Function(_) => Shape::LEAF,
                Object::Range { len, .. } => Shape::leaf(len.saturating_mul(Shape::LEAF.weight)),
                Object::View(_, dict) => dict.shape,
                Object::Generator { shape, .. } => *shape,
                Object::Loop(state) => state.items.shape,
                Object::Cycler { items, .. } => items.shape,
                // It is shown without them.
                Object::Method(..) | Object::Joiner { .. } => Shape::LEAF,
                Object::Bytes(bytes) => Shape::leaf(bytes.len()),
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
                Object::Bytes(bytes) => !bytes.is_empty(),
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
                Object::Bytes(_) => "bytes",
            },
        }
    }

    /// Number of items or characters, where Python's `len` gives one.
    pub fn len(&self, budget: &mut Budget) -> Result<Option<usize>> {
        Ok(match self {
            Self::Undefined(_) => Some(0),
            Self::Str(text) | Self::Markup(text) => {
                budget.touch(text.len())?;
                Some(text.chars().count())
            }
            Self::List(items) | Self::Tuple(items) => Some(items.len()),
            Self::Dict(dict) => Some(dict.len()),
            Self::Object(object) => match &**object {
                Object::View(_, dict) => Some(dict.len()),
                Object::Range { len, .. } => Some(*len),
                Object::Loop(state) => Some(state.items.len()),
                Object::Bytes(bytes) => Some(bytes.len()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Python's `==`.
    pub fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool> {
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
            (Self::Object(a), Self::Object(b)) => match (&**a, &**b) {
                (
                    Object::Range { start, step, len },
                    Object::Range { start: other, step: other_step, len: other_len },
                ) => Ok((start, step, len) == (other, other_step, other_len)),
                (Object::Bytes(a), Object::Bytes(b)) => {
                    budget.touch(a.len())?;
                    Ok(**a == **b)
                }
                _ => Ok(Rc::ptr_eq(a, b)),
            },
            _ => Ok(match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.as_float(), other.as_float()), (Some(a), Some(b)) if a == b),
            }),
        }
    }
}
