//! Jinja2's filters (`jinja2/filters.py`).

use super::arguments::{Args, int, size, text as text_of};
use super::ast::Text;
use super::budget::Budget;
use super::collections::Items;
use super::evaluate::Machine;
use super::fault::{Fault, Result, short};
use super::marked::{Builder, Str};
use super::operators::{self, alike};
use super::strings::Case;
use super::value::{Missing, Value};
use super::{format, html, json, methods, selection, strings, text};

const NAMES: [&str; 50] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "format",
    "forceescape",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "xmlattr",
];

/// Whether there is a filter of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Applies a filter.
pub(super) fn apply(machine: &mut Machine, name: &str, value: Value, args: Args) -> Result<Value> {
    let budget = &mut machine.budget;
    match name {
        "map" | "select" | "reject" | "selectattr" | "rejectattr" | "sort" | "unique" | "groupby" | "max" | "min"
        | "sum" | "dictsort" => selection::apply(machine, name, &value, args),
        "tojson" => json::tojson(&value, args, budget),
        "default" | "d" => default(value, args),
        "attr" => {
            let [name] = args.bind("attr", ["name"], 1)?;
            let name: Text = text_of("attr", &name.unwrap_or(Value::None))?.text().clone();
            let found = methods::attribute(&value, &name, budget)?;
            Ok(found.unwrap_or_else(|| Value::Undefined(Missing::Attribute(value.type_name(), name))))
        }
        "length" | "count" => {
            args.none(name)?;
            let len = value.len(budget)?.map(|len| Value::Int(len as i128));
            len.ok_or_else(|| Fault::failed(format!("object of type '{}' has no len()", value.type_name())))
        }
        "list" | "first" | "last" | "reverse" | "batch" | "slice" | "join" | "items" => {
            sequence(name, &value, args, budget)
        }
        "abs" | "int" | "float" | "round" => number(name, &value, args, budget),
        "filesizeformat" | "striptags" | "urlencode" | "xmlattr" => html::apply(name, &value, args, budget),
        _ => string(name, &value, args, budget),
    }
}

fn default(value: Value, args: Args) -> Result<Value> {
    let [default, boolean] = args.bind("default", ["default_value", "boolean"], 0)?;
    let replaces =
        matches!(value, Value::Undefined(_)) || (boolean.is_some_and(|boolean| boolean.truth()) && !value.truth());
    Ok(if replaces { default.unwrap_or_else(|| Value::str("")) } else { value })
}

fn sequence(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    match name {
        "items" => {
            args.none(name)?;
            return match (value, value.as_dict()) {
                (Value::Undefined(_), _) => budget.generator(Vec::new()),
                (_, Some(dict)) => {
                    let pairs = methods::view_items(super::value::View::Items, dict, budget)?;
                    budget.generator(pairs)
                }
                _ => Err(Fault::failed("Can only get item pairs from a mapping.")),
            };
        }
        "join" => return join(value, args, budget),
        "batch" | "slice" => return chunks(name, value, args, budget),
        _ => args.none(name)?,
    }
    if name == "reverse" && value.as_str().is_some() {
        return operators::slice(value, [None, None, Some(Value::Int(-1))], budget);
    }
    if matches!(name, "first" | "last")
        && value.as_str().is_some_and(|text| !text.is_empty())
        && value.as_dict().is_none()
    {
        return operators::item(value, &Value::Int(if name == "first" { 0 } else { -1 }), budget);
    }
    let items = operators::items(value, budget)?;
    let empty = || Value::Undefined(Missing::Other(format!("there is no {name} item, the sequence is empty").into()));
    match name {
        "first" => Ok(items.first().cloned().unwrap_or_else(empty)),
        "last" => Ok(items.last().cloned().unwrap_or_else(empty)),
        "reverse" => {
            budget.make_items(items.len())?;
            budget.generator(items.iter().rev().cloned().collect())
        }
        _ => match value {
            Value::List(_) => Ok(value.clone()),
            _ => {
                budget.make_items(items.len())?;
                Ok(Value::List(items))
            }
        },
    }
}

fn join(value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let separator = separator.map_or_else(|| Ok(Str::own("")), |separator| text::string(&separator, budget))?;
    let attribute = attribute.filter(|attribute| !matches!(attribute, Value::None));
    let attribute = attribute.map(|path| selection::Path::new(&path, budget)).transpose()?;
    let items = operators::items(value, budget)?;
    let mut output = Builder::default();
    for (index, item) in items.iter().enumerate() {
        budget.step()?;
        if index > 0 {
            output.push(&separator, budget)?;
        }
        match &attribute {
            Some(path) => text::write_string(&path.of(item, None, budget)?, &mut output, budget)?,
            None => text::write_string(item, &mut output, budget)?,
        }
    }
    Ok(Value::Str(output.finish(budget)?))
}

