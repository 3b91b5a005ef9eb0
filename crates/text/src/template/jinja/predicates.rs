//! Jinja2's tests: what stands behind `is`.

use std::rc::Rc;

use super::arguments::{Args, int};
use super::ast::Comparison;
use super::budget::Budget;
use super::evaluate::Machine;
use super::fault::{Fault, Result, short};
use super::value::{Object, Value};
use super::{filters, operators, strings, text};

/// Whether there is a test of this name.
pub(super) fn exists(name: &str) -> bool {
    const NAMES: [&str; 28] = [
        "boolean",
        "callable",
        "defined",
        "divisibleby",
        "escaped",
        "even",
        "false",
        "filter",
        "float",
        "in",
        "integer",
        "iterable",
        "lower",
        "mapping",
        "none",
        "number",
        "odd",
        "sameas",
        "sequence",
        "string",
        "test",
        "true",
        "undefined",
        "upper",
        "eq",
        "equalto",
        "==",
        "ne",
    ];
    NAMES.contains(&name) || comparison(name).is_some()
}

/// The comparisons by their names as tests.
fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "eq" | "equalto" | "==" => Comparison::Equal,
        "ne" | "!=" => Comparison::NotEqual,
        "lt" | "lessthan" | "<" => Comparison::Less,
        "le" | "<=" => Comparison::LessOrEqual,
        "gt" | "greaterthan" | ">" => Comparison::Greater,
        "ge" | ">=" => Comparison::GreaterOrEqual,
        "in" => Comparison::In,
        _ => return None,
    })
}

/// Whether a test holds for a value.
pub(super) fn holds(machine: &mut Machine, name: &str, value: &Value, args: Args) -> Result<bool> {
    if let Some(comparison) = comparison(name) {
        let [other] = args.bind(name, ["other"], 1)?;
        return operators::compare(comparison, value, &other.unwrap_or(Value::None), &mut machine.budget);
    }
    match name {
        "divisibleby" => {
            let [divisor] = args.bind(name, ["num"], 1)?;
            let (value, divisor) = (int(name, value)?, int(name, &divisor.unwrap_or(Value::None))?);
            return value.checked_rem(divisor).map(|rest| rest == 0).ok_or_else(|| Fault::failed("division by zero"));
        }
        "sameas" => {
            let [other] = args.bind(name, ["other"], 1)?;
            return is_same(value, &other.unwrap_or(Value::None), &mut machine.budget);
        }
        _ => args.none(name)?,
    }
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
        "string" => value.as_str().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => is_sequence(value),
        "iterable" => is_iterable(value),
        "callable" => is_callable(value),
        "escaped" => matches!(value, Value::Markup(_)),
        "even" | "odd" => int(name, value)?.rem_euclid(2) == i128::from(name == "odd"),
        "lower" | "upper" => {
            let written = text::string(value, &mut machine.budget)?;
            let method = if name == "lower" { "islower" } else { "isupper" };
            strings::call(value, &written, method, Args::default(), &mut machine.budget)?.truth()
        }
        "filter" => value.as_str().is_some_and(filters::exists),
        "test" => value.as_str().is_some_and(exists),
        _ => return Err(Fault::failed(format!("No test named '{}'.", short(name)))),
    })
}

/// Python's `is`, for what templates compare with it.
fn is_same(value: &Value, other: &Value, budget: &mut Budget) -> Result<bool> {
    Ok(match (value, other) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        _ => value.type_name() == other.type_name() && value.equals(other, budget)?,
    })
}

/// What has a length and items by key.
fn is_sequence(value: &Value) -> bool {
    match value {
        Value::Undefined(_) | Value::Str(_) | Value::Markup(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) => {
            true
        }
        Value::Object(object) => matches!(**object, Object::Range { .. } | Object::Bytes(_)),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            matches!(**object, Object::Range { .. } | Object::View(..) | Object::Generator { .. } | Object::Loop(_))
        }
        other => is_sequence(other),
    }
}

fn is_callable(value: &Value) -> bool {
    match value {
        Value::Undefined(_) => true,
        Value::Object(object) => matches!(
            **object,
            Object::Function(_) | Object::Method(..) | Object::Macro { .. } | Object::Loop(_) | Object::Joiner { .. }
        ),
        _ => false,
    }
}
