//! `tojson` as transformers defines it: Python's `json.dumps(x, ensure_ascii=False, indent=None, separators=None,
//! sort_keys=False)`.

use std::fmt::Write;

use super::arguments::{Args, text};
use super::budget::Budget;
use super::fault::{Fault, Result};
use super::operators;
use super::text::float;
use super::value::Value;

/// Longest text that is written, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Widest indentation, in characters.
const MAX_INDENT: usize = 64;

/// How to write.
struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// The filter. Arguments may be given by position, in the order of transformers' function.
pub(super) fn tojson(value: &Value, args: Args, budget: &mut Budget) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names, 0)?;
    let indent = indent.map_or(Ok(None), |indent| indentation(&indent))?;
    let (item_separator, key_separator) = match separators.filter(|pair| !matches!(pair, Value::None)) {
        Some(pair) => match &operators::items(&pair, budget)?[..] {
            [item, key] => (text("tojson", item)?.to_owned(), text("tojson", key)?.to_owned()),
            _ => return Err(Fault::failed("separators must be two strings")),
        },
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let truth = |given: Option<Value>| given.is_some_and(|given| given.truth());
    let (ensure_ascii, sort_keys) = (truth(ensure_ascii), truth(sort_keys));
    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    budget.read(value.weight())?;
    let mut output = String::new();
    style.write(value, 0, &mut output)?;
    budget.str(output)
}

/// One level's indentation: a number of spaces, or a text.
fn indentation(value: &Value) -> Result<Option<String>> {
    let text = match (value, value.as_str(), value.as_int()) {
        (Value::None, _, _) => return Ok(None),
        (_, Some(text), _) => text.to_owned(),
        (_, _, Some(n)) => " ".repeat(usize::try_from(n.max(0)).unwrap_or(usize::MAX).min(MAX_INDENT + 1)),
        _ => return Err(Fault::failed("indent must be a number or a string")),
    };
    if text.len() > MAX_INDENT { Err(Fault::failed("indent is too wide")) } else { Ok(Some(text)) }
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<()> {
        if out.len() > MAX_BYTES {
            return Err(Fault::failed("the JSON text is too long"));
        }
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&number(*value)),
            Value::Str(text) | Value::Markup(text) => self.string(text, out),
            Value::List(items) | Value::Tuple(items) => {
                out.push('[');
                let mut first = true;
                for item in items.iter() {
                    self.separate(&mut first, depth, out);
                    self.write(item, depth + 1, out)?;
                }
                self.close(first, depth, ']', out);
            }
            Value::Dict(dict) => {
                let mut entries: Vec<_> = dict.iter().collect();
                if self.sort_keys {
                    sort(&mut entries)?;
                }
                out.push('{');
                let mut first = true;
                for (key, value) in entries {
                    self.separate(&mut first, depth, out);
                    self.string(&key_text(key)?, out);
                    out.push_str(&self.key_separator);
                    self.write(value, depth + 1, out)?;
                }
                self.close(first, depth, '}', out);
            }
            other => {
                return Err(Fault::failed(format!("Object of type {} is not JSON serializable", other.type_name())));
            }
        }
        Ok(())
    }

    /// What comes before an item.
    fn separate(&self, first: &mut bool, depth: usize, out: &mut String) {
        if !std::mem::replace(first, false) {
            out.push_str(&self.item_separator);
        }
        self.line(depth + 1, out);
    }

    /// What comes after the last item.
    fn close(&self, empty: bool, depth: usize, bracket: char, out: &mut String) {
        if !empty {
            self.line(depth, out);
        }
        out.push(bracket);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a String cannot fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// Sorts a dictionary's entries by their keys.
fn sort(entries: &mut [&(Value, Value)]) -> Result<()> {
    let mut fault = None;
    entries.sort_by(|(a, _), (b, _)| match operators::order(a, b, "<") {
        Ok(order) => order.unwrap_or(std::cmp::Ordering::Equal),
        Err(error) => {
            fault = Some(error);
            std::cmp::Ordering::Equal
        }
    });
    fault.map_or(Ok(()), Err)
}

/// A key as `json.dumps` writes it.
fn key_text(key: &Value) -> Result<String> {
    match key {
        Value::Str(text) | Value::Markup(text) => Ok(text.to_string()),
        Value::Int(value) => Ok(value.to_string()),
        Value::Float(value) => Ok(number(*value)),
        Value::Bool(value) => Ok(if *value { "true" } else { "false" }.to_owned()),
        Value::None => Ok("null".to_owned()),
        other => Err(Fault::failed(format!("keys must be str, int, float, bool or None, not {}", other.type_name()))),
    }
}

/// A float as `json.dumps` writes it.
fn number(value: f64) -> String {
    if value.is_finite() {
        float(value)
    } else if value.is_nan() {
        "NaN".to_owned()
    } else {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    }
}