/// `batch` gives lists of a length, `slice` a number of lists.
fn chunks(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let [count, fill] = args.bind(name, ["count", "fill_with"], 1)?;
    let count = size(name, &count.unwrap_or(Value::None))?;
    if count == 0 {
        return Err(Fault::failed(format!("{name} needs a count above 0")));
    }
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let items = operators::items(value, budget)?;
    budget.make_items(items.len().saturating_add(count))?;
    let mut lists = Vec::new();
    if name == "batch" {
        for chunk in items.chunks(count) {
            let mut chunk = chunk.to_vec();
            if let Some(fill) = &fill {
                chunk.resize(count.max(chunk.len()), fill.clone());
            }
            lists.push(budget.list(chunk)?);
        }
    } else {
        let (whole, more) = (items.len() / count, items.len() % count);
        let mut rest = &items[..];
        for at in 0..count {
            let (chunk, after) = rest.split_at(whole + usize::from(at < more));
            rest = after;
            let mut chunk = chunk.to_vec();
            chunk.extend(fill.clone().filter(|_| at >= more && more > 0));
            lists.push(budget.list(chunk)?);
        }
    }
    budget.generator(lists)
}

fn number(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    // The longest text of a float.
    budget.touch(1024)?;
    if let Value::Undefined(missing) = value {
        return Err(missing.fault());
    }
    match name {
        "abs" => {
            args.none(name)?;
            match (value, value.as_int()) {
                (Value::Float(value), _) => Ok(Value::Float(value.abs())),
                (_, Some(value)) if value.checked_abs().is_some() => Ok(Value::Int(value.abs())),
                _ => Err(Fault::failed(format!("bad operand type for abs(): '{}'", value.type_name()))),
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
pub(super) fn parse_float(text: &str, budget: &mut Budget) -> Result<Option<f64>> {
    budget.touch(text.len().saturating_mul(3))?;
    Ok(text.trim().replace('_', "").parse().ok())
}

fn round(value: &Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let precision = precision.map_or(Ok(0), |precision| int("round", &precision))?.clamp(-300, 300) as i32;
    let method = method.unwrap_or_else(|| Value::str("common"));
    let number = value.as_float();
    let number = number.ok_or_else(|| Fault::failed(format!("type {} cannot be rounded", value.type_name())))?;
    let factor = 10f64.powi(precision);
    match method.as_str() {
        Some("common") => Ok(match (value.as_int(), usize::try_from(precision)) {
            (Some(value), Ok(_)) => Value::Int(value),
            // The decimal digits of a float are exact, so this rounds as Python does.
            (None, Ok(digits)) => Value::Float(format!("{number:.digits$}").parse().unwrap_or(number)),
            (None, Err(_)) => Value::Float((number * factor).round_ties_even() / factor),
            (Some(_), Err(_)) => Value::Int(((number * factor).round_ties_even() / factor) as i128),
        }),
        Some("ceil") => Ok(Value::Float((number * factor).ceil() / factor)),
        Some("floor") => Ok(Value::Float((number * factor).floor() / factor)),
        _ => Err(Fault::failed("method must be common, ceil or floor")),
    }
}

/// Filters of text. A value that is no string is made one first.
fn string(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let own_text = &text::string(value, budget)?;
    let own = alike(value, own_text.clone());
    match name {
        "lower" | "upper" | "capitalize" => strings::call(&own, own_text, name, args, budget),
        "center" => {
            let [width] = args.bind(name, ["width"], 0)?;
            let args = Args { positional: vec![width.unwrap_or(Value::Int(80))], keyword: Vec::new() };
            strings::call(&own, own_text, name, args, budget)
        }
        "trim" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            Ok(alike(&own, strings::stripped(own_text, chars.as_ref(), true, true, budget)?))
        }
        "string" => args.none(name).map(|()| own.clone()),
        "safe" => args.none(name).map(|()| Value::Markup(own_text.clone())),
        "escape" | "e" => {
            args.none(name)?;
            Ok(Value::Markup(operators::escaped(&own, budget)?))
        }
        "forceescape" => {
            args.none(name)?;
            Ok(Value::Markup(operators::escaped(&Value::Str(own_text.clone()), budget)?))
        }
        "title" => {
            args.none(name)?;
            Ok(Value::Str(titled(own_text, budget)?))
        }
        "wordcount" => {
            args.none(name)?;
            budget.touch(own_text.len())?;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let words = own_text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count();
            Ok(Value::Int(words as i128))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
            let count = match count {
                None | Some(Value::None) => -1,
                Some(count) => int(name, &count)?,
            };
            let old = text::string(&old.unwrap_or(Value::None), budget)?;
            let new = text::string(&new.unwrap_or(Value::None), budget)?;
            Ok(Value::Str(strings::replaced(own_text, &old, &new, count, budget)?))
        }
        "format" => {
            if !args.keyword.is_empty() && !args.positional.is_empty() {
                return Err(Fault::failed("can't handle positional and keyword arguments at the same time"));
            }
            let values = if args.keyword.is_empty() {
                Value::Tuple(Items::new(args.positional)?)
            } else {
                budget.dict(args.keyword.into_iter().map(|(name, value)| (Value::Str(name), value)))?
            };
            format::percent(&own, &values, budget)
        }
        "indent" => indent(value, args, budget),
        "truncate" => truncate(&own, own_text, args, budget),
        _ => Err(Fault::failed(format!("No filter named '{}'.", short(name)))),
    }
}

/// A capital behind white space, hyphens and opening brackets.
fn titled(own: &Str, budget: &mut Budget) -> Result<Str> {
    budget.touch(own.len().saturating_mul(16))?;
    let mut inside = false;
    let case = |c: char| {
        let case = if inside { Case::Lower } else { Case::Upper };
        inside = !(c.is_whitespace() || "-({[<".contains(c));
        case
    };
    strings::with_cases(own, case, budget)
}

fn indent(value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let truth = |value: Option<Value>| value.is_some_and(|value| value.truth());
    let (first, blank) = (truth(first), truth(blank));
    let own = text_of("indent", value)?;
    let space = match width {
        None => Str::own("    "),
        Some(width) => match width.as_text() {
            Some(text) => text.clone(),
            None => {
                let mut space = Builder::default();
                space.repeat(&Str::own(" "), size("indent", &width)?, budget)?;
                space.finish(budget)?
            }
        },
    };
    budget.touch(own.len().saturating_mul(2))?;
    // A text that ends with a newline has an empty line behind it.
    let ended = format!("{}\n", &**own);
    let mut output = Builder::default();
    if first {
        output.push(&space, budget)?;
    }
    let mut at = 0;
    strings::lines(&ended, |line, whole| {
        budget.step()?;
        if at > 0 {
            output.own("\n", budget)?;
            if blank || !line.is_empty() {
                output.push(&space, budget)?;
            }
        }
        output.part(own, at..at + line.len(), budget)?;
        at += whole.len();
        Ok(())
    })?;
    Ok(alike(value, output.finish(budget)?))
}

fn truncate(own: &Value, text: &Str, args: Args, budget: &mut Budget) -> Result<Value> {
    let [length, kill_words, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let number = |value: Option<Value>, other: usize| match value {
        None | Some(Value::None) => Ok(other),
        Some(value) => size("truncate", &value),
    };
    let (length, leeway) = (number(length, 255)?, number(leeway, 5)?);
    let end = end.map_or_else(|| Ok(Str::own("...")), |end| text_of("truncate", &end).cloned())?;
    budget.touch(text.len().saturating_mul(3).saturating_add(end.len()))?;
    let dots = end.chars().count();
    let Some(room) = length.checked_sub(dots) else {
        return Err(Fault::failed(format!("expected length >= {dots}, got {length}")));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(own.clone());
    }
    let cut = text.char_indices().nth(room).map_or(&**text, |(at, _)| &text[..at]);
    let kept = if kill_words.is_some_and(|kill| kill.truth()) {
        cut
    } else {
        cut.rsplit_once(' ').map_or(cut, |(words, _)| words)
    };
    let mut output = Builder::default();
    output.cut(text, kept, budget)?;
    output.push(&end, budget)?;
    Ok(alike(own, output.finish(budget)?))
}

/// The key that sorting and comparing look at: strings without case unless it counts.
pub(super) fn key_of(value: Value, case_sensitive: bool, budget: &mut Budget) -> Result<Value> {
    match value.as_str() {
        Some(text) if !case_sensitive => {
            budget.make(text.len().saturating_mul(4))?;
            Ok(Value::str(text.to_lowercase()))
        }
        _ => Ok(value),
    }
}
