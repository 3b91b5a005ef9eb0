//! The filter `tojson` as transformers defines it: Python's `json.dumps(x, ensure_ascii=False, indent=None,
//! separators=None, sort_keys=False)`.

use std::rc::Rc;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::{Args, text};
use crate::python::text::float;
use crate::python::{sequences, sorting};
use crate::value::Value;
use crate::value::marked::{Builder, Str};

/// The widest indentation, in characters.
const MAX_INDENT: usize = 64;

/// The formatting options.
struct Style {
    ensure_ascii: bool,
    indent: Option<Str>,
    item_separator: Str,
    key_separator: Str,
    sort_keys: bool,
}

/// Applies the filter. Positional arguments come in the order of transformers' function. The whole text is marked if
/// any string in the value is.
pub(crate) fn tojson(value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names, 0)?;
    let indent = indent.map_or(Ok(None), |indent| indentation(&indent))?;
    let (item_separator, key_separator) = match separators.filter(|pair| !matches!(pair, Value::None)) {
        Some(pair) => match &sequences::items(&pair, budget)?[..] {
            [item, key] => (text("tojson", item)?.clone(), text("tojson", key)?.clone()),
            _ => return Err(Error::failed("separators must be two strings")),
        },
        None if indent.is_some() => (Str::own(","), Str::own(": ")),
        None => (Str::own(", "), Str::own(": ")),
    };
    let truth = |given: Option<Value>| given.is_some_and(|given| given.truth());
    let (ensure_ascii, sort_keys) = (truth(ensure_ascii), truth(sort_keys));
    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let mut output = Builder::default();
    Writer { style: &style, output: &mut output, budget }.value(value, 0)?;
    output.mark_whole(false);
    Ok(Value::Str(output.finish(budget)?))
}

/// Reads the indentation of one level: a number of spaces, or a string.
fn indentation(value: &Value) -> Result<Option<Str>> {
    let text = match (value, value.as_text(), value.as_int()) {
        (Value::None, _, _) => return Ok(None),
        (_, Some(text), _) => text.clone(),
        (_, _, Some(n)) => Str::own(" ".repeat(usize::try_from(n.max(0)).unwrap_or(usize::MAX).min(MAX_INDENT + 1))),
        _ => return Err(Error::failed("indent must be a number or a string")),
    };
    if text.len() > MAX_INDENT { Err(Error::failed("indent is too wide")) } else { Ok(Some(text)) }
}

/// Writes values in a style.
struct Writer<'w> {
    style: &'w Style,
    output: &'w mut Builder,
    budget: &'w mut Budget,
}

impl Writer<'_> {
    fn own(&mut self, text: &str) -> Result<()> {
        self.output.own(text, self.budget)
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        self.budget.step()?;
        match value {
            Value::None => self.own("null"),
            Value::Bool(value) => self.own(if *value { "true" } else { "false" }),
            Value::Int(value) => self.own(&value.to_string()),
            Value::Float(value) => self.own(&number(*value)),
            Value::Str(text) | Value::Markup(text) => match text.as_object() {
                Some(object) => self.value(&Value::Dict(Rc::clone(object)), depth),
                None => self.string(text),
            },
            Value::List(items) | Value::Tuple(items) => {
                self.own("[")?;
                for (index, item) in items.iter().enumerate() {
                    self.separate(index, depth)?;
                    self.value(item, depth + 1)?;
                }
                self.close(items.is_empty(), depth, "]")
            }
            Value::Dict(dict) => {
                self.budget.make_items(dict.len())?;
                let mut entries: Vec<_> = dict.iter().collect();
                if self.style.sort_keys {
                    let budget = &mut *self.budget;
                    entries = sorting::merge_sorted(entries, |(a, _), (b, _)| sorting::less(a, b, budget))?;
                }
                self.own("{")?;
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    self.separate(index, depth)?;
                    self.key(key)?;
                    let style = self.style;
                    self.output.push(&style.key_separator, self.budget)?;
                    self.value(value, depth + 1)?;
                }
                self.close(dict.is_empty(), depth, "}")
            }
            other => Err(Error::failed(format!("Object of type {} is not JSON serializable", other.type_name()))),
        }
    }

    /// Writes the separator and line break before an item.
    fn separate(&mut self, index: usize, depth: usize) -> Result<()> {
        if index > 0 {
            let style = self.style;
            self.output.push(&style.item_separator, self.budget)?;
        }
        self.line(depth + 1)
    }

    /// Writes the closing bracket.
    fn close(&mut self, empty: bool, depth: usize, bracket: &str) -> Result<()> {
        if !empty {
            self.line(depth)?;
        }
        self.own(bracket)
    }

    fn line(&mut self, depth: usize) -> Result<()> {
        if let Some(indent) = &self.style.indent {
            self.output.own("\n", self.budget)?;
            self.output.repeat(indent, depth, self.budget)?;
        }
        Ok(())
    }

    /// Writes a key as `json.dumps` does.
    fn key(&mut self, key: &Value) -> Result<()> {
        let plain = match key {
            Value::Str(text) | Value::Markup(text) => return self.string(text),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => number(*value),
            Value::Bool(value) => if *value { "true" } else { "false" }.to_owned(),
            Value::None => "null".to_owned(),
            other => {
                let found = other.type_name();
                return Err(Error::failed(format!("keys must be str, int, float, bool or None, not {found}")));
            }
        };
        self.string(&Str::own(plain))
    }

    fn string(&mut self, text: &Str) -> Result<()> {
        // Characters that become longer than two are counted separately.
        self.budget.touch(text.len().saturating_mul(8).saturating_add(2))?;
        self.output.char('"', false);
        for (c, outside) in text.marked_chars() {
            let escape = match c {
                '"' | '\\' => Some(c),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                _ => None,
            };
            if let Some(escape) = escape {
                self.output.char('\\', outside);
                self.output.char(escape, outside);
            } else if c < ' ' || (self.style.ensure_ascii && c > '~') {
                self.budget.touch(16)?;
                for unit in c.encode_utf16(&mut [0; 2]) {
                    format!("\\u{unit:04x}").chars().for_each(|c| self.output.char(c, outside));
                }
            } else {
                self.output.char(c, outside);
            }
        }
        self.output.char('"', false);
        Ok(())
    }
}

/// Formats a float as `json.dumps` does.
fn number(value: f64) -> String {
    if value.is_finite() {
        float(value)
    } else if value.is_nan() {
        "NaN".to_owned()
    } else {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    }
}
