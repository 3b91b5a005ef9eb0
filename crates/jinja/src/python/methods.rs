//! Methods of dictionaries, lists, loops and cyclers.

use std::rc::Rc;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::Args;
use crate::python::{attributes, bytes, strings};
use crate::value::collections::{Dict, Items};
use crate::value::{Loop, ObjectKind, Value, View};

/// Calls a method.
pub(crate) fn call(owner: &Value, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    match owner {
        Value::Str(text) | Value::Markup(text) => match text.as_object() {
            Some(object) if !attributes::STR.contains(&name) => dict_method(owner, object, name, args, budget),
            _ => strings::call(owner, text, name, args, budget),
        },
        Value::Dict(dict) => dict_method(owner, dict, name, args, budget),
        Value::List(items) | Value::Tuple(items) => list_method(owner, items, name, args, budget),
        Value::Object(object) => match object.kind() {
            ObjectKind::Loop(state) => loop_method(state, name, args, budget),
            ObjectKind::Cycler { items, at } => {
                args.none(name)?;
                let current = items.get(at.get()).cloned();
                at.set(if name == "reset" { 0 } else { (at.get() + 1) % items.len().max(1) });
                Ok(if name == "reset" { Value::None } else { current.unwrap_or(Value::None) })
            }
            ObjectKind::Bytes(own) => bytes::call(own, name, args, budget),
            _ => Err(unknown(owner, name)),
        },
        _ => Err(unknown(owner, name)),
    }
}

fn unknown(owner: &Value, name: &str) -> Error {
    Error::failed(format!("'{}' object has no method '{name}'", owner.type_name()))
}

fn dict_method(owner: &Value, dict: &Rc<Dict>, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    let view = match name {
        "get" => {
            if !args.keyword.is_empty() {
                return Err(Error::failed("get takes no keyword arguments"));
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
    Ok(Value::object(ObjectKind::View(view, Rc::clone(dict))))
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
    if name == "index" { Err(Error::failed("the value is not in the list")) } else { Ok(Value::Int(count)) }
}

fn loop_method(state: &Loop, name: &str, args: Args, budget: &mut Budget) -> Result<Value> {
    if name == "cycle" {
        let values = args.positional;
        let len = values.len();
        let chosen = values.into_iter().nth(state.at.get() % len.max(1));
        return chosen.ok_or_else(|| Error::failed("no items for cycling given"));
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
