//! Iteration, indices and slices of sequences.

use std::rc::Rc;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::value::collections::{Dict, Items};
use crate::value::marked::{Builder, Str};
use crate::value::{Missing, ObjectKind, Value, View};

/// Makes a string that counts as escaped if `model` does.
pub(crate) fn with_markup_of(model: &Value, text: Str) -> Value {
    if matches!(model, Value::Markup(_)) { Value::Markup(text) } else { Value::Str(text) }
}

/// Returns the items that iterating over a value yields.
pub(crate) fn items(value: &Value, budget: &mut Budget) -> Result<Rc<Items>> {
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
                .map(|(c, outside)| with_markup_of(value, Str::marked(c.encode_utf8(&mut [0; 4]) as &str, outside)))
                .collect()
        }
        Value::Object(object) => match object.kind() {
            ObjectKind::View(view, dict) => view_items(*view, dict, budget)?,
            ObjectKind::Range { start, step, len } => {
                budget.make_items(*len)?;
                (0..*len).map(|at| Value::Int(start + step * at as i128)).collect()
            }
            ObjectKind::Generator { rest, .. } => {
                budget.make_items(rest.borrow().len())?;
                rest.take().into()
            }
            ObjectKind::Bytes(bytes) => {
                budget.make_items(bytes.len())?;
                bytes.iter().map(|byte| Value::Int((*byte).into())).collect()
            }
            ObjectKind::Loop(state) => return Ok(Rc::clone(&state.items)),
            _ => return Err(not_iterable(value)),
        },
        _ => return Err(not_iterable(value)),
    };
    Items::new(values)
}

fn not_iterable(value: &Value) -> Error {
    Error::failed(format!("'{}' object is not iterable", value.type_name()))
}

/// Returns the items of a view of a dictionary.
pub(crate) fn view_items(view: View, dict: &Dict, budget: &mut Budget) -> Result<Vec<Value>> {
    budget.make_items(dict.len())?;
    dict.iter()
        .map(|(key, value)| match view {
            View::Keys => Ok(key.clone()),
            View::Values => Ok(value.clone()),
            View::Items => budget.tuple(vec![key.clone(), value.clone()]),
        })
        .collect()
}

/// Resolves an index into a sequence of `len` items. Negative indices count from the end.
pub(crate) fn index(len: usize, at: i128) -> Option<usize> {
    let len = i128::try_from(len).ok()?;
    let at = if at < 0 { at + len } else { at };
    (0..len).contains(&at).then_some(at as usize)
}

/// Returns the character at an index. Negative indices count from the end.
pub(crate) fn character(text: &Str, at: i128, budget: &mut Budget) -> Result<Option<Str>> {
    let steps = if at < 0 { -(at + 1) } else { at };
    let Some(steps) = usize::try_from(steps).ok().filter(|steps| *steps < text.len()) else { return Ok(None) };
    budget.touch(steps.saturating_mul(4).min(text.len()))?;
    let found = if at < 0 { text.char_indices().rev().nth(steps) } else { text.char_indices().nth(steps) };
    found.map(|(at, c)| text.part(at..at + c.len_utf8(), budget)).transpose()
}

/// Returns Jinja2's name of a value that lacks an attribute or item.
pub(crate) fn owner(value: &Value) -> &'static str {
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

/// Evaluates `value[start:stop:step]`.
pub(crate) fn slice(value: &Value, bounds: [Option<Value>; 3], budget: &mut Budget) -> Result<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(&bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(bound) => match bound.as_int() {
                Some(value) => Some(value),
                None => return Err(Error::failed("slice indices must be integers or None")),
            },
        };
    }
    let [start, stop, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::failed("slice step cannot be zero"));
    }
    match value {
        Value::Undefined(missing) => Err(missing.error()),
        Value::Str(text) | Value::Markup(text) => Ok(with_markup_of(value, part_of(text, start, stop, step, budget)?)),
        Value::List(items) => {
            budget.make_items(items.len())?;
            budget.list(part(items, start, stop, step))
        }
        Value::Tuple(items) => {
            budget.make_items(items.len())?;
            budget.tuple(part(items, start, stop, step))
        }
        Value::Object(object) if matches!(object.kind(), ObjectKind::Range { .. }) => {
            let items = items(value, budget)?;
            budget.list(part(&items, start, stop, step))
        }
        // In Jinja2, a subscript that fails is undefined.
        other => Ok(Value::Undefined(Missing::Item(owner(other), "of a slice".into()))),
    }
}

/// Slices a string by characters.
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
