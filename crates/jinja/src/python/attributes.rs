//! Attributes and items of values.

use crate::budget::Budget;
use crate::error::{Error, Result, short};
use crate::python::sequences;
use crate::python::sequences::with_markup_of;
use crate::python::sequences::{character, index};
use crate::python::text;
use crate::syntax::ast::Text;
use crate::value::collections::Items;
use crate::value::{Function, Loop, Missing, ObjectKind, Value};

/// The names of the methods of strings.
pub(crate) const STR: [&str; 45] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// The names of the methods of bytes.
pub(crate) const BYTES: [&str; 2] = ["decode", "hex"];

const DICT: [&str; 5] = ["copy", "get", "items", "keys", "values"];
/// The methods that change a dictionary. The sandbox refuses them.
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST: [&str; 3] = ["copy", "count", "index"];
/// The methods that change a list. The sandbox refuses them.
const LIST_CHANGES: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];

/// Evaluates `value.name`: an attribute, or else an item.
pub(crate) fn attribute(value: &Value, name: &Text, budget: &mut Budget) -> Result<Value> {
    if let Value::Undefined(missing) = value {
        return Err(missing.error());
    }
    if let Some(found) = own_attribute(value, name, budget)? {
        return Ok(found);
    }
    if let Some(dict) = value.as_dict()
        && let Some(found) = dict.get_str(name, budget)?
    {
        return Ok(found.clone());
    }
    if name.starts_with("__") {
        return Err(Error::failed(format!(
            "access to attribute '{}' of '{}' object is unsafe",
            short(name),
            value.type_name()
        )));
    }
    Ok(Value::Undefined(Missing::Attribute(sequences::owner(value), name.clone())))
}

/// Evaluates `value[key]`: an item, or else an attribute.
pub(crate) fn item(value: &Value, key: &Value, budget: &mut Budget) -> Result<Value> {
    let found = match value {
        Value::Undefined(missing) => return Err(missing.error()),
        Value::Dict(dict) => dict.get(key, budget)?.cloned(),
        Value::List(items) | Value::Tuple(items) => {
            key.as_int().and_then(|at| index(items.len(), at)).and_then(|at| items.get(at)).cloned()
        }
        Value::Str(text) | Value::Markup(text) => match (key.as_int(), text.as_object()) {
            (Some(at), _) => character(text, at, budget)?.map(|c| with_markup_of(value, c)),
            (None, Some(object)) => object.get(key, budget)?.cloned(),
            (None, None) => None,
        },
        Value::Object(object) => match object.kind() {
            ObjectKind::Range { start, step, len } => {
                key.as_int().and_then(|at| index(*len, at)).map(|at| Value::Int(start + step * at as i128))
            }
            ObjectKind::Bytes(bytes) => {
                let byte = key.as_int().and_then(|at| index(bytes.len(), at)).and_then(|at| bytes.get(at));
                byte.map(|byte| Value::Int((*byte).into()))
            }
            _ => None,
        },
        _ => None,
    };
    match (found, key) {
        (Some(found), _) => Ok(found),
        (None, Value::Str(name) | Value::Markup(name)) => attribute(value, name.text(), budget),
        (None, Value::Undefined(missing)) => Ok(Value::Undefined(missing.clone())),
        (None, _) => Ok(Value::Undefined(Missing::Item(sequences::owner(value), text::shown(key).into()))),
    }
}

/// Returns an attribute or method of a value, if it has one of this name.
pub(crate) fn own_attribute(value: &Value, name: &Text, budget: &mut Budget) -> Result<Option<Value>> {
    budget.touch(name.len())?;
    let method = |known: &[&str]| {
        known.contains(&&**name).then(|| Value::object(ObjectKind::Method(value.clone(), name.clone())))
    };
    let refused = |changes: &[&str]| {
        let words = || format!("access to attribute '{name}' of '{}' object is unsafe", value.type_name());
        changes.contains(&&**name).then(|| Value::Undefined(Missing::Other(words().into())))
    };
    Ok(match value {
        Value::Str(text) | Value::Markup(text) => method(&STR).or_else(|| text.as_object().and_then(|_| method(&DICT))),
        Value::Dict(_) if **name == *"fromkeys" => Some(Value::object(ObjectKind::Function(Function::FromKeys))),
        Value::Dict(_) => method(&DICT).or_else(|| refused(&DICT_CHANGES)),
        Value::List(_) => method(&LIST).or_else(|| refused(&LIST_CHANGES)),
        Value::Tuple(_) => method(&LIST[1..]),
        Value::Object(object) => match object.kind() {
            ObjectKind::Namespace(entries) => entries.borrow().get(name).cloned(),
            ObjectKind::Loop(state) => loop_attribute(state, name)?.or_else(|| method(&["cycle", "changed"])),
            ObjectKind::Cycler { items, at } => match &**name {
                "current" => items.get(at.get()).cloned(),
                _ => method(&["next", "reset"]),
            },
            ObjectKind::Macro { definition, .. } => match &**name {
                "name" => Some(Value::str(definition.name.clone())),
                "arguments" => {
                    budget.make_items(2 * definition.parameters.len())?;
                    let names = definition.parameters.iter().map(|(name, _)| Value::str(name.clone()));
                    Some(Value::Tuple(Items::new(names.collect())?))
                }
                "catch_kwargs" => Some(Value::Bool(definition.uses.kwargs)),
                "catch_varargs" => Some(Value::Bool(definition.uses.varargs)),
                "caller" => Some(Value::Bool(definition.uses.caller)),
                _ => None,
            },
            ObjectKind::Function(Function::Dict) if **name == *"fromkeys" => {
                Some(Value::object(ObjectKind::Function(Function::FromKeys)))
            }
            ObjectKind::Bytes(_) => method(&BYTES),
            _ => None,
        },
        _ => None,
    })
}

fn loop_attribute(state: &Loop, name: &str) -> Result<Option<Value>> {
    let (at, len) = (state.at.get(), state.items.len());
    let int = |value: usize| Some(Value::Int(value as i128));
    let neighbour = |at: Option<usize>, words: &str| {
        let item = at.and_then(|at| state.items.get(at)).cloned();
        Some(item.unwrap_or_else(|| Value::Undefined(Missing::Other(format!("there is no {words} item").into()))))
    };
    Ok(match name {
        "index" => int(at + 1),
        "index0" => int(at),
        "revindex" => int(len.saturating_sub(at)),
        "revindex0" => int(len.saturating_sub(at + 1)),
        "first" => Some(Value::Bool(at == 0)),
        "last" => Some(Value::Bool(at + 1 == len)),
        "length" => int(len),
        "depth" => int(state.depth),
        "depth0" => int(state.depth.saturating_sub(1)),
        "previtem" => neighbour(at.checked_sub(1), "previous"),
        "nextitem" => neighbour(at.checked_add(1), "next"),
        _ => None,
    })
}
