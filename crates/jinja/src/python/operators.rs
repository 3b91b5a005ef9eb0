//! Python's arithmetic operators.

use std::rc::Rc;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::format;
use crate::python::{sequences, text};
use crate::syntax::ast::Operator;
use crate::value::Value;
use crate::value::collections::Items;
use crate::value::marked::{Builder, Str};

/// The largest exponent of an integer power.
const MAX_EXPONENT: i128 = 128;

/// Evaluates `left operator right`.
pub(crate) fn binary(operator: Operator, left: &Value, right: &Value, budget: &mut Budget) -> Result<Value> {
    if let Value::Undefined(missing) = left {
        return Err(missing.error());
    }
    match operator {
        Operator::Remainder if left.as_str().is_some() => format::percent(left, right, budget),
        _ => {
            if let Value::Undefined(missing) = right {
                return Err(missing.error());
            }
            match operator {
                Operator::Add => add(left, right, budget),
                Operator::Multiply => multiply(left, right, budget),
                _ => arithmetic(operator, left, right),
            }
        }
    }
}

fn unsupported(symbol: &str, left: &Value, right: &Value) -> Error {
    let (left, right) = (left.type_name(), right.type_name());
    Error::failed(format!("unsupported operand type(s) for {symbol}: '{left}' and '{right}'"))
}

fn add(left: &Value, right: &Value, budget: &mut Budget) -> Result<Value> {
    let joined = |a: &Str, b: &Str, budget: &mut Budget| {
        let mut output = Builder::default();
        output.push(a, budget)?;
        output.push(b, budget)?;
        output.finish(budget)
    };
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => Ok(Value::Str(joined(a, b, budget)?)),
        // An escaped string escapes the string that is added to it.
        (Value::Markup(_), Value::Str(_))
        | (Value::Str(_), Value::Markup(_))
        | (Value::Markup(_), Value::Markup(_)) => {
            let (a, b) = (text::escaped(left, budget)?, text::escaped(right, budget)?);
            Ok(Value::Markup(joined(&a, &b, budget)?))
        }
        (Value::List(a), Value::List(b)) => {
            budget.make_items(a.len() + b.len())?;
            Ok(Value::List(Items::new([&a[..], b].concat())?))
        }
        (Value::Tuple(a), Value::Tuple(b)) => {
            budget.make_items(a.len() + b.len())?;
            Ok(Value::Tuple(Items::new([&a[..], b].concat())?))
        }
        _ if left.as_str().is_some() => {
            let name = right.type_name();
            Err(Error::failed(format!("can only concatenate str (not \"{name}\") to str")))
        }
        _ => arithmetic(Operator::Add, left, right),
    }
}

fn multiply(left: &Value, right: &Value, budget: &mut Budget) -> Result<Value> {
    let (sequence, times) = match (left.as_int(), right.as_int()) {
        (None, Some(times)) => (left, times),
        (Some(times), None) => (right, times),
        _ => return arithmetic(Operator::Multiply, left, right),
    };
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    let repeated = |items: &Rc<Items>, budget: &mut Budget| {
        budget.make_items(items.len().saturating_mul(times))?;
        Items::new(std::iter::repeat_n(&items[..], times).flatten().cloned().collect())
    };
    match sequence {
        Value::Str(text) | Value::Markup(text) => {
            let mut output = Builder::default();
            // Repeating an empty string would take time without counting bytes.
            output.repeat(text, if text.is_empty() { 0 } else { times }, budget)?;
            Ok(sequences::with_markup_of(sequence, output.finish(budget)?))
        }
        Value::List(items) => Ok(Value::List(repeated(items, budget)?)),
        Value::Tuple(items) => Ok(Value::Tuple(repeated(items, budget)?)),
        _ => arithmetic(Operator::Multiply, left, right),
    }
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    let overflow = || Error::failed(format!("the result of {} is too large", operator.symbol()));
    let zero = || Error::failed("division by zero");
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        let value = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::Divide | Operator::FloorDivide | Operator::Remainder if b == 0 => return Err(zero()),
            Operator::Divide => return Ok(Value::Float(a as f64 / b as f64)),
            Operator::FloorDivide => floor_divided(a, b).map(|(quotient, _)| quotient),
            Operator::Remainder => floor_divided(a, b).map(|(_, remainder)| remainder),
            Operator::Power if b < 0 => return power(a as f64, b as f64),
            Operator::Power if b > MAX_EXPONENT && !(-1..=1).contains(&a) => None,
            Operator::Power if b > MAX_EXPONENT => a.checked_pow(if b % 2 == 0 { 2 } else { 3 }),
            Operator::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        };
        return value.map(Value::Int).ok_or_else(overflow);
    }
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else {
        return Err(unsupported(operator.symbol(), left, right));
    };
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder);
    if divides && b == 0.0 {
        return Err(zero());
    }
    let value = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => (a / b).floor(),
        Operator::Remainder => {
            let remainder = a % b;
            if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }
        }
        Operator::Power => return power(a, b),
    };
    Ok(Value::Float(value))
}

fn power(base: f64, exponent: f64) -> Result<Value> {
    let value = base.powf(exponent);
    if value.is_nan() || (value.is_infinite() && base.is_finite()) {
        return Err(Error::failed("the result of ** is not a finite number"));
    }
    Ok(Value::Float(value))
}

/// Returns the quotient rounded down, and the remainder.
fn floor_divided(a: i128, b: i128) -> Option<(i128, i128)> {
    let (quotient, remainder) = (a.checked_div(b)?, a.checked_rem(b)?);
    let down = remainder != 0 && (remainder < 0) != (b < 0);
    Some(if down { (quotient - 1, remainder + b) } else { (quotient, remainder) })
}

/// Evaluates `-value` or `+value`.
pub(crate) fn signed(value: &Value, negative: bool) -> Result<Value> {
    let sign = if negative { -1 } else { 1 };
    match value {
        Value::Undefined(missing) => Err(missing.error()),
        Value::Float(value) => Ok(Value::Float(if negative { -value } else { *value })),
        other => match other.as_int().and_then(|value| value.checked_mul(sign)) {
            Some(value) => Ok(Value::Int(value)),
            None => Err(Error::failed(format!("bad operand type for a sign: '{}'", other.type_name()))),
        },
    }
}
