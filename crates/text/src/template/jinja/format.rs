//! `"..." % values` and `"...".format(values)`.

use super::arguments::Args;
use super::budget::Budget;
use super::fault::{Fault, Result};
use super::marked::{Builder, Str};
use super::operators::{self, alike};
use super::text;
use super::value::Value;

/// Widest field and longest fraction; Rust's own formatting panics beyond 2^16.
const MAX_WIDTH: usize = 10_000;

/// How one field is written.
#[derive(Debug, Clone, Default)]
struct Spec {
    fill: Option<char>,
    /// `<`, `>`, `^` or `=`.
    align: Option<char>,
    /// `+`, `-` or a space.
    sign: Option<char>,
    alternate: bool,
    width: usize,
    /// Between thousands.
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
    /// Whether it comes from outside the template, and what is made by it therefore too.
    outside: bool,
}

fn wrong(what: impl Into<String>) -> Fault {
    Fault::failed(what)
}

/// Digits at the start of `rest` as a number, and what comes after.
fn number(rest: &str) -> Result<(Option<usize>, &str)> {
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok((None, rest));
    }
    match rest[..len].parse() {
        Ok(value) if value <= MAX_WIDTH => Ok((Some(value), &rest[len..])),
        _ => Err(wrong(format!("a width of more than {MAX_WIDTH} in a format"))),
    }
}

/// `left % right`
pub(super) fn percent(left: &Value, right: &Value, budget: &mut Budget) -> Result<Value> {
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
    Ok(alike(left, output.finish(budget)?))
}

/// A field that nothing was given for.
fn no_value(name: &str) -> Fault {
    wrong(format!("no value for the field {}", text::shown(&Value::str(name))))
}

/// Flags, width and precision behind a `%`.
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
                    None => Err(wrong("* wants a small integer")),
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
                's' if escapes => operators::escaped(value, budget)?,
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

/// `"...".format(...)`
pub(super) fn braces(owner: &Value, pattern: &Str, args: &Args, budget: &mut Budget) -> Result<Value> {
    let mut fields = Fields { args, next: 0, escapes: matches!(owner, Value::Markup(_)), pattern };
    let mut output = Builder::default();
    fields.format(pattern, 0, &mut output, budget)?;
    Ok(alike(owner, output.finish(budget)?))
}

/// The arguments, and which is next.
struct Fields<'a> {
    args: &'a Args,
    next: usize,
    escapes: bool,
    /// The whole pattern.
    pattern: &'a Str,
}

impl Fields<'_> {
    /// Writes a part of the pattern.
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
            return operators::escaped(&value, budget);
        }
        formatted(&value, &spec, budget)
    }

    /// `name`, `0`, nothing, with `.attribute` and `[item]` behind.
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
                value = operators::item(&value, &key, budget)?;
                rest = after;
            } else {
                let inner = rest.strip_prefix('.').ok_or_else(|| wrong("a broken field in a format string"))?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                value = operators::attribute(&value, &inner[..end].into(), budget)?;
                rest = &inner[end..];
            }
        }
        Ok(value)
    }
}

