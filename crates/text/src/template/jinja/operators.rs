//! Operators, attributes and items, as Python has them.

use std::cmp::Ordering;
use std::rc::Rc;

use super::ast::{Comparison, Operator, Text};
use super::budget::Budget;
use super::collections::Items;
use super::fault::{Fault, Result, short};
use super::marked::{Builder, Str};
use super::value::{Missing, Object, Value};
use super::{format, methods, text};

/// Largest exponent of an integer power.
const MAX_EXPONENT: i128 = 128;

/// `left operator right`
pub(super) fn binary(operator: Operator, left: &Value, right: &Value, budget: &mut Budget) -> Result<Value> {
    if let Value::Undefined(missing) = left {
        return Err(missing.fault());
    }
    match operator {
        Operator::Remainder if left.as_str().is_some() => format::percent(left, right, budget),
        _ => {
            if let Value::Undefined(missing) = right {
                return Err(missing.fault());
            }
            match operator {
                Operator::Add => add(left, right, budget),
                Operator::Multiply => multiply(left, right, budget),
                _ => arithmetic(operator, left, right),
            }
        }
    }
}

fn unsupported(symbol: &str, left: &Value, right: &Value) -> Fault {
    let (left, right) = (left.type_name(), right.type_name());
    Fault::failed(format!("unsupported operand type(s) for {symbol}: '{left}' and '{right}'"))
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
        // What is escaped already escapes what it meets.
        (Value::Markup(_), Value::Str(_))
        | (Value::Str(_), Value::Markup(_))
        | (Value::Markup(_), Value::Markup(_)) => {
            let (a, b) = (escaped(left, budget)?, escaped(right, budget)?);
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
            Err(Fault::failed(format!("can only concatenate str (not \"{name}\") to str")))
        }
        _ => arithmetic(Operator::Add, left, right),
    }
}

/// The text of a value with HTML's characters escaped, unless it is already.
pub(super) fn escaped(value: &Value, budget: &mut Budget) -> Result<Str> {
    let text = text::string(value, budget)?;
    if matches!(value, Value::Markup(_)) {
        return Ok(text);
    }
    let mut output = Builder::default();
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' => "&#39;",
            '"' => "&#34;",
            _ => continue,
        };
        output.part(&text, copied..at, budget)?;
        budget.touch(escape.len())?;
        let outside = text.is_outside_at(at);
        escape.chars().for_each(|c| output.char(c, outside));
        copied = at + c.len_utf8();
    }
    output.part(&text, copied..text.len(), budget)?;
    output.finish(budget)
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
            // Nothing is repeated at no cost.
            output.repeat(text, if text.is_empty() { 0 } else { times }, budget)?;
            Ok(alike(sequence, output.finish(budget)?))
        }
        Value::List(items) => Ok(Value::List(repeated(items, budget)?)),
        Value::Tuple(items) => Ok(Value::Tuple(repeated(items, budget)?)),
        _ => arithmetic(Operator::Multiply, left, right),
    }
}

/// A string that is as escaped as another.
pub(super) fn alike(model: &Value, text: Str) -> Value {
    if matches!(model, Value::Markup(_)) { Value::Markup(text) } else { Value::Str(text) }
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    let overflow = || Fault::failed(format!("the result of {} is too large", operator.symbol()));
    let zero = || Fault::failed("division by zero");
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
        return Err(Fault::failed("the result of ** is no number"));
    }
    Ok(Value::Float(value))
}

/// Quotient and remainder, rounded down.
fn floor_divided(a: i128, b: i128) -> Option<(i128, i128)> {
    let (quotient, remainder) = (a.checked_div(b)?, a.checked_rem(b)?);
    let down = remainder != 0 && (remainder < 0) != (b < 0);
    Some(if down { (quotient - 1, remainder + b) } else { (quotient, remainder) })
}

/// `-value` or `+value`
pub(super) fn signed(value: &Value, negative: bool) -> Result<Value> {
    let sign = if negative { -1 } else { 1 };
    match value {
        Value::Undefined(missing) => Err(missing.fault()),
        Value::Float(value) => Ok(Value::Float(if negative { -value } else { *value })),
        other => match other.as_int().and_then(|value| value.checked_mul(sign)) {
            Some(value) => Ok(Value::Int(value)),
            None => Err(Fault::failed(format!("bad operand type for a sign: '{}'", other.type_name()))),
        },
    }
}

