//! Jinja2's tests, the names after `is`.

use std::rc::Rc;

use crate::budget::Budget;
use crate::error::{Error, Result, short};
use crate::python::arguments::{Args, int};
use crate::python::{compare, strings, text};
use crate::run::machine::Machine;
use crate::run::names;
use crate::value::{ObjectKind, Value};

/// Evaluates a test.
pub(crate) fn holds(machine: &mut Machine, name: &str, value: &Value, args: Args) -> Result<bool> {
    if let Some(comparison) = names::comparison(name) {
        let [other] = args.bind(name, ["other"], 1)?;
        return compare::compare(comparison, value, &other.unwrap_or(Value::None), &mut machine.budget);
    }
    match name {
        "divisibleby" => {
            let [divisor] = args.bind(name, ["num"], 1)?;
            let (value, divisor) = (int(name, value)?, int(name, &divisor.unwrap_or(Value::None))?);
            return value.checked_rem(divisor).map(|rest| rest == 0).ok_or_else(|| Error::failed("division by zero"));
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
        "filter" => value.as_str().is_some_and(names::is_filter),
        "test" => value.as_str().is_some_and(names::is_test),
        _ => return Err(Error::failed(format!("No test named '{}'.", short(name)))),
    })
}

/// Python's `is`. Immutable values of one type are the same if they are equal.
fn is_same(value: &Value, other: &Value, budget: &mut Budget) -> Result<bool> {
    Ok(match (value, other) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => a.is(b),
        _ => value.type_name() == other.type_name() && value.equals(other, budget)?,
    })
}

/// Returns `true` if the value has a length and integer indices or keys.
fn is_sequence(value: &Value) -> bool {
    match value {
        Value::Undefined(_) | Value::Str(_) | Value::Markup(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) => {
            true
        }
        Value::Object(object) => matches!(object.kind(), ObjectKind::Range { .. } | ObjectKind::Bytes(_)),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            matches!(
                object.kind(),
                ObjectKind::Range { .. } | ObjectKind::View(..) | ObjectKind::Generator { .. } | ObjectKind::Loop(_)
            )
        }
        other => is_sequence(other),
    }
}

fn is_callable(value: &Value) -> bool {
    match value {
        Value::Undefined(_) => true,
        Value::Object(object) => matches!(
            object.kind(),
            ObjectKind::Function(_)
                | ObjectKind::Method(..)
                | ObjectKind::Macro { .. }
                | ObjectKind::Loop(_)
                | ObjectKind::Joiner { .. }
        ),
        _ => false,
    }
}
