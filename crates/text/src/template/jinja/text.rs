//! Values as text: Python's `str` and `repr`.

use super::fault::{Fault, Result};
use super::value::{Dict, MAX_VALUE_DEPTH, Object, Value, View};

/// Longest text of one value, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// `str(value)`.
pub(super) fn string(value: &Value) -> Result<String> {
    let mut output = String::new();
    write_string(value, &mut output)?;
    Ok(output)
}

/// Appends `str(value)`; an undefined value is nothing.
pub(super) fn write_string(value: &Value, output: &mut String) -> Result<()> {
    match value {
        Value::Str(text) | Value::Markup(text) => output.push_str(text),
        Value::Undefined(_) => {}
        other => write_repr(other, 0, output)?,
    }
    Ok(())
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Result<String> {
    let mut output = String::new();
    write_repr(value, 0, &mut output)?;
    Ok(output)
}

fn write_repr(value: &Value, depth: u32, output: &mut String) -> Result<()> {
    // Namespaces can hold each other.
    if depth > MAX_VALUE_DEPTH || output.len() > MAX_BYTES {
        return Err(Fault::failed("a value is too large to be written"));
    }
    match value {
        Value::Undefined(_) => output.push_str("Undefined"),
        Value::None => output.push_str("None"),
        Value::Bool(value) => output.push_str(if *value { "True" } else { "False" }),
        Value::Int(value) => output.push_str(&value.to_string()),
        Value::Float(value) => output.push_str(&float(*value)),
        Value::Str(text) => quote(text, output),
        Value::Markup(text) => {
            output.push_str("Markup(");
            quote(text, output);
            output.push(')');
        }
        Value::List(items) => write_items("[", items, "]", depth, output)?,
        Value::Tuple(items) if items.len() == 1 => write_items("(", items, ",)", depth, output)?,
        Value::Tuple(items) => write_items("(", items, ")", depth, output)?,
        Value::Dict(dict) => write_dict(dict, depth, output)?,
        Value::Object(object) => write_object(object, depth, output)?,
    }
    Ok(())
}

fn write_items(open: &str, items: &[Value], close: &str, depth: u32, output: &mut String) -> Result<()> {
    output.push_str(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            output.push_str(", ");
        }
        write_repr(item, depth + 1, output)?;
    }
    output.push_str(close);
    Ok(())
}

fn write_dict(dict: &Dict, depth: u32, output: &mut String) -> Result<()> {
    output.push('{');
    for (index, (key, value)) in dict.iter().enumerate() {
        if index > 0 {
            output.push_str(", ");
        }
        write_repr(key, depth + 1, output)?;
        output.push_str(": ");
        write_repr(value, depth + 1, output)?;
    }
    output.push('}');
    Ok(())
}

fn write_object(object: &Object, depth: u32, output: &mut String) -> Result<()> {
    match object {
        Object::Namespace(entries) => {
            output.push_str("<Namespace {");
            for (index, (name, value)) in entries.borrow().iter().enumerate() {
                output.push_str(if index > 0 { ", " } else { "" });
                quote(name, output);
                output.push_str(": ");
                write_repr(value, depth + 1, output)?;
            }
            output.push_str("}>");
        }
        Object::View(View::Items, dict) => {
            output.push_str("dict_items([");
            for (index, (key, value)) in dict.iter().enumerate() {
                output.push_str(if index > 0 { ", (" } else { "(" });
                write_repr(key, depth + 1, output)?;
                output.push_str(", ");
                write_repr(value, depth + 1, output)?;
                output.push(')');
            }
            output.push_str("])");
        }
        Object::View(view, dict) => {
            let keys = *view == View::Keys;
            output.push_str(if keys { "dict_keys([" } else { "dict_values([" });
            for (index, (key, value)) in dict.iter().enumerate() {
                if index > 0 {
                    output.push_str(", ");
                }
                write_repr(if keys { key } else { value }, depth + 1, output)?;
            }
            output.push_str("])");
        }
        Object::Range { start, step, len } => {
            let end = start + step * i128::try_from(*len).unwrap_or(i128::MAX);
            let step = if *step == 1 { String::new() } else { format!(", {step}") };
            output.push_str(&format!("range({start}, {end}{step})"));
        }
        Object::Macro { definition, .. } => output.push_str(&format!("<Macro '{}'>", definition.name)),
        Object::Loop(state) => {
            output.push_str(&format!("<LoopContext {}/{}>", state.at.get() + 1, state.items.len()));
        }
        Object::Generator { .. } => output.push_str("<generator object>"),
        Object::Method(owner, name) => {
            output.push_str(&format!("<built-in method {name} of {} object>", owner.type_name()));
        }
        Object::Function(_) => output.push_str("<function>"),
        Object::Cycler { .. } => output.push_str("<Cycler>"),
        Object::Joiner { .. } => output.push_str("<Joiner>"),
    }
    Ok(())
}

/// Python's `repr` of a string.
fn quote(text: &str, output: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    output.push(quote);
    for c in text.chars() {
        match c {
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            c if c == quote => {
                output.push('\\');
                output.push(c);
            }
            c if is_printable(c) => output.push(c),
            c => {
                let code = u32::from(c);
                output.push_str(&match code {
                    0..=0xFF => format!("\\x{code:02x}"),
                    0x100..=0xFFFF => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
        }
    }
    output.push(quote);
}

/// Whether Python prints a character as it is: no control, format, private, unassigned or separator character but the
/// space.
fn is_printable(c: char) -> bool {
    let format = matches!(u32::from(c),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
        | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F);
    let private = matches!(u32::from(c), 0xE000..=0xF8FF | 0xF0000..=0x10FFFF);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format || private)
}

/// Python's `repr` of a float: the shortest digits that read back, an exponent below 1e-4 and from 1e16.
pub(super) fn float(value: f64) -> String {
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