/// Python's `format(value, spec)`.
fn formatted(value: &Value, spec: &Str, budget: &mut Budget) -> Result<Str> {
    if spec.is_empty() {
        return text::string(value, budget);
    }
    let spec = Spec { outside: spec.is_outside(), ..parsed(spec)? };
    match value {
        Value::Undefined(_) | Value::Str(_) | Value::Markup(_) if matches!(spec.kind, None | Some('s')) => {
            padded_text(&text::string(value, budget)?, &spec, spec.align.unwrap_or('<'), budget)
        }
        Value::Int(_) | Value::Bool(_) if !matches!(spec.kind, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')) => {
            integer(value.as_int().unwrap_or(0), &spec, spec.align.unwrap_or('>'), budget)
        }
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => match spec.kind {
            None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => {
                real(value.as_float().unwrap_or(0.0), &spec, spec.align.unwrap_or('>'), budget)
            }
            Some(kind) => Err(wrong(format!("Unknown format code '{kind}' for object of type 'float'"))),
        },
        other => Err(wrong(format!("unsupported format string passed to {}.__format__", other.type_name()))),
    }
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`
fn parsed(text: &str) -> Result<Spec> {
    let mut spec = Spec::default();
    let is_align = |c: char| "<>^=".contains(c);
    let mut chars = text.chars();
    let mut rest = text;
    match (chars.next(), chars.next()) {
        (Some(fill), Some(align)) if is_align(align) => {
            (spec.fill, spec.align) = (Some(fill), Some(align));
            rest = chars.as_str();
        }
        (Some(align), _) if is_align(align) => {
            spec.align = Some(align);
            rest = &rest[1..];
        }
        _ => {}
    }
    if let Some(sign) = rest.chars().next().filter(|c| "+- ".contains(*c)) {
        spec.sign = Some(sign);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('#') {
        spec.alternate = true;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('0') {
        spec.fill = spec.fill.or(Some('0'));
        spec.align = spec.align.or(Some('='));
        rest = after;
    }
    let (width, after) = number(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(grouping) = rest.chars().next().filter(|c| ",_".contains(*c)) {
        spec.grouping = Some(grouping);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = number(after)?;
        spec.precision = Some(precision.ok_or_else(|| wrong("Format specifier missing precision"))?);
        rest = after;
    }
    let mut kind = rest.chars();
    spec.kind = kind.next();
    if kind.next().is_some() { Err(wrong("Invalid format specifier")) } else { Ok(spec) }
}

/// A text cut to the precision and filled up to the width.
fn padded_text(own: &Str, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(own.len().saturating_mul(2))?;
    let end = spec.precision.and_then(|most| own.char_indices().nth(most)).map_or(own.len(), |(at, _)| at);
    padded(&own.part(0..end, budget)?, "", spec, align, budget)
}

/// A sign or other head and a body, filled up to the width.
fn padded(body: &Str, head: &str, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(body.len())?;
    let missing = spec.width.saturating_sub(head.chars().count() + body.chars().count());
    let fill = Str::own(spec.fill.unwrap_or(' ').to_string());
    let (before, between) = match align {
        '<' => (0, 0),
        '^' => (missing / 2, 0),
        '=' => (0, missing),
        _ => (missing, 0),
    };
    let mut output = Builder::default();
    output.repeat(&fill, before, budget)?;
    output.own(head, budget)?;
    output.repeat(&fill, between, budget)?;
    output.push(body, budget)?;
    output.repeat(&fill, missing - before - between, budget)?;
    if spec.outside {
        output.mark_whole(true);
    }
    output.finish(budget)
}

/// The bytes of digits that a number may need, whatever its value.
fn room_for_number(spec: &Spec) -> usize {
    spec.precision.unwrap_or(0).saturating_mul(8).saturating_add(1024)
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match spec.sign {
        _ if negative => "-",
        Some('+') => "+",
        Some(' ') => " ",
        _ => "",
    }
}

fn grouped(digits: &str, separator: Option<char>) -> String {
    let Some(separator) = separator else { return digits.to_owned() };
    let mut output = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            output.push(separator);
        }
        output.push(digit);
    }
    output
}

fn integer(value: i128, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(room_for_number(spec))?;
    let magnitude = value.unsigned_abs();
    let (prefix, digits) = match spec.kind {
        None | Some('d' | 'n') => ("", grouped(&magnitude.to_string(), spec.grouping)),
        Some('x') => ("0x", format!("{magnitude:x}")),
        Some('X') => ("0X", format!("{magnitude:X}")),
        Some('o') => ("0o", format!("{magnitude:o}")),
        Some('b') => ("0b", format!("{magnitude:b}")),
        Some('c') => {
            let character = u32::try_from(value).ok().and_then(char::from_u32);
            let character = character.ok_or_else(|| wrong("%c arg not in range"))?;
            let align = if align == '>' { '<' } else { align };
            return padded(&Str::own(character.to_string()), "", spec, align, budget);
        }
        Some(kind) => return Err(wrong(format!("Unknown format code '{kind}' for object of type 'int'"))),
    };
    let head = [sign(value < 0, spec), if spec.alternate { prefix } else { "" }].concat();
    // In `%` a precision is the least number of digits.
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    padded(&Str::own(["0".repeat(zeros).as_str(), &digits].concat()), &head, spec, align, budget)
}

fn real(value: f64, spec: &Spec, align: char, budget: &mut Budget) -> Result<Str> {
    budget.touch(room_for_number(spec))?;
    let kind = spec.kind;
    let magnitude = value.abs();
    let upper = kind.is_some_and(|kind| kind.is_ascii_uppercase());
    let body = if !magnitude.is_finite() {
        if magnitude.is_nan() { "nan" } else { "inf" }.to_owned()
    } else {
        match kind {
            Some('f' | 'F') => format!("{magnitude:.*}", spec.precision.unwrap_or(6)),
            Some('%') => format!("{:.*}%", spec.precision.unwrap_or(6), magnitude * 100.0),
            Some('e' | 'E') => exponential(magnitude, spec.precision.unwrap_or(6)),
            Some(_) => general(magnitude, spec.precision.unwrap_or(6), spec.alternate),
            None => match spec.precision {
                None => text::float(magnitude),
                Some(precision) => {
                    let general = general(magnitude, precision, false);
                    if general.contains(['.', 'e']) { general } else { general + ".0" }
                }
            },
        }
    };
    let body = if upper { body.to_uppercase() } else { body };
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let body = grouped(&body[..digits], spec.grouping) + &body[digits..];
    let sign = sign(value.is_sign_negative() && !value.is_nan(), spec);
    padded(&Str::own(body), sign, spec, align, budget)
}

/// C's `%e`.
fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// C's `%g`.
fn general(value: f64, precision: usize, keeps_zeros: bool) -> String {
    let precision = precision.max(1);
    let scientific = exponential(value, precision - 1);
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i64>().ok()).unwrap_or(0);
    let trim = |text: &str| -> String {
        if keeps_zeros || !text.contains('.') {
            return text.to_owned();
        }
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let fixed = usize::try_from(precision as i64 - 1 - exponent).ok().filter(|_| exponent >= -4);
    match fixed {
        Some(digits) => trim(&format!("{value:.digits$}")),
        None => match scientific.split_once('e') {
            Some((mantissa, exponent)) => format!("{}e{exponent}", trim(mantissa)),
            None => scientific,
        },
    }
}
