//! Python's `str` and `repr`.

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::bytes;
use crate::value::collections::{Dict, MAX_VALUE_DEPTH};
use crate::value::marked::{Builder, Str};
use crate::value::{ObjectKind, Value, View};

/// The longest form of a key in an error message, in characters.
const MAX_SHOWN: usize = 80;

/// Python's `str`. An undefined value is an empty string.
pub(crate) fn string(value: &Value, budget: &mut Budget) -> Result<Str> {
    match value {
        Value::Str(text) | Value::Markup(text) => Ok(text.clone()),
        Value::Undefined(_) => Ok(Str::own("")),
        other => repr(other, budget),
    }
}

/// Appends `str(value)`.
pub(crate) fn write_string(value: &Value, output: &mut Builder, budget: &mut Budget) -> Result<()> {
    match value {
        Value::Str(text) | Value::Markup(text) => output.push(text, budget),
        other => output.push(&string(other, budget)?, budget),
    }
}

/// Python's `repr`. The whole text is marked if any string in the value is.
pub(crate) fn repr(value: &Value, budget: &mut Budget) -> Result<Str> {
    let mut output = Builder::default();
    Repr { output: &mut output, budget }.value(value, 0)?;
    output.mark_whole(false);
    output.finish(budget)
}

/// Formats a key for an error message.
pub(crate) fn shown(key: &Value) -> String {
    match key {
        Value::Str(text) | Value::Markup(text) => format!("{:?}", text.chars().take(MAX_SHOWN).collect::<String>()),
        Value::None => "None".to_owned(),
        Value::Bool(_) | Value::Int(_) => key.as_int().unwrap_or_default().to_string(),
        Value::Float(value) => float(*value),
        other => format!("of type {}", other.type_name()),
    }
}

/// Writes values as Python's `repr` does.
struct Repr<'r> {
    output: &'r mut Builder,
    budget: &'r mut Budget,
}