/// `left comparison right`
pub(super) fn compare(comparison: Comparison, left: &Value, right: &Value, budget: &mut Budget) -> Result<bool> {
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

/// How two values are ordered; nothing where one is not a number.
pub(super) fn order(left: &Value, right: &Value, symbol: &str, budget: &mut Budget) -> Result<Option<Ordering>> {
    match (left, right) {
        (Value::Undefined(missing), _) | (_, Value::Undefined(missing)) => Err(missing.fault()),
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
                    Err(Fault::failed(message))
                }
            },
        },
    }
}

/// `item in container`
pub(super) fn contains(container: &Value, item: &Value, budget: &mut Budget) -> Result<bool> {
    match container {
        Value::Str(text) | Value::Markup(text) => match item {
            Value::Str(part) | Value::Markup(part) => {
                budget.touch(text.len().saturating_add(part.len()))?;
                Ok(text.contains(&**part))
            }
            Value::Undefined(missing) => Err(missing.fault()),
            other => {
                let name = other.type_name();
                Err(Fault::failed(format!("'in <string>' requires string as left operand, not {name}")))
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

/// The items that iterating over a value gives.
pub(super) fn items(value: &Value, budget: &mut Budget) -> Result<Rc<Items>> {
    if let Some(dict) = value.as_dict() {
        budget.make_items(dict.len())?;
        return Items::new(dict.iter().map(|(key, _)| key.clone()).collect());
    }
    let values = match value {
        Value::List(items) | Value::Tuple(items) => return Ok(Rc::clone(items)),
        Value::Undefined(_) => Vec::new(),
        Value::Str(text) | Value::Markup(text) => {
            budget.make_items(text.len().saturating_mul(2))?;
            text.marked_chars()
                .map(|(c, outside)| alike(value, Str::marked(c.encode_utf8(&mut [0; 4]) as &str, outside)))
                .collect()
        }
        Value::Object(object) => match &**object {
            Object::View(view, dict) => methods::view_items(*view, dict, budget)?,
            Object::Range { start, step, len } => {
                budget.make_items(*len)?;
                (0..*len).map(|at| Value::Int(start + step * at as i128)).collect()
            }
            Object::Generator { rest, .. } => {
                budget.make_items(rest.borrow().len())?;
                rest.take().into()
            }
            Object::Bytes(bytes) => {
                budget.make_items(bytes.len())?;
                bytes.iter().map(|byte| Value::Int((*byte).into())).collect()
            }
            Object::Loop(state) => return Ok(Rc::clone(&state.items)),
            _ => return Err(not_iterable(value)),
        },
        _ => return Err(not_iterable(value)),
    };
    Items::new(values)
}

fn not_iterable(value: &Value) -> Fault {
    Fault::failed(format!("'{}' object is not iterable", value.type_name()))
}

/// Python's index of a sequence of `len`: from the end where negative.
fn index(len: usize, at: i128) -> Option<usize> {
    let len = i128::try_from(len).ok()?;
    let at = if at < 0 { at + len } else { at };
    (0..len).contains(&at).then_some(at as usize)
}

/// How Jinja2 names a value that lacks something.
fn owner(value: &Value) -> &'static str {
    match value {
        Value::None => "None",
        Value::Dict(_) => "dict object",
        Value::List(_) => "list object",
        Value::Tuple(_) => "tuple object",
        Value::Str(_) | Value::Markup(_) => "str object",
        Value::Int(_) => "int object",
        Value::Float(_) => "float object",
        Value::Bool(_) => "bool object",
        other => other.type_name(),
    }
}

/// `value.name`: a method or attribute, else an item.
pub(super) fn attribute(value: &Value, name: &Text, budget: &mut Budget) -> Result<Value> {
    if let Value::Undefined(missing) = value {
        return Err(missing.fault());
    }
    if let Some(found) = methods::attribute(value, name, budget)? {
        return Ok(found);
    }
    if let Some(dict) = value.as_dict()
        && let Some(found) = dict.get_str(name, budget)?
    {
        return Ok(found.clone());
    }
    if name.starts_with("__") {
        return Err(Fault::failed(format!(
            "access to attribute '{}' of '{}' is refused",
            short(name),
            value.type_name()
        )));
    }
    Ok(Value::Undefined(Missing::Attribute(owner(value), name.clone())))
}

/// `value[key]`: an item, else an attribute.
pub(super) fn item(value: &Value, key: &Value, budget: &mut Budget) -> Result<Value> {
    let found = match value {
        Value::Undefined(missing) => return Err(missing.fault()),
        Value::Dict(dict) => dict.get(key, budget)?.cloned(),
        Value::List(items) | Value::Tuple(items) => {
            key.as_int().and_then(|at| index(items.len(), at)).and_then(|at| items.get(at)).cloned()
        }
        Value::Str(text) | Value::Markup(text) => match (key.as_int(), text.as_arguments()) {
            (Some(at), _) => character(text, at, budget)?.map(|c| alike(value, c)),
            (None, Some(object)) => object.get(key, budget)?.cloned(),
            (None, None) => None,
        },
        Value::Object(object) => match &**object {
            Object::Range { start, step, len } => {
                key.as_int().and_then(|at| index(*len, at)).map(|at| Value::Int(start + step * at as i128))
            }
            Object::Bytes(bytes) => {
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
        (None, _) => Ok(Value::Undefined(Missing::Item(owner(value), text::shown(key).into()))),
    }
}

/// The character at an index, from the end where it is negative.
fn character(text: &Str, at: i128, budget: &mut Budget) -> Result<Option<Str>> {
    let steps = if at < 0 { -(at + 1) } else { at };
    let Some(steps) = usize::try_from(steps).ok().filter(|steps| *steps < text.len()) else { return Ok(None) };
    budget.touch(steps.saturating_mul(4).min(text.len()))?;
    let found = if at < 0 { text.char_indices().rev().nth(steps) } else { text.char_indices().nth(steps) };
    found.map(|(at, c)| text.part(at..at + c.len_utf8(), budget)).transpose()
}

/// `value[start:stop:step]`
pub(super) fn slice(value: &Value, bounds: [Option<Value>; 3], budget: &mut Budget) -> Result<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(&bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(bound) => match bound.as_int() {
                Some(value) => Some(value),
                None => return Err(Fault::failed("slice indices must be integers or None")),
            },
        };
    }
    let [start, stop, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Fault::failed("slice step cannot be zero"));
    }
    match value {
        Value::Undefined(missing) => Err(missing.fault()),
        Value::Str(text) | Value::Markup(text) => Ok(alike(value, part_of(text, start, stop, step, budget)?)),
        Value::List(items) => {
            budget.make_items(items.len())?;
            budget.list(part(items, start, stop, step))
        }
        Value::Tuple(items) => {
            budget.make_items(items.len())?;
            budget.tuple(part(items, start, stop, step))
        }
        Value::Object(object) if matches!(**object, Object::Range { .. }) => {
            let items = items(value, budget)?;
            budget.list(part(&items, start, stop, step))
        }
        // Jinja2 takes a subscript that fails for an item that is not there.
        other => Ok(Value::Undefined(Missing::Item(owner(other), "of a slice".into()))),
    }
}

/// A slice of a string, by characters.
fn part_of(text: &Str, start: Option<i128>, stop: Option<i128>, step: i128, budget: &mut Budget) -> Result<Str> {
    if step == 1 {
        budget.touch(text.len().saturating_mul(2))?;
        let len = text.chars().count();
        let mut within = indices(len, start, stop, 1);
        let Some(first) = within.next() else { return text.part(0..0, budget) };
        let count = within.count() + 1;
        let byte = |text: &str, at: usize| text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
        let from = byte(text, first);
        let to = from + byte(text.get(from..).unwrap_or_default(), count);
        return text.part(from..to, budget);
    }
    budget.touch(text.len().saturating_mul(16))?;
    let chars: Vec<(char, bool)> = text.marked_chars().collect();
    let mut output = Builder::default();
    for (c, outside) in indices(chars.len(), start, stop, step).filter_map(|at| chars.get(at)) {
        output.char(*c, *outside);
    }
    output.finish(budget)
}

fn part(items: &[Value], start: Option<i128>, stop: Option<i128>, step: i128) -> Vec<Value> {
    indices(items.len(), start, stop, step).filter_map(|at| items.get(at)).cloned().collect()
}

/// Python's `range(*slice(start, stop, step).indices(len))`.
fn indices(len: usize, start: Option<i128>, stop: Option<i128>, step: i128) -> impl Iterator<Item = usize> {
    let len = len as i128;
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamped = |bound: i128| if bound < 0 { bound.saturating_add(len).max(low) } else { bound.min(high) };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (start, stop) = (start.map_or(first, clamped), stop.map_or(last, clamped));
    let mut at = Some(start);
    std::iter::from_fn(move || {
        let current = at.filter(|at| if step > 0 { *at < stop } else { *at > stop })?;
        at = current.checked_add(step);
        usize::try_from(current).ok()
    })
}
