//! Attributes and methods of dictionaries, lists, loops and the like; those of strings are in `strings`.

use std::rc::Rc;

use super::arguments::Args;
use super::ast::Text;
use super::budget::Budget;
use super::bytes;
use super::collections::{Dict, Items};
use super::fault::{Fault, Result};
use super::strings;
use super::value::{Function, Loop, Missing, Object, Value, View};

const DICT: [&str; 5] = ["copy", "get", "items", "keys", "values"];
/// What would change a dictionary; the sandbox has none of it.
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST: [&str; 3] = ["copy", "count", "index"];
/// What would change a list.
const LIST_CHANGES: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];

/// An attribute of a value: a method, or what objects have; nothing where there is none.
pub(super) fn attribute(value: &Value, name: &Text, budget: &mut Budget) -> Result<Option<Value>> {
    budget.touch(name.len())?;
    let method =
        |known: &[&str]| known.contains(&&**name).then(|| Value::object(Object::Method(value.clone(), name.clone())));
    let refused = |changes: &[&str]| {
        let words = || format!("access to attribute '{name}' of '{}' object is unsafe", value.type_name());
        changes.contains(&&**name).then(|| Value::Undefined(Missing::Other(words().into())))
    };
    Ok(match value {
        Value::Str(text) | Value::Markup(text) => {
            method(&strings::METHODS).or_else(|| text.as_arguments().and_then(|_| method(&DICT)))
        }
        Value::Dict(_) if **name == *"fromkeys" => Some(Value::object(Object::Function(Function::FromKeys))),
        Value::Dict(_) => method(&DICT).or_else(|| refused(&DICT_CHANGES)),
        Value::List(_) => method(&LIST).or_else(|| refused(&LIST_CHANGES)),
        Value::Tuple(_) => method(&LIST[1..]),
        Value::Object(object) => match &**object {
            Object::Namespace(entries) => entries.borrow().get(name).cloned(),
            Object::Loop(state) => loop_attribute(state, name)?.or_else(|| method(&["cycle", "changed"])),
            Object::Cycler { items, at } => match &**name {
                "current" => items.get(at.get()).cloned(),
                _ => method(&["next", "reset"]),
            },
            Object::Macro { definition, .. } => match &**name {
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
            Object::Function(Function::Dict) if **name == *"fromkeys" => {
                Some(Value::object(Object::Function(Function::FromKeys)))
            }
            Object::Bytes(_) => method(&bytes::METHODS),
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

/// Calls a method.
pub(super) fn call(owner: &Value, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    match owner {
        Value::Str(text) | Value::Markup(text) => match text.as_arguments() {
            Some(object) if !strings::METHODS.contains(&name) => dict_method(owner, object, name, args, budget),
            _ => strings::call(owner, text, name, args, budget),
        },
        Value::Dict(dict) => dict_method(owner, dict, name, args, budget),
        Value::List(items) | Value::Tuple(items) => list_method(owner, items, name, args, budget),
        Value::Object(object) => match &**object {
            Object::Loop(state) => loop_method(state, name, args, budget),
            Object::Cycler { items, at } => {
                args.none(name)?;
                let current = items.get(at.get()).cloned();
                at.set(if name == "reset" { 0 } else { (at.get() + 1) % items.len().max(1) });
                Ok(if name == "reset" { Value::None } else { current.unwrap_or(Value::None) })
            }
            Object::Bytes(own) => bytes::call(own, name, args, budget),
            _ => Err(unknown(owner, name)),
        },
        _ => Err(unknown(owner, name)),
    }
}

fn unknown(owner: &Value, name: &str) -> Fault {
    Fault::failed(format!("'{}' object has no method '{name}'", owner.type_name()))
}

fn dict_method(owner: &Value, dict: &Rc<Dict>, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let view = match name {
        "get" => {
            if !args.keyword.is_empty() {
                return Err(Fault::failed("get takes no keyword arguments"));
            }
            let [key, default] = args.bind("get", ["key", "default"], 1)?;
            let found = dict.get(&key.unwrap_or(Value::None), budget)?.cloned();
            return Ok(found.or(default).unwrap_or(Value::None));
        }
        "copy" => {
            args.none(name)?;
            return Ok(if matches!(owner, Value::Dict(_)) { owner.clone() } else { Value::Dict(Rc::clone(dict)) });
        }
        "keys" => View::Keys,
        "values" => View::Values,
        _ => View::Items,
    };
    args.none(name)?;
    Ok(Value::object(Object::View(view, Rc::clone(dict))))
}

/// The items of a view of a dictionary.
pub(super) fn view_items(view: View, dict: &Dict, budget: &mut Budget) -> Result<Vec<Value>> {
    budget.make_items(dict.len())?;
    dict.iter()
        .map(|(key, value)| match view {
            View::Keys => Ok(key.clone()),
            View::Values => Ok(value.clone()),
            View::Items => budget.tuple(vec![key.clone(), value.clone()]),
        })
        .collect()
}

fn list_method(owner: &Value, items: &Rc<Items>, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    if name == "copy" {
        args.none(name)?;
        return Ok(owner.clone());
    }
    let [wanted] = args.bind(name, ["value"], 1)?;
    let wanted = wanted.unwrap_or(Value::None);
    let mut count = 0;
    for (at, item) in items.iter().enumerate() {
        budget.step()?;
        if item.equals(&wanted, budget)? {
            if name == "index" {
                return Ok(Value::Int(at as i128));
            }
            count += 1;
        }
    }
    if name == "index" { Err(Fault::failed("the value is not in the list")) } else { Ok(Value::Int(count)) }
}

fn loop_method(state: &Loop, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    if name == "cycle" {
        let values = args.positional;
        let len = values.len();
        let chosen = values.into_iter().nth(state.at.get() % len.max(1));
        return chosen.ok_or_else(|| Fault::failed("no items for cycling given"));
    }
    budget.make_items(args.positional.len())?;
    let given = Items::new(args.positional)?;
    let before = state.seen.replace(Some(Rc::clone(&given)));
    let same = match before {
        Some(before) => Value::Tuple(before).equals(&Value::Tuple(given), budget)?,
        None => false,
    };
    Ok(Value::Bool(!same))
}