impl Repr<'_> {
    fn own(&mut self, text: &str) -> Result<()> {
        self.output.own(text, self.budget)
    }

    fn value(&mut self, value: &Value, depth: u32) -> Result<()> {
        // Namespaces can contain each other.
        if depth > MAX_VALUE_DEPTH {
            return Err(Error::failed("a value is nested too deep to be printed"));
        }
        self.budget.step()?;
        match value {
            Value::Undefined(_) => self.own("Undefined"),
            Value::None => self.own("None"),
            Value::Bool(value) => self.own(if *value { "True" } else { "False" }),
            Value::Int(value) => self.own(&value.to_string()),
            Value::Float(value) => self.own(&float(*value)),
            Value::Str(text) => self.quoted(text),
            Value::Markup(text) => {
                self.own("Markup(")?;
                self.quoted(text)?;
                self.own(")")
            }
            Value::List(items) => self.items("[", items.iter(), "]", depth),
            Value::Tuple(items) if items.len() == 1 => self.items("(", items.iter(), ",)", depth),
            Value::Tuple(items) => self.items("(", items.iter(), ")", depth),
            Value::Dict(dict) => self.dict(dict, depth),
            Value::Object(object) => self.object(object.kind(), depth),
        }
    }

    fn items<'v>(
        &mut self,
        open: &str,
        items: impl IntoIterator<Item = &'v Value>,
        close: &str,
        depth: u32,
    ) -> Result<()> {
        self.own(open)?;
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.own(", ")?;
            }
            self.value(item, depth + 1)?;
        }
        self.own(close)
    }

    fn dict(&mut self, dict: &Dict, depth: u32) -> Result<()> {
        self.own("{")?;
        for (index, (key, value)) in dict.iter().enumerate() {
            if index > 0 {
                self.own(", ")?;
            }
            self.value(key, depth + 1)?;
            self.own(": ")?;
            self.value(value, depth + 1)?;
        }
        self.own("}")
    }

    fn object(&mut self, object: &ObjectKind, depth: u32) -> Result<()> {
        match object {
            ObjectKind::Namespace(entries) => {
                let entries = entries.borrow();
                self.budget.make_items(entries.len().saturating_mul(2))?;
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(name, _)| *name);
                self.own("<Namespace {")?;
                for (index, (name, value)) in entries.into_iter().enumerate() {
                    self.own(if index > 0 { ", " } else { "" })?;
                    // The origin of the name is unknown.
                    self.quoted(&Str::outside(name.clone()))?;
                    self.own(": ")?;
                    self.value(value, depth + 1)?;
                }
                self.own("}>")
            }
            ObjectKind::View(View::Items, dict) => {
                self.own("dict_items([")?;
                for (index, (key, value)) in dict.iter().enumerate() {
                    self.own(if index > 0 { ", (" } else { "(" })?;
                    self.value(key, depth + 1)?;
                    self.own(", ")?;
                    self.value(value, depth + 1)?;
                    self.own(")")?;
                }
                self.own("])")
            }
            ObjectKind::View(View::Keys, dict) => {
                self.items("dict_keys([", dict.iter().map(|(key, _)| key), "])", depth)
            }
            ObjectKind::View(View::Values, dict) => {
                self.items("dict_values([", dict.iter().map(|(_, value)| value), "])", depth)
            }
            ObjectKind::Range { start, step, len } => {
                let end = start + step * i128::try_from(*len).unwrap_or(i128::MAX);
                let step = if *step == 1 { String::new() } else { format!(", {step}") };
                self.own(&format!("range({start}, {end}{step})"))
            }
            ObjectKind::Macro { definition, .. } => self.own(&format!("<Macro '{}'>", definition.name)),
            ObjectKind::Loop(state) => self.own(&format!("<LoopContext {}/{}>", state.at.get() + 1, state.items.len())),
            ObjectKind::Generator { .. } => self.own("<generator object>"),
            ObjectKind::Method(owner, name) => {
                self.own(&format!("<built-in method {name} of {} object>", owner.type_name()))
            }
            ObjectKind::Function(_) => self.own("<function>"),
            ObjectKind::Cycler { .. } => self.own("<Cycler>"),
            ObjectKind::Joiner { .. } => self.own("<Joiner>"),
            ObjectKind::Bytes(own) => bytes::write_repr(own, self.output, self.budget),
        }
    }

    /// Python's `repr` of a string.
    fn quoted(&mut self, text: &Str) -> Result<()> {
        // No character becomes longer than four times its bytes.
        self.budget.touch(text.len().saturating_mul(8).saturating_add(2))?;
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.output.char(quote, false);
        for (c, outside) in text.marked_chars() {
            let simple = match c {
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                c if c == quote || c == '\\' => Some(c),
                _ => None,
            };
            if let Some(escape) = simple {
                self.output.char('\\', outside);
                self.output.char(escape, outside);
            } else if is_printable(c) {
                self.output.char(c, outside);
            } else {
                let code = u32::from(c);
                let escape = match code {
                    0..=0xFF => format!("\\x{code:02x}"),
                    0x100..=0xFFFF => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                escape.chars().for_each(|c| self.output.char(c, outside));
            }
        }
        self.output.char(quote, false);
        Ok(())
    }
}

/// Returns `true` if Python's `repr` shows the character unchanged. Control, format, private and separator characters
/// are escaped, except for the space.
fn is_printable(c: char) -> bool {
    let format = matches!(u32::from(c),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
        | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F);
    let private = matches!(u32::from(c), 0xE000..=0xF8FF | 0xF0000..=0x10FFFF);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format || private)
}

/// Python's `repr` of a float: the shortest digits that read back as the same float, with an exponent below 1e-4 and
/// from 1e16.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// Returns the text of a value with HTML's special characters escaped, unless it is escaped already.
pub(crate) fn escaped(value: &Value, budget: &mut Budget) -> Result<Str> {
    let text = string(value, budget)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_python_writes_them() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e-4, "0.0001"),
            (0.0, "0.0"),
            (-2.5, "-2.5"),
            (1.7e308, "1.7e+308"),
        ];
        for (value, text) in cases {
            assert_eq!(float(value), text);
        }
    }
}
