//! Comparisons of values.

use std::cmp::Ordering;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::sequences::items;
use crate::syntax::ast::Comparison;
use crate::value::Value;

/// Evaluates `left comparison right`.
pub(crate) fn compare(comparison: Comparison, left: &Value, right: &Value, budget: &mut Budget) -> Result<bool> {
    let mut ordered =
        |symbol, accepts: fn(Ordering) -> bool| Ok(order(left, right, symbol, budget)?.is_some_and(accepts));
    match comparison {
        Comparison::Less => ordered("<", Ordering::is_lt),
        Comparison::LessOrEqual => ordered("<=", Ordering::is_le),
        Comparison::Greater => ordered(">", Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(">=", Ordering::is_ge),
        Comparison::Equal => left.equals(right, budget),
        Comparison::NotEqual => Ok(!left.equals(right, budget)?),
        Comparison::In => contains(right, left, budget),
        Comparison::NotIn => Ok(!contains(right, left, budget)?),
    }
}

/// Compares two values. Returns `None` if one of them is NaN.
pub(crate) fn order(left: &Value, right: &Value, symbol: &str, budget: &mut Budget) -> Result<Option<Ordering>> {
    match (left, right) {
        (Value::Undefined(missing), _) | (_, Value::Undefined(missing)) => Err(missing.error()),
        (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => {
            budget.touch(a.len().min(b.len()).saturating_mul(2))?;
            Ok(Some(a.text().cmp(b.text())))
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (a, b) in a.iter().zip(b.iter()) {
                budget.step()?;
                if !a.equals(b, budget)? {
                    return order(a, b, symbol, budget);
                }
            }
            Ok(Some(a.len().cmp(&b.len())))
        }
        _ => match (left.as_int(), right.as_int()) {
            (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
            _ => match (left.as_float(), right.as_float()) {
                (Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
                _ => {
                    let (left, right) = (left.type_name(), right.type_name());
                    let message = format!("'{symbol}' not supported between instances of '{left}' and '{right}'");
                    Err(Error::failed(message))
                }
            },
        },
    }
}

/// Evaluates `item in container`.
pub(crate) fn contains(container: &Value, item: &Value, budget: &mut Budget) -> Result<bool> {
    match container {
        Value::Str(text) | Value::Markup(text) => match item {
            Value::Str(part) | Value::Markup(part) => {
                budget.touch(text.len().saturating_add(part.len()))?;
                Ok(text.contains(&**part))
            }
            Value::Undefined(missing) => Err(missing.error()),
            other => {
                let name = other.type_name();
                Err(Error::failed(format!("'in <string>' requires string as left operand, not {name}")))
            }
        },
        Value::Dict(dict) => Ok(dict.get(item, budget)?.is_some()),
        _ => {
            for other in items(container, budget)?.iter() {
                budget.step()?;
                if other.equals(item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}
