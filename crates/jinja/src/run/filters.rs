//! Jinja2's filters (`jinja2/filters.py`).

use crate::budget::Budget;
use crate::error::{Error, Result, short};
use crate::python::arguments::{Args, int, size, text as text_of};
use crate::python::sequences::with_markup_of;
use crate::python::strings::Case;
use crate::python::{attributes, format, sequences, strings, text};
use crate::run::machine::Machine;
use crate::run::numbers;
use crate::run::{html, json, selection};
use crate::syntax::ast::Text;
use crate::value::collections::Items;
use crate::value::marked::{Builder, Str};
use crate::value::{Missing, Value};

/// Applies a filter.
pub(crate) fn apply(machine: &mut Machine, name: &str, value: Value, args: Args) -> Result<Value> {
    let budget = &mut machine.budget;
    match name {
        "map" | "select" | "reject" | "selectattr" | "rejectattr" | "sort" | "unique" | "groupby" | "max" | "min"
        | "sum" | "dictsort" => selection::apply(machine, name, &value, args),
        "tojson" => json::tojson(&value, args, budget),
        "default" | "d" => default(value, args),
        "attr" => {
            let [name] = args.bind("attr", ["name"], 1)?;
            let name: Text = text_of("attr", &name.unwrap_or(Value::None))?.text().clone();
            let found = attributes::own_attribute(&value, &name, budget)?;
            Ok(found.unwrap_or_else(|| Value::Undefined(Missing::Attribute(value.type_name(), name))))
        }
        "length" | "count" => {
            args.none(name)?;
            let len = value.len(budget)?.map(|len| Value::Int(len as i128));
            len.ok_or_else(|| Error::failed(format!("object of type '{}' has no len()", value.type_name())))
        }
        "list" | "first" | "last" | "reverse" | "batch" | "slice" | "join" | "items" => {
            sequence(name, &value, args, budget)
        }
        "abs" | "int" | "float" | "round" => numbers::apply(name, &value, args, budget),
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
                    let pairs = sequences::view_items(crate::value::View::Items, dict, budget)?;
                    budget.generator(pairs)
                }
                _ => Err(Error::failed("Can only get item pairs from a mapping.")),
            };
        }
        "join" => return join(value, args, budget),
        "batch" | "slice" => return chunks(name, value, args, budget),
        _ => args.none(name)?,
    }
    if name == "reverse" && value.as_str().is_some() {
        return sequences::slice(value, [None, None, Some(Value::Int(-1))], budget);
    }
    if matches!(name, "first" | "last")
        && value.as_str().is_some_and(|text| !text.is_empty())
        && value.as_dict().is_none()
    {
        return attributes::item(value, &Value::Int(if name == "first" { 0 } else { -1 }), budget);
    }
    let items = sequences::items(value, budget)?;
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
    let items = sequences::items(value, budget)?;
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

/// Evaluates `batch`, which makes lists of a length, and `slice`, which makes a number of lists.
fn chunks(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let [count, fill] = args.bind(name, ["count", "fill_with"], 1)?;
    let count = size(name, &count.unwrap_or(Value::None))?;
    if count == 0 {
        return Err(Error::failed(format!("{name} needs a count above 0")));
    }
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let items = sequences::items(value, budget)?;
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

/// Applies the filters of strings. Other values are converted to strings first.
fn string(name: &str, value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let own_text = &text::string(value, budget)?;
    let own = with_markup_of(value, own_text.clone());
    match name {
        "lower" | "upper" | "capitalize" => strings::call(&own, own_text, name, args, budget),
        "center" => {
            let [width] = args.bind(name, ["width"], 0)?;
            let args = Args { positional: vec![width.unwrap_or(Value::Int(80))], keyword: Vec::new() };
            strings::call(&own, own_text, name, args, budget)
        }
        "trim" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            Ok(with_markup_of(&own, strings::stripped(own_text, chars.as_ref(), true, true, budget)?))
        }
        "string" => args.none(name).map(|()| own.clone()),
        "safe" => args.none(name).map(|()| Value::Markup(own_text.clone())),
        "escape" | "e" => {
            args.none(name)?;
            Ok(Value::Markup(text::escaped(&own, budget)?))
        }
        "forceescape" => {
            args.none(name)?;
            Ok(Value::Markup(text::escaped(&Value::Str(own_text.clone()), budget)?))
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
                return Err(Error::failed("can't handle positional and keyword arguments at the same time"));
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
        _ => Err(Error::failed(format!("No filter named '{}'.", short(name)))),
    }
}

/// Capitalises words after white space, hyphens and opening brackets.
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
    // If the text ends with a newline, an empty line follows.
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
    Ok(with_markup_of(value, output.finish(budget)?))
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
        return Err(Error::failed(format!("expected length >= {dots}, got {length}")));
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
    Ok(with_markup_of(own, output.finish(budget)?))
}
