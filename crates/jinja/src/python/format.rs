//! The operators `"..." % values` and `"...".format(values)`.

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::Args;
use crate::python::fields::{MAX_WIDTH, Spec, formatted, integer, number, padded_text, real, wrong};
use crate::python::sequences::with_markup_of;
use crate::python::{attributes, text};
use crate::value::Value;
use crate::value::marked::{Builder, Str};

/// Evaluates `left % right`.
pub(crate) fn percent(left: &Value, right: &Value, budget: &mut Budget) -> Result<Value> {
    let empty = Str::own("");
    let pattern = left.as_text().unwrap_or(&empty);
    budget.touch(pattern.len())?;
    let single = [right.clone()];
    let values: &[Value] = if let Value::Tuple(items) = right { items } else { &single };
    let mut positional = values.iter();
    let mut output = Builder::default();
    let mut rest = &**pattern;
    let mut named = false;
    while let Some(at) = rest.find('%') {
        budget.step()?;
        output.cut(pattern, &rest[..at], budget)?;
        rest = &rest[at + 1..];
        let mut value = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let (name, after) = inner.split_once(')').ok_or_else(|| wrong("incomplete format key"))?;
            let Value::Dict(dict) = right else { return Err(wrong("format requires a mapping")) };
            let found = dict.get_str(&name.into(), budget)?;
            value = Some(found.cloned().ok_or_else(|| no_value(name))?);
            named = true;
            rest = after;
        }
        let (mut spec, after) = percent_spec(rest, &mut positional)?;
        rest = after;
        let Some(kind) = rest.chars().next() else { return Err(wrong("incomplete format")) };
        let sign = rest;
        rest = &rest[kind.len_utf8()..];
        if kind == '%' {
            output.cut(pattern, &sign[..1], budget)?;
            continue;
        }
        let value = match value.or_else(|| positional.next().cloned()) {
            Some(value) => value,
            None => return Err(wrong("not enough arguments for format string")),
        };
        spec.kind = Some(kind);
        spec.outside = pattern.is_outside();
        let field = percent_field(&value, &spec, matches!(left, Value::Markup(_)), budget)?;
        output.push(&field, budget)?;
    }
    output.cut(pattern, rest, budget)?;
    if !named && positional.next().is_some() && !matches!(right, Value::Dict(_)) {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    Ok(with_markup_of(left, output.finish(budget)?))
}

/// Makes the error of a field without a value.
fn no_value(name: &str) -> Error {
    wrong(format!("no value for the format field {}", text::shown(&Value::str(name))))
}

/// Parses the flags, width and precision after a `%`.
fn percent_spec<'r>(rest: &'r str, values: &mut std::slice::Iter<'_, Value>) -> Result<(Spec, &'r str)> {
    let mut spec = Spec::default();
    let mut rest = rest;
    while let Some(flag) = rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
        match flag {
            '-' => spec.align = Some('<'),
            '#' => spec.alternate = true,
            '0' if spec.align.is_none() => (spec.fill, spec.align) = (Some('0'), Some('=')),
            '0' => {}
            sign => spec.sign = Some(sign),
        }
        rest = &rest[1..];
    }
    let mut size = |rest: &'r str| -> Result<(Option<usize>, &'r str)> {
        match rest.strip_prefix('*') {
            Some(after) => {
                let value = values.next().and_then(Value::as_int).and_then(|value| usize::try_from(value).ok());
                match value.filter(|value| *value <= MAX_WIDTH) {
                    Some(value) => Ok((Some(value), after)),
                    None => Err(wrong("* needs an integer from 0 to 10000")),
                }
            }
            None => number(rest),
        }
    };
    let (width, after) = size(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = size(after)?;
        spec.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    Ok((spec, rest.trim_start_matches(['h', 'l', 'L'])))
}

fn percent_field(value: &Value, spec: &Spec, escapes: bool, budget: &mut Budget) -> Result<Str> {
    let kind = spec.kind.unwrap_or('s');
    let default = spec.align.unwrap_or('>');
    match kind {
        's' | 'r' | 'a' => {
            let written = match kind {
                's' if escapes => text::escaped(value, budget)?,
                's' => text::string(value, budget)?,
                _ => text::repr(value, budget)?,
            };
            let align = if default == '=' { '>' } else { default };
            padded_text(&written, &Spec { fill: None, ..spec.clone() }, align, budget)
        }
        'c' => {
            let code = value.as_int().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32);
            let character = match (code, value.as_text()) {
                (Some(character), _) => Str::own(character.to_string()),
                (None, Some(text)) if !text.is_empty() && text.chars().nth(1).is_none() => text.clone(),
                _ => return Err(wrong("%c requires int or char")),
            };
            padded_text(&character, &Spec { precision: None, ..spec.clone() }, default, budget)
        }
        'd' | 'i' | 'u' => match value {
            Value::Float(value) if value.is_finite() => {
                integer(*value as i128, &Spec { kind: Some('d'), ..spec.clone() }, default, budget)
            }
            other => match other.as_int() {
                Some(value) => integer(value, &Spec { kind: Some('d'), ..spec.clone() }, default, budget),
                None => {
                    let name = other.type_name();
                    Err(wrong(format!("%{kind} format: a real number is required, not {name}")))
                }
            },
        },
        'x' | 'X' | 'o' => match value.as_int() {
            Some(value) => integer(value, spec, default, budget),
            None => Err(wrong(format!("%{kind} format: an integer is required, not {}", value.type_name()))),
        },
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => match value.as_float() {
            Some(value) => real(value, spec, default, budget),
            None => Err(wrong(format!("must be real number, not {}", value.type_name()))),
        },
        other => Err(wrong(format!("unsupported format character '{other}'"))),
    }
}

