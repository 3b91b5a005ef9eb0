//! Attributes and methods of dictionaries, lists, loops and the like; those of strings are in `strings`.

use std::rc::Rc;

use super::arguments::Args;
use super::ast::Text;
use super::budget::Budget;
use super::fault::{Fault, Result};
use super::strings;
use super::value::{Dict, Items, Loop, Missing, Object, Value, View};

const DICT: [&str; 5] = ["copy", "get", "items", "keys", "values"];
/// What would change a dictionary; the sandbox has none of it.
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST: [&str; 3] = ["copy", "count", "index"];
/// What would change a list.
const LIST_CHANGES: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];

/// An attribute of a value: a method, or what objects have; nothing where there is none.
pub(super) fn attribute(value: &Value, name: &Text) -> Result<Option<Value>> {
    let method =
        |known: &[&str]| known.contains(&&**name).then(|| Value::object(Object::Method(value.clone(), name.clone())));
    let refused = |changes: &[&str]| {
        let words = || format!("access to attribute '{name}' of '{}' object is unsafe", value.type_name());
        changes.contains(&&**name).then(|| Value::Undefined(Missing::Other(words().into())))
    };
    Ok(match value {
        Value::Str(_) | Value::Markup(_) => method(&strings::METHODS),
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
                "name" => Some(Value::Str(definition.name.clone())),
                "arguments" => {
                    let names = definition.parameters.iter().map(|(name, _)| Value::Str(name.clone()));
                    Some(Value::Tuple(Items::new(names.collect())?))
                }
                "catch_kwargs" => Some(Value::Bool(definition.uses.kwargs)),
                "catch_varargs" => Some(Value::Bool(definition.uses.varargs)),
                "caller" => Some(Value::Bool(definition.uses.caller)),
                _ => None,
            },
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
        Value::Str(text) | Value::Markup(text) => strings::call(owner, text, name, args, budget),
        Value::Dict(dict) => dict_method(dict, name, args),
        Value::List(items) | Value::Tuple(items) => list_method(owner, items, name, args, budget),
        Value::Object(object) => match &**object {
            Object::Loop(state) => loop_method(state, name, args, budget),
            Object::Cycler { items, at } => {
                args.none(name)?;
                let current = items.get(at.get()).cloned();
                at.set(if name == "reset" { 0 } else { (at.get() + 1) % items.len().max(1) });
                Ok(if name == "reset" { Value::None } else { current.unwrap_or(Value::None) })
            }
            _ => Err(unknown(owner, name)),
        },
        _ => Err(unknown(owner, name)),
    }
}

fn unknown(owner: &Value, name: &str) -> Fault {
    Fault::failed(format!("'{}' object has no method '{name}'", owner.type_name()))
}

fn dict_method(dict: &Rc<Dict>, name: &str, args: Args) -> Result<Value> {
    let view = match name {
        "get" => {
            if !args.keyword.is_empty() {
                return Err(Fault::failed("get takes no keyword arguments"));
            }
            let [key, default] = args.bind("get", ["key", "default"], 1)?;
            let found = key.as_ref().and_then(|key| dict.get(key)).cloned();
            return Ok(found.or(default).unwrap_or(Value::None));
        }
        "copy" => {
            args.none(name)?;
            return Ok(Value::Dict(Rc::clone(dict)));
        }
        "keys" => View::Keys,
        "values" => View::Values,
        _ => View::Items,
    };
    args.none(name)?;
    Ok(Value::object(Object::View(view, Rc::clone(dict))))
}

/// What a view of a dictionary shows.
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
    budget.read(owner.weight())?;
    if name == "copy" {
        args.none(name)?;
        return Ok(owner.clone());
    }
    let [wanted] = args.bind(name, ["value"], 1)?;
    let wanted = wanted.unwrap_or(Value::None);
    let mut found = items.iter().enumerate().filter(|(_, item)| item.equals(&wanted));
    if name == "count" {
        return Ok(Value::Int(found.count() as i128));
    }
    match found.next() {
        Some((at, _)) => Ok(Value::Int(at as i128)),
        None => Err(Fault::failed("the value is not in the list")),
    }
}

fn loop_method(state: &Loop, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    if name == "cycle" {
        let values = args.positional;
        let len = values.len();
        let chosen = values.into_iter().nth(state.at.get() % len.max(1));
        return chosen.ok_or_else(|| Fault::failed("no items for cycling given"));
    }
    let given = Items::new(args.positional)?;
    let mut seen = state.seen.borrow_mut();
    let same = |old: &Rc<Items>| old.len() == given.len() && old.iter().zip(given.iter()).all(|(a, b)| a.equals(b));
    budget.read(Value::Tuple(Rc::clone(&given)).weight())?;
    let changed = !seen.as_ref().is_some_and(same);
    *seen = Some(given);
    Ok(Value::Bool(changed))
}
