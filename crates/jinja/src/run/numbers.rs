//! Filters of numbers.

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::{Args, int};
use crate::value::Value;

pub(crate) fn apply(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    // A float's text has at most this many bytes.
    budget.touch(1024)?;
    if let Value::Undefined(missing) = value {
        return Err(missing.error());
    }
    match name {
        "abs" => {
            args.none(name)?;
            match (value, value.as_int()) {
                (Value::Float(value), _) => Ok(Value::Float(value.abs())),
                (_, Some(value)) if value.checked_abs().is_some() => Ok(Value::Int(value.abs())),
                _ => Err(Error::failed(format!("bad operand type for abs(): '{}'", value.type_name()))),
            }
        }
        "int" => {
            let [default, base] = args.bind(name, ["default", "base"], 0)?;
            let base = base.map_or(Ok(10), |base| int(name, &base))?;
            let parsed = match (value.as_str(), value) {
                (Some(text), _) => match parse_int(text, base, budget)? {
                    Some(parsed) => Some(parsed),
                    None => parse_float(text, budget)?.and_then(truncated),
                },
                (None, Value::Float(value)) => truncated(*value),
                _ => value.as_int(),
            };
            Ok(parsed.map(Value::Int).or(default).unwrap_or(Value::Int(0)))
        }
        "float" => {
            let [default] = args.bind(name, ["default"], 0)?;
            let parsed = match value.as_str() {
                Some(text) => parse_float(text, budget)?,
                None => value.as_float(),
            };
            Ok(parsed.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
        }
        _ => round(value, args),
    }
}

fn truncated(value: f64) -> Option<i128> {
    (value.is_finite() && value.abs() < 1e38).then_some(value as i128)
}

/// Python's `int(text, base)`.
fn parse_int(text: &str, base: i128, budget: &mut Budget) -> Result<Option<i128>> {
    budget.touch(text.len().saturating_mul(4))?;
    let text = text.trim().replace('_', "").to_lowercase();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (prefix, radix) = match base {
        16 => ("0x", 16),
        8 => ("0o", 8),
        2 => ("0b", 2),
        other => match u32::try_from(other) {
            Ok(radix @ 2..=36) => ("", radix),
            _ => return Ok(None),
        },
    };
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    if digits.starts_with(['+', '-']) {
        return Ok(None);
    }
    Ok(i128::from_str_radix(digits, radix).ok().map(|value| sign * value))
}

/// Python's `float(text)`.
pub(crate) fn parse_float(text: &str, budget: &mut Budget) -> Result<Option<f64>> {
    budget.touch(text.len().saturating_mul(3))?;
    Ok(text.trim().replace('_', "").parse().ok())
}

fn round(value: &Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let precision = precision.map_or(Ok(0), |precision| int("round", &precision))?.clamp(-300, 300) as i32;
    let method = method.unwrap_or_else(|| Value::str("common"));
    let number = value.as_float();
    let number = number.ok_or_else(|| Error::failed(format!("type {} cannot be rounded", value.type_name())))?;
    let factor = 10f64.powi(precision);
    match method.as_str() {
        Some("common") => Ok(match (value.as_int(), usize::try_from(precision)) {
            (Some(value), Ok(_)) => Value::Int(value),
            // Formatting a float to decimal digits is exact, so this rounds as Python does.
            (None, Ok(digits)) => Value::Float(format!("{number:.digits$}").parse().unwrap_or(number)),
            (None, Err(_)) => Value::Float((number * factor).round_ties_even() / factor),
            (Some(_), Err(_)) => Value::Int(((number * factor).round_ties_even() / factor) as i128),
        }),
        Some("ceil") => Ok(Value::Float((number * factor).ceil() / factor)),
        Some("floor") => Ok(Value::Float((number * factor).floor() / factor)),
        _ => Err(Error::failed("method must be common, ceil or floor")),
    }
}