/// Evaluates `"...".format(...)`.
pub(crate) fn braces(owner: &Value, pattern: &Str, args: &Args, budget: &mut Budget) -> Result<Value> {
    let mut fields = Fields { args, next: 0, escapes: matches!(owner, Value::Markup(_)), pattern };
    let mut output = Builder::default();
    fields.format(pattern, 0, &mut output, budget)?;
    Ok(with_markup_of(owner, output.finish(budget)?))
}

/// The arguments, and the index of the next positional one.
struct Fields<'a> {
    args: &'a Args,
    next: usize,
    escapes: bool,
    /// The whole pattern.
    pattern: &'a Str,
}

impl Fields<'_> {
    /// Formats a part of the pattern.
    fn format(&mut self, part: &str, depth: usize, output: &mut Builder, budget: &mut Budget) -> Result<()> {
        if depth > 2 {
            return Err(wrong("Max string recursion exceeded"));
        }
        budget.touch(part.len())?;
        let mut rest = part;
        while let Some(at) = rest.find(['{', '}']) {
            budget.step()?;
            let bracket = &rest[at..=at];
            output.cut(self.pattern, &rest[..at], budget)?;
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(bracket) {
                output.cut(self.pattern, bracket, budget)?;
                rest = after;
                continue;
            }
            if bracket == "}" {
                return Err(wrong("Single '}' encountered in format string"));
            }
            let mut open = 1;
            let end = rest.char_indices().find(|(_, c)| {
                open += i32::from(*c == '{') - i32::from(*c == '}');
                open == 0
            });
            let Some((end, _)) = end else { return Err(wrong("expected '}' before end of string")) };
            let field = self.field(&rest[..end], depth, budget)?;
            output.push(&field, budget)?;
            rest = &rest[end + 1..];
        }
        output.cut(self.pattern, rest, budget)
    }

    fn field(&mut self, field: &str, depth: usize, budget: &mut Budget) -> Result<Str> {
        budget.touch(field.len().saturating_mul(4))?;
        let (head, spec) = field.split_once(':').unwrap_or((field, ""));
        let (path, conversion) = match head.split_once('!') {
            Some((path, conversion)) => (path, Some(conversion)),
            None => (head, None),
        };
        let value = self.value(path, budget)?;
        let mut written = Builder::default();
        if spec.contains('{') {
            self.format(spec, depth + 1, &mut written, budget)?;
        } else {
            written.cut(self.pattern, spec, budget)?;
        }
        written.mark_whole(self.pattern.is_outside());
        let spec = written.finish(budget)?;
        let value = match conversion {
            None => value,
            Some("s") => Value::Str(text::string(&value, budget)?),
            Some("r" | "a") => Value::Str(text::repr(&value, budget)?),
            Some(_) => return Err(wrong("Unknown conversion specifier")),
        };
        if self.escapes && spec.is_empty() {
            return text::escaped(&value, budget);
        }
        formatted(&value, &spec, budget)
    }

    /// Evaluates a field's name: empty, `0` or `name`, followed by `.attribute` and `[item]`.
    fn value(&mut self, path: &str, budget: &mut Budget) -> Result<Value> {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (first, mut rest) = path.split_at(end);
        budget.touch(self.args.keyword.len().saturating_mul(16))?;
        let position = if first.is_empty() { Some(self.next) } else { first.parse::<usize>().ok() };
        self.next += usize::from(first.is_empty());
        let found = match position {
            Some(at) => self.args.positional.get(at),
            None => self.args.keyword.iter().find(|(name, _)| **name == *first).map(|(_, value)| value),
        };
        let mut value = found.cloned().ok_or_else(|| no_value(first))?;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (key, after) = inner.split_once(']').ok_or_else(|| wrong("Missing ']' in format string"))?;
                let key = key.parse().map_or_else(|_| Value::str(key), Value::Int);
                value = attributes::item(&value, &key, budget)?;
                rest = after;
            } else {
                let inner = rest.strip_prefix('.').ok_or_else(|| wrong("invalid field in a format string"))?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                value = attributes::attribute(&value, &inner[..end].into(), budget)?;
                rest = &inner[end..];
            }
        }
        Ok(value)
    }
}
